package service

import (
	"encoding/json"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// taintToBeDeleted is what the cluster autoscaler puts on a node that it is about to remove, for load balancers to send
// nothing new there.
const taintToBeDeleted = "ToBeDeletedByClusterAutoscaler"

// healthAnswer is what load balancers and probes read, in kube-proxy's words.
type healthAnswer struct {
	LastUpdated  time.Time `json:"lastUpdated"`
	CurrentTime  time.Time `json:"currentTime"`
	NodeEligible *bool     `json:"nodeEligible,omitempty"`
}

// healthHandler answers as kube-proxy does: /healthz is for load balancers and also says whether the node is to get
// traffic, /livez is about the data plane alone.
func (n *Node) healthHandler() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, eligible *bool) {
		now := time.Now()
		out := healthAnswer{CurrentTime: now, NodeEligible: eligible}
		healthy := n.healthy()
		if healthy {
			out.LastUpdated = now // nothing waits, so what the kernel has is of now
		} else {
			out.LastUpdated = n.metrics.LastApplied()
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !healthy || eligible != nil && !*eligible {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		json.NewEncoder(w).Encode(out)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		eligible := n.eligible()
		answer(w, &eligible)
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	return mux
}

// eligible tells whether load balancers are to send traffic here. A node whose object is not known may well serve.
func (n *Node) eligible() bool {
	o, ok, err := n.cfg.Nodes.Informer().GetIndexer().GetByKey(n.cfg.Name)
	node, isNode := o.(*corev1.Node)
	if err != nil || !ok || !isNode {
		return true
	}
	for _, t := range node.Spec.Taints {
		if t.Key == taintToBeDeleted {
			return false
		}
	}
	return node.DeletionTimestamp == nil
}
