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

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// Config names what a Server works with.
type Config struct {
	// Listen opens a port of the node.
	Listen func(ctx context.Context, network, address string) (net.Listener, error)
	// Healthy tells whether the node's data plane is in step with the cluster.
	Healthy func() bool
	Logger  *slog.Logger
}

const (
	// retryAfter is for ports that could not be opened, most likely because another process has them.
	retryAfter = 2 * time.Second
	// readTimeout bounds how long a client may take to ask.
	readTimeout = 5 * time.Second
)

// Server answers health checks on one node.
type Server struct {
	cfg Config
	log *slog.Logger

	mu     sync.Mutex
	checks map[types.NamespacedName]route.HealthCheck
	wake   chan struct{} // holds one token while the ports may have changed

	open map[uint16]*http.Server // only Run touches it
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
		open:   map[uint16]*http.Server{},
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

// Run keeps a port open for every check until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	var serving sync.WaitGroup
	defer serving.Wait()
	defer s.closeAll()
	for {
		retry := time.NewTimer(time.Hour)
		if !s.reconcile(ctx, &serving) {
			retry.Reset(retryAfter)
		}
		select {
		case <-ctx.Done():
			retry.Stop()
			return nil
		case <-s.wake:
		case <-retry.C:
		}
		retry.Stop()
	}
}

func (s *Server) closeAll() {
	for port, srv := range s.open {
		srv.Close()
		delete(s.open, port)
	}
}

// reconcile opens and closes ports. It returns false if one could not be opened.
func (s *Server) reconcile(ctx context.Context, serving *sync.WaitGroup) bool {
	want := s.ports()
	for port, srv := range s.open {
		if _, keep := want[port]; !keep {
			srv.Close()
			delete(s.open, port)
		}
	}
	complete := true
	for port, service := range want {
		if s.open[port] != nil {
			continue
		}
		l, err := s.cfg.Listen(ctx, "tcp", ":"+strconv.Itoa(int(port)))
		if err != nil {
			if ctx.Err() == nil {
				s.log.Warn("The health check port of a Service can't be opened and will be tried again", "service", service, "port", port, "error", err)
			}
			complete = false
			continue
		}
		srv := &http.Server{Handler: s.handler(port), ReadHeaderTimeout: readTimeout}
		s.open[port] = srv
		serving.Go(func() {
			if err := srv.Serve(l); !errors.Is(err, http.ErrServerClosed) {
				s.log.Warn("The health check port of a Service is closed", "service", service, "port", port, "error", err)
			}
		})
	}
	return complete
}

func (s *Server) ports() map[uint16]types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	want := make(map[uint16]types.NamespacedName, len(s.checks))
	for service, c := range s.checks {
		want[c.Port] = service
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
