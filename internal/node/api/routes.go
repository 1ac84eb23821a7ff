package api

import (
	"net/http"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"k8s.io/apiserver/pkg/server/statusz"
	"k8s.io/apiserver/pkg/util/compatibility"
)

// route is one path. Who may use it is asked of the API server with the verb and
// with each subresource of the node until one is allowed, as the kubelet does
// (NodeAuthorizerAttributesGetter, with KubeletFineGrainedAuthz).
type route struct {
	pattern      string
	verb         string // empty: by the request's method
	subresources []string
	handler      http.HandlerFunc
}

func (s *Server) routes() []route {
	own := prometheus.NewRegistry()
	own.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "kubelet_certificate_manager_server_ttl_seconds",
		Help: "Time until the serving certificate of the node's API expires, in seconds; negative once it has, +Inf without one.",
	}, s.certs.left))
	metrics := promhttp.HandlerFor(prometheus.Gatherers{s.cfg.Metrics, own}, promhttp.HandlerOpts{})
	proxy := []string{"proxy"}
	routes := []route{
		{"GET /healthz", "", []string{"healthz", "proxy"}, s.healthz},
		{"GET /healthz/{check}", "", []string{"healthz", "proxy"}, s.healthzCheck},
		{"GET /pods", "", []string{"pods", "proxy"}, s.pods},
		{"GET /runningpods/", "", []string{"pods", "proxy"}, s.runningPods},
		{"GET /configz", "", []string{"configz", "proxy"}, s.configz},
		{"GET /containerLogs/{namespace}/{pod}/{container}", "", proxy, s.containerLogs},
		{"GET /logs/", "", []string{"log"}, s.nodeLogs},
		{"GET /metrics", "", []string{"metrics"}, metrics.ServeHTTP},
		{"GET /metrics/resource", "", []string{"metrics"}, s.resourceMetrics},
		{"GET /metrics/cadvisor", "", []string{"metrics"}, s.cadvisorMetrics},
		{"GET /metrics/probes", "", []string{"metrics"}, s.probeMetrics},
		{"GET /metrics/slis", "", []string{"metrics"}, s.slis},
		{"GET /stats/summary", "", []string{"stats"}, s.summary},
		{"POST /checkpoint/{namespace}/{pod}/{container}", "", []string{"checkpoint"}, disabled(http.StatusNotFound, "The node's container runtime cannot checkpoint containers.")},
		// Both are of the process that holds the whole cluster, not of one node.
		{"/debug/pprof/", "", proxy, disabled(http.StatusMethodNotAllowed, "profiling endpoint is disabled.")},
		{"/debug/flags/v", "", proxy, disabled(http.StatusMethodNotAllowed, "flags endpoint is disabled.")},
	}
	// Whatever the method, what follows changes what runs in a container. A
	// WebSocket begins with GET, which must not count as reading.
	for _, uid := range []string{"", "/{uid}"} {
		routes = append(routes,
			route{"/exec/{namespace}/{pod}" + uid + "/{container}", "create", proxy, s.exec},
			route{"/attach/{namespace}/{pod}" + uid + "/{container}", "create", proxy, s.attach},
			route{"/portForward/{namespace}/{pod}" + uid, "create", proxy, s.portForward},
			route{"POST /run/{namespace}/{pod}" + uid + "/{container}", "create", proxy, s.run})
	}
	return append(routes, route{"GET /statusz", "", []string{"statusz"}, statusPage(routes)})
}

// disabled answers a path of the kubelet that this node does not serve.
func disabled(status int, message string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { http.Error(w, message, status) }
}

// statusPage is upstream's, which lists the version, the uptime and the paths.
func statusPage(routes []route) http.HandlerFunc {
	page := sync.OnceValue(func() http.Handler { // most nodes are never asked for it
		var paths []string
		for _, r := range routes {
			paths = append(paths, r.pattern)
		}
		mux := http.NewServeMux()
		statusz.Install(mux, "kubelet", statusz.NewRegistry(compatibility.DefaultBuildEffectiveVersion(), statusz.WithListedPaths(paths)))
		return mux
	})
	return func(w http.ResponseWriter, r *http.Request) { page().ServeHTTP(w, r) }
}
