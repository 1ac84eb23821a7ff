package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync/atomic"
	"time"

	"minato/internal/host"
	"minato/internal/service/metrics"
)

const (
	// listenRetry is for a port that another process has, such as a kube-proxy that is about to end.
	listenRetry = 2 * time.Second
	readTimeout = 5 * time.Second
)

// taintToBeDeleted is what the cluster autoscaler puts on a node that it is about to remove, for load balancers to send
// nothing new there.
const taintToBeDeleted = "ToBeDeletedByClusterAutoscaler"

// lastApplied is when changes were last brought into the kernel.
type lastApplied struct{ at atomic.Pointer[time.Time] }

// observer notes that beside the figures.
type observer struct {
	*metrics.Server
	last *lastApplied
}

// Applied notes that Services were handed to the data plane.
func (o observer) Applied(services int, took time.Duration) {
	now := time.Now()
	o.last.at.Store(&now)
	o.Server.Applied(services, took)
}

// healthAnswer is what load balancers and probes read, in kube-proxy's words.
type healthAnswer struct {
	LastUpdated  time.Time `json:"lastUpdated"`
	CurrentTime  time.Time `json:"currentTime"`
	NodeEligible *bool     `json:"nodeEligible,omitempty"`
}

// healthHandler answers as kube-proxy does: /healthz is for load balancers and also says whether the node is to get
// traffic, /livez is about this process alone.
func (p *proxy) healthHandler() http.Handler {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, eligible *bool) {
		now := time.Now()
		out := healthAnswer{CurrentTime: now, NodeEligible: eligible}
		healthy := p.services.Healthy()
		if healthy {
			out.LastUpdated = now // nothing waits, so what the kernel has is of now
		} else if at := p.applied.at.Load(); at != nil {
			out.LastUpdated = *at
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if !healthy || eligible != nil && !*eligible {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		json.NewEncoder(w).Encode(out)
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		eligible := p.eligible()
		answer(w, &eligible)
	})
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { answer(w, nil) })
	return mux
}

// eligible tells whether load balancers are to send traffic here. A node whose object is not known may well serve.
func (p *proxy) eligible() bool {
	node := p.node()
	if node == nil {
		return true
	}
	for _, t := range node.Spec.Taints {
		if t.Key == taintToBeDeleted {
			return false
		}
	}
	return node.DeletionTimestamp == nil
}

// serve answers at an address until ctx ends.
func (p *proxy) serve(address string, h http.Handler) func(context.Context) error {
	return func(ctx context.Context) error {
		if address == "" {
			return nil
		}
		for {
			l, err := host.Netns{}.Listen(ctx, "tcp", address)
			if err == nil {
				srv := &http.Server{Handler: h, ReadHeaderTimeout: readTimeout}
				stop := context.AfterFunc(ctx, func() { srv.Close() })
				err = srv.Serve(l)
				stop()
			}
			if ctx.Err() != nil {
				return nil
			}
			if !errors.Is(err, http.ErrServerClosed) {
				p.log.Warn("Nobody is answered at this address; it will be tried again", "address", address, "error", err)
			}
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(listenRetry):
			}
		}
	}
}
