package api

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// check is one part of /healthz.
type check struct {
	name string
	run  func(context.Context) error
}

// checks are those of the kubelet that mean something here. "log" is not among
// them: it asks whether klog writes its buffers out, and the agent has none.
func (s *Server) checks() []check {
	return []check{
		{"ping", func(context.Context) error { return nil }},
		{"syncloop", func(ctx context.Context) error {
			if _, err := s.cfg.Runtime.ListPodSandbox(ctx, &runtimeapi.PodSandboxFilter{}); err != nil {
				return fmt.Errorf("the container runtime does not answer: %w", err)
			}
			if s.cfg.Healthy != nil {
				return s.cfg.Healthy()
			}
			return nil
		}},
	}
}

// healthz answers whether the node works, as all of Kubernetes' servers do: "ok"
// alone, or a line for each check if one fails or ?verbose is asked for.
func (s *Server) healthz(w http.ResponseWriter, r *http.Request) {
	var lines strings.Builder
	failed := false
	excluded := r.URL.Query()["exclude"]
	for _, c := range s.checks() {
		if slices.Contains(excluded, c.name) {
			fmt.Fprintf(&lines, "[+]%s excluded: ok\n", c.name)
			continue
		}
		err := c.run(r.Context())
		s.checked.count(c.name, err == nil)
		if err != nil {
			failed = true
			fmt.Fprintf(&lines, "[-]%s failed: %v\n", c.name, err)
			continue
		}
		fmt.Fprintf(&lines, "[+]%s ok\n", c.name)
	}
	switch {
	case failed:
		http.Error(w, lines.String()+"healthz check failed", http.StatusInternalServerError)
	case r.URL.Query().Has("verbose"):
		fmt.Fprintf(w, "%shealthz check passed\n", lines.String())
	default:
		fmt.Fprint(w, "ok")
	}
}

// healthzCheck answers for one check.
func (s *Server) healthzCheck(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("check")
	for _, c := range s.checks() {
		if c.name != name {
			continue
		}
		if err := c.run(r.Context()); err != nil {
			http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
			return
		}
		fmt.Fprint(w, "ok")
		return
	}
	http.NotFound(w, r)
}
