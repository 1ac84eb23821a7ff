package api

import (
	"encoding/json"
	"net/http"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// pods answers with the Pods of the node.
func (s *Server) pods(w http.ResponseWriter, _ *http.Request) {
	s.listPods(w, func(*v1.Pod) bool { return true })
}

// runningPods answers with the Pods of the node that run.
func (s *Server) runningPods(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/runningpods/" {
		http.NotFound(w, r)
		return
	}
	s.listPods(w, func(p *v1.Pod) bool { return p.Status.Phase == v1.PodRunning })
}

func (s *Server) listPods(w http.ResponseWriter, wanted func(*v1.Pod) bool) {
	list := v1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []v1.Pod{}}
	for _, p := range s.cfg.Pods.Pods() {
		if wanted(p) {
			list.Items = append(list.Items, *p)
		}
	}
	writeJSON(w, list)
}

func writeJSON(w http.ResponseWriter, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Write(b)
}
