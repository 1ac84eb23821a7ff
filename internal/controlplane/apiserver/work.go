package apiserver

import (
	"net/http"
	"strings"
)

// tellWork calls Working before each write, but for those that an idle cluster makes
// again and again: somebody has changed something, and controllers and nodes follow.
func (s *Server) tellWork(next http.Handler) http.Handler {
	if s.cfg.Working == nil {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if isWork(r.Method, r.URL.Path) {
			s.cfg.Working()
		}
		next.ServeHTTP(w, r)
	})
}

func isWork(method, path string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	switch {
	case strings.HasPrefix(path, "/apis/coordination.k8s.io/"): // leases
		return false
	case strings.HasPrefix(path, "/api/v1/nodes/") && strings.HasSuffix(path, "/status"):
		return false
	case strings.HasPrefix(path, "/apis/authentication.k8s.io/"), strings.HasPrefix(path, "/apis/authorization.k8s.io/"): // questions
		return false
	}
	return true
}
