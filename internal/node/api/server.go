package api

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	"k8s.io/utils/clock"

	"minato/internal/node/observe"
)

// Runtime is the part of the CRI that requests need.
type Runtime interface {
	observe.Runtime
	ExecSync(ctx context.Context, id string, cmd []string, timeout time.Duration) (stdout, stderr []byte, err error)
	ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error)
}

// Streaming carries the streams of a container. It is the same as
// k8s.io/cri-streaming's Runtime.
type Streaming interface {
	Exec(ctx context.Context, containerID string, cmd []string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error
	Attach(ctx context.Context, containerID string, in io.Reader, out, err io.WriteCloser, tty bool, resize <-chan remotecommand.TerminalSize) error
	PortForward(ctx context.Context, podSandboxID string, port int32, stream io.ReadWriteCloser) error
}

// Pods are the Pods of the node, with the statuses that the node computed last.
type Pods interface {
	Pod(namespace, name string) (*v1.Pod, bool)
	Pods() []*v1.Pod
}

// Config is what a Server needs.
type Config struct {
	NodeName  string
	Client    kubernetes.Interface
	Runtime   Runtime
	Streaming Streaming
	Pods      Pods
	// LogDir holds the Pods' log directories.
	LogDir string
	// Cert is shown to clients; their certificates must come from ClientCA.
	Cert     tls.Certificate
	ClientCA *x509.CertPool
	Metrics  *prometheus.Registry
	Clock    clock.PassiveClock
	Logger   *slog.Logger
}

// Server answers requests.
type Server struct {
	cfg   Config
	gate  *gate
	reads *reads
	log   *slog.Logger
}

// New returns a server that serves nothing yet.
func New(cfg Config) *Server {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Server{cfg: cfg, gate: newGate(cfg.Client, cfg.NodeName, cfg.Clock), reads: newReads(cfg.Clock), log: cfg.Logger}
}

// Handler serves all paths, without TLS.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	handle := func(pattern, verb string, h http.HandlerFunc, parts ...string) {
		mux.HandleFunc(pattern, s.guard(verb, append(parts, "proxy"), h))
	}
	handle("GET /healthz", "", s.health, "healthz")
	handle("GET /healthz/{check...}", "", s.health, "healthz")
	handle("GET /pods", "", s.pods, "pods")
	handle("GET /runningpods/", "", s.pods, "pods")
	handle("GET /containerLogs/{namespace}/{pod}/{container}", "", s.containerLogs)
	metrics := promhttp.HandlerFor(s.cfg.Metrics, promhttp.HandlerOpts{})
	handle("GET /metrics", "", metrics.ServeHTTP, "metrics")
	handle("GET /metrics/resource", "", s.resourceMetrics, "metrics")
	handle("GET /stats/summary", "", s.summary, "stats")
	// Whatever the method, what follows changes what runs in a container. A
	// WebSocket begins with GET, which must not pass for reading.
	for _, uid := range []string{"", "/{uid}"} {
		handle("/exec/{namespace}/{pod}"+uid+"/{container}", "create", s.exec)
		handle("/attach/{namespace}/{pod}"+uid+"/{container}", "create", s.attach)
		handle("/portForward/{namespace}/{pod}"+uid, "create", s.portForward)
		handle("POST /run/{namespace}/{pod}"+uid+"/{container}", "create", s.run)
	}
	return mux
}

// shutdownTime is how long requests may take to end when the server stops.
const shutdownTime = 2 * time.Second

// Serve answers requests on l, over TLS, until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() {
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), shutdownTime)
		defer cancel()
		if server.Shutdown(grace) != nil {
			server.Close()
		}
	})
	defer stop()
	// HTTP/1.1 only: streams take the connection over.
	err := server.Serve(tls.NewListener(l, &tls.Config{
		Certificates: []tls.Certificate{s.cfg.Cert},
		ClientCAs:    s.cfg.ClientCA,
		ClientAuth:   tls.VerifyClientCertIfGiven,
		MinVersion:   tls.VersionTLS12,
		NextProtos:   []string{"http/1.1"},
	}))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve node API: %w", err)
}

func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if _, err := s.cfg.Runtime.ListPodSandbox(r.Context(), &runtimeapi.PodSandboxFilter{}); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	io.WriteString(w, "ok")
}
