package metrics

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"minato/internal/service/dataplane"
)

const (
	// Port is where /metrics is, HealthPort where /healthz is.
	Port       = 10249
	HealthPort = 10256

	readTimeout = 5 * time.Second
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
	// Listen opens a port of the node.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// Address is the node's, where Run answers.
	Address netip.Addr
	Healthy func() bool
	// Registry takes the metrics; nil makes one.
	Registry *prometheus.Registry
	Logger   *slog.Logger
}

// Server answers at the two ports, and is told of the controller's work.
type Server struct {
	cfg Config

	applyDuration  prometheus.Histogram
	programming    prometheus.Histogram
	serviceChanges prometheus.Counter
	lastApplied    prometheus.Gauge
}

// New makes a Server and registers its metrics.
func New(cfg Config) (*Server, error) {
	if cfg.Source == nil || cfg.Listen == nil || cfg.Healthy == nil {
		return nil, errors.New("service metrics: Source, Listen and Healthy are needed")
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

// Applied notes that Services were handed to the data plane.
func (s *Server) Applied(services int, took time.Duration) {
	s.applyDuration.Observe(took.Seconds())
	s.serviceChanges.Add(float64(services))
	s.lastApplied.SetToCurrentTime()
}

// Programmed notes how long a change of endpoints took to be in the kernel.
func (s *Server) Programmed(after time.Duration) { s.programming.Observe(after.Seconds()) }

// Run answers until ctx ends. A port that another process has is no reason to end the node.
func (s *Server) Run(ctx context.Context) error {
	if !s.cfg.Address.IsValid() {
		return errors.New("service metrics: an Address is needed to answer at")
	}
	var g errgroup.Group
	for _, port := range []int{Port, HealthPort} {
		address := net.JoinHostPort(s.cfg.Address.String(), strconv.Itoa(port))
		l, err := s.cfg.Listen(ctx, "tcp", address)
		if err != nil {
			if ctx.Err() == nil {
				s.cfg.Logger.Warn("Figures about Services are not to be had at this port", "address", address, "error", err)
			}
			continue
		}
		srv := &http.Server{Handler: s.Handler(), ReadHeaderTimeout: readTimeout}
		stop := context.AfterFunc(ctx, func() { srv.Close() })
		g.Go(func() error {
			defer stop()
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("serve figures about Services at %s: %w", address, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// Handler answers /metrics and /healthz, for whoever serves it in place of Run.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(s.cfg.Registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		if !s.cfg.Healthy() {
			http.Error(w, "Services in the kernel are behind those of the cluster", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	return mux
}
