package ingress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

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
	server := &http.Server{Handler: h.handler(registry), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 90 * time.Second, MaxHeaderBytes: 16 << 10}
	g, ctx := errgroup.WithContext(ctx)
	for _, l := range listeners {
		g.Go(func() error {
			if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("answer for the health of the ingress at %s: %w", l.Addr(), err)
			}
			return nil
		})
	}
	g.Go(func() error {
		<-ctx.Done()
		return server.Close()
	})
	return g.Wait()
}
