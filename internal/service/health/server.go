package health

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/listen"
	"minato/internal/service/route"
)

// Events takes events about objects of the API, as record.EventRecorder does.
type Events interface {
	Eventf(object runtime.Object, eventtype, reason, messageFmt string, args ...any)
}

// Config names what a Server works with.
type Config struct {
	// Listen opens a port of the node.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// Healthy tells whether the node's data plane is in step with the cluster.
	Healthy func() bool
	// NodeName is for events.
	NodeName string
	// Events is told of ports that can't be opened; nil tells nobody.
	Events Events
	// FirstRetry is the pause before a port is tried the second time; zero takes a second.
	FirstRetry time.Duration
	Logger     *slog.Logger
}

// failedToStart is the reason of kube-proxy's events about a health check port that it can't open.
const failedToStart = "FailedToStartServiceHealthcheck"

// Server answers health checks on one node.
type Server struct {
	cfg Config
	log *slog.Logger

	mu     sync.Mutex
	checks map[types.NamespacedName]route.HealthCheck
	wake   chan struct{} // holds one token while the ports may have changed

	open map[uint16]context.CancelFunc // only Run touches it
}

// New makes a Server.
func New(cfg Config) (*Server, error) {
	if cfg.Listen == nil || cfg.Healthy == nil {
		return nil, errors.New("health check server: Listen and Healthy are needed")
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg: cfg, log: log,
		checks: map[types.NamespacedName]route.HealthCheck{},
		wake:   make(chan struct{}, 1),
		open:   map[uint16]context.CancelFunc{},
	}, nil
}

// Set replaces the check of one Service; nil removes it.
func (s *Server) Set(service types.NamespacedName, check *route.HealthCheck) {
	s.mu.Lock()
	defer s.mu.Unlock()
	was, known := s.checks[service]
	if check == nil {
		delete(s.checks, service)
	} else {
		s.checks[service] = *check
	}
	if known != (check != nil) || known && was.Port != check.Port {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
}

// Run keeps a port open for every check until ctx ends. One that another process has is tried again, and holds nothing up.
func (s *Server) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	defer func() {
		for port, stop := range s.open {
			stop()
			delete(s.open, port)
		}
	}()
	for {
		s.reconcile(ctx, &serving)
		select {
		case <-ctx.Done():
			return nil
		case <-s.wake:
		}
	}
}

// reconcile starts and stops serving ports.
func (s *Server) reconcile(ctx context.Context, serving *sync.WaitGroup) {
	want := s.ports()
	for port, stop := range s.open {
		if !want[port] {
			stop()
			delete(s.open, port)
		}
	}
	for port := range want {
		if s.open[port] != nil {
			continue
		}
		ctx, stop := context.WithCancel(ctx)
		s.open[port] = stop
		serving.Go(func() {
			listen.Keep(ctx, listen.Config{
				Listen: s.cfg.Listen, Address: ":" + strconv.Itoa(int(port)), Handler: s.handler(port), FirstRetry: s.cfg.FirstRetry,
				Failed:    func(err error) { s.failed(port, err) },
				Recovered: func() { s.log.Info("The health check port of a Service is open now", "port", port) },
			})
		})
	}
}

// failed tells the operator, and whoever looks at the Service.
func (s *Server) failed(port uint16, err error) {
	check, ok := s.at(port)
	if !ok {
		return
	}
	s.log.Warn("The healthCheckNodePort of a Service can't be opened; load balancers take the node for one without endpoints until a later try succeeds",
		"service", check.Service, "port", port, "error", err)
	if s.cfg.Events == nil {
		return
	}
	s.cfg.Events.Eventf(&corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: check.Service.Namespace, Name: check.Service.Name, UID: check.UID,
	}, corev1.EventTypeWarning, failedToStart, "node %s failed to start healthcheck %q on port %d and will try again: %v", s.cfg.NodeName, check.Service, port, err)
}

func (s *Server) ports() map[uint16]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := make(map[uint16]bool, len(s.checks))
	for _, c := range s.checks {
		want[c.Port] = true
	}
	return want
}

func (s *Server) at(port uint16) (route.HealthCheck, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.checks {
		if c.Port == port {
			return c, true
		}
	}
	return route.HealthCheck{}, false
}

// Answer is what a load balancer reads, in the words of every Kubernetes.
type Answer struct {
	Service             AnswerService `json:"service"`
	LocalEndpoints      int           `json:"localEndpoints"`
	ServiceProxyHealthy bool          `json:"serviceProxyHealthy"`
}

// AnswerService names the Service.
type AnswerService struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
}

func (s *Server) handler(port uint16) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		check, ok := s.at(port)
		if !ok {
			http.Error(w, fmt.Sprintf("no Service has the health check port %d any more", port), http.StatusServiceUnavailable)
			return
		}
		healthy := s.cfg.Healthy()
		body, err := json.MarshalIndent(Answer{
			Service:        AnswerService{Namespace: check.Service.Namespace, Name: check.Service.Name},
			LocalEndpoints: check.LocalEndpoints, ServiceProxyHealthy: healthy,
		}, "", "\t")
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("X-Load-Balancing-Endpoint-Weight", strconv.Itoa(check.LocalEndpoints))
		if check.LocalEndpoints == 0 || !healthy {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		w.Write(body)
	})
}
