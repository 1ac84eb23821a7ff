package balancer

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"minato/internal/host"
	"minato/internal/host/limit"
	"minato/internal/loadbalancer/bgp"
)

// serve answers /metrics, /healthz and /livez until ctx ends.
func (b *balancer) serve(ctx context.Context) error {
	if b.cfg.MetricsBindAddress == "" {
		return nil
	}
	var none *limit.Budget
	budget, err := none.OrDefault(b.log)
	if err != nil {
		return fmt.Errorf("metrics of load balancers: %w", err)
	}
	listen := budget.Listen(limit.Listener{Name: "metrics of load balancers", Total: 256, PerSource: 32}, host.Netns{}.Listen)
	err = host.ServeHTTP(ctx, listen, b.handler(), b.cfg.MetricsBindAddress)
	if err == nil && ctx.Err() == nil {
		err = errors.New("the listener was closed")
	}
	if err != nil {
		return fmt.Errorf("metrics of load balancers: %w", err)
	}
	return nil
}

// handler answers /healthz when everything that was there at the start is announced, and /livez always.
func (b *balancer) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(b.metrics, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !b.node.Ready() {
			http.Error(w, "the addresses of load balancers are not announced yet", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}

func (b *balancer) registry() (*prometheus.Registry, error) {
	r := prometheus.NewRegistry()
	for _, c := range []prometheus.Collector{
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), b.node, leading{b}, bgp.NewCollector(b.speaker),
	} {
		if err := r.Register(c); err != nil {
			return nil, fmt.Errorf("metrics of load balancers: %w", err)
		}
	}
	return r, nil
}

// leading has the metrics of the controller while it is this process that gives addresses.
type leading struct{ *balancer }

// Describe implements prometheus.Collector. It describes nothing, so that the registry checks the metrics when they are
// collected.
func (leading) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (l leading) Collect(ch chan<- prometheus.Metric) {
	if c := l.controller.Load(); c != nil {
		c.Collect(ch)
	}
}
