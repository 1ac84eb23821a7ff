package metrics

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"minato/internal/service/dataplane"
)

const (
	// Port is where /metrics is on a node, HealthPort where /healthz is: kube-proxy's.
	Port       = 10249
	HealthPort = 10256
	// Mode is what there is in place of kube-proxy's iptables or nftables.
	Mode = "minato-ebpf"
)

// Source is the data plane.
type Source interface {
	Traffic() ([]dataplane.Traffic, error)
	Visits() ([]dataplane.Visits, error)
	Counters() (map[string]uint64, error)
}

// Config names what a Server works with.
type Config struct {
	Source Source
	// Healthy tells whether the data plane is in step with the cluster.
	Healthy func() bool
	// Registry takes the metrics; nil makes one.
	Registry *prometheus.Registry
	Logger   *slog.Logger
}

// Server answers requests for metrics, and is told of the controller's work.
type Server struct {
	cfg     Config
	applied atomic.Pointer[time.Time]

	applyDuration  prometheus.Histogram
	programming    prometheus.Histogram
	serviceChanges prometheus.Counter
	lastApplied    prometheus.Gauge
}

// New makes a Server and registers its metrics.
func New(cfg Config) (*Server, error) {
	if cfg.Source == nil || cfg.Healthy == nil {
		return nil, errors.New("service metrics: Source and Healthy are needed")
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{
		cfg: cfg,
		applyDuration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubeproxy_sync_proxy_rules_duration_seconds", Help: "Time to bring changed Services into the kernel.",
			Buckets: prometheus.ExponentialBuckets(0.0001, 2, 16),
		}),
		programming: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubeproxy_network_programming_duration_seconds", Help: "Time from a change of a Pod or Service to the kernel that follows it.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 16),
		}),
		serviceChanges: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kubeproxy_sync_proxy_rules_service_changes_total", Help: "Services that changed, by themselves or by their endpoints.",
		}),
		lastApplied: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "kubeproxy_sync_proxy_rules_last_timestamp_seconds", Help: "When changes were last brought into the kernel.",
		}),
	}
	for _, c := range []prometheus.Collector{s.applyDuration, s.programming, s.serviceChanges, s.lastApplied, &collector{source: cfg.Source, log: cfg.Logger}} {
		if err := cfg.Registry.Register(c); err != nil {
			return nil, fmt.Errorf("service metrics: %w", err)
		}
	}
	return s, nil
}

// Applied counts Services that were handed to the data plane.
func (s *Server) Applied(services int, took time.Duration) {
	s.applyDuration.Observe(took.Seconds())
	s.serviceChanges.Add(float64(services))
	now := time.Now()
	s.applied.Store(&now)
	s.lastApplied.Set(float64(now.UnixNano()) / 1e9)
}

// LastApplied is when Services were last handed to the data plane, the zero time if they never were.
func (s *Server) LastApplied() time.Time {
	if at := s.applied.Load(); at != nil {
		return *at
	}
	return time.Time{}
}

// Programmed counts a change of endpoints that is in the kernel now, by the time that this took.
func (s *Server) Programmed(after time.Duration) { s.programming.Observe(after.Seconds()) }

// Handler answers /metrics, and /healthz and /proxyMode as kube-proxy does at the same port.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.cfg.Healthy() {
			http.Error(w, "the data plane is not in step with the Services of the cluster", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /proxyMode", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		fmt.Fprint(w, Mode)
	})
	return mux
}
