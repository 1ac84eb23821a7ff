package ingress

import (
	"context"
	"fmt"
	"net"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"minato/internal/host"
	"minato/internal/version"
)

// health answers /healthz, which says whether everything is served, /livez and /metrics.
type health struct {
	node          *Node
	expiry, build *prometheus.Desc
}

func newHealth(n *Node) *health {
	return &health{
		node:   n,
		expiry: prometheus.NewDesc("nginx_ingress_controller_ssl_expire_time_seconds", "Number of seconds since 1970 to the SSL Certificate expire", []string{"host"}, nil),
		build:  prometheus.NewDesc("nginx_ingress_controller_build_info", "A metric with a constant '1' labeled with information about the build.", []string{"release"}, nil),
	}
}

// Describe implements prometheus.Collector.
func (h *health) Describe(ch chan<- *prometheus.Desc) { ch <- h.expiry; ch <- h.build }

// Collect implements prometheus.Collector.
func (h *health) Collect(ch chan<- prometheus.Metric) {
	v := version.Get()
	ch <- prometheus.MustNewConstMetric(h.build, prometheus.GaugeValue, 1, v.String())
	h.node.found.Lock()
	defer h.node.found.Unlock()
	for host, at := range h.node.found.expiry {
		ch <- prometheus.MustNewConstMetric(h.expiry, prometheus.GaugeValue, float64(at.Unix()), host)
	}
}

func (h *health) handler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !h.node.ready.Load() {
			http.Error(w, "not everything is served yet, or not any more", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

// serve answers until ctx ends.
func (h *health) serve(ctx context.Context, listeners []net.Listener, registry *prometheus.Registry) error {
	if err := host.AnswerHTTP(ctx, h.handler(registry), listeners...); err != nil {
		return fmt.Errorf("the health of the ingress: %w", err)
	}
	return nil
}
