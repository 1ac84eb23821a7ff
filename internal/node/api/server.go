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
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming/remotecommand"
	kubeletv1beta1 "k8s.io/kubelet/config/v1beta1"
	"k8s.io/utils/clock"

	"minato/internal/host"
	"minato/internal/host/limit"
	"minato/internal/node/guard"
	"minato/internal/node/mirror"
	"minato/internal/node/observe"
	"minato/internal/node/usage"
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
	// Cgroups tells which cgroups Runtime has made; nil where it doesn't. Those of
	// the node's Pods are below Cgroup.
	Cgroups usage.Cgroups
	// Parts are those that are shown as Pods, with what they use; nil is none.
	Parts  func() []usage.Pod
	Cgroup host.Cgroup
	// Interfaces, Volumes and Images are nil where nobody tells of them.
	Interfaces Interfaces
	Volumes    Volumes
	Images     Images
	// Netns is the node's, and Dir on the file system that its containers are on.
	Netns host.Netns
	Dir   string
	// StorageLimit is how many bytes of that the node may have, and StorageUsed measures
	// what it has; with 0 it may have all.
	StorageLimit int64
	StorageUsed  func(ctx context.Context) (int64, error)
	// Capacity and System are what the Node says that it is.
	Capacity v1.ResourceList
	System   v1.NodeSystemInfo
	Pods     Pods
	// Part returns the part of the cluster that a mirror Pod shows; nil knows none.
	Part func(*v1.Pod) (mirror.Part, bool)
	// LogDir holds the Pods' log directories.
	LogDir string
	// OpenLog opens a file below LogDir, where containers may have left links;
	// os.Open if nil.
	OpenLog func(path string) (*os.File, error)
	// LogRoot is the directory that /logs/ serves, which is /var/log of a machine;
	// empty serves none.
	LogRoot string
	// Cert is shown to clients; their certificates must come from ClientCA.
	Cert     tls.Certificate
	ClientCA *x509.CertPool
	// Certificates, if set, gives both in place of Cert and ClientCA. It is asked
	// again once a minute while clients connect, so a renewed certificate is
	// shown without a restart.
	Certificates func() (tls.Certificate, *x509.CertPool, error)
	// Configuration is what /configz tells of the agent; the fields about this
	// server are set here. nil tells of this server alone.
	Configuration func() kubeletv1beta1.KubeletConfiguration
	// Healthy, if set, is a part of /healthz: nil while Pods are being worked on.
	Healthy func() error
	// Limits bounds the connections; nil makes bounds for this server alone.
	Limits *limit.Budget
	// Sessions bounds exec, attach, port-forward and run together, 256 and 32
	// unless set; Forwarded the connections that port-forwards carry, 1024 and
	// 256; LogReaders the requests for logs, 512 and 64.
	Sessions, Forwarded, LogReaders Bounds
	// Metrics are for /metrics, and Probes for /metrics/probes.
	Metrics *prometheus.Registry
	Probes  prometheus.Collector
	Clock   clock.PassiveClock
	Logger  *slog.Logger
}

// Server answers requests.
type Server struct {
	cfg   Config
	gate  *gate
	reads *reads
	certs *certificates
	usage *usage.Source
	cores coreRates
	disks disks

	checked checkCounts
	log     *slog.Logger

	sessions, forwarded, logReaders *counter
}

// New returns a server that serves nothing yet.
func New(cfg Config) *Server {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Part == nil {
		cfg.Part = func(*v1.Pod) (mirror.Part, bool) { return mirror.Part{}, false }
	}
	if cfg.Certificates == nil {
		cfg.Certificates = func() (tls.Certificate, *x509.CertPool, error) { return cfg.Cert, cfg.ClientCA, nil }
	}
	return &Server{
		cfg: cfg, gate: newGate(cfg.Client, cfg.NodeName, cfg.Clock), reads: newReads(cfg.Clock), log: cfg.Logger,
		usage: usage.New(usage.Config{Runtime: cfg.Runtime, Cgroups: cfg.Cgroups, Node: cfg.Cgroup, Others: cfg.Parts, Clock: cfg.Clock}),
		disks: disks{
			runtime: cfg.Runtime, images: cfg.Images, volumes: cfg.Volumes, pods: cfg.Pods, logDir: cfg.LogDir, dir: cfg.Dir, log: cfg.Logger,
			limit: cfg.StorageLimit, used: cfg.StorageUsed,
			clock: cfg.Clock, busy: make(chan struct{}, 1),
		},
		certs:      &certificates{source: cfg.Certificates, clock: cfg.Clock, log: cfg.Logger},
		sessions:   newCounter("exec, attach, port-forward and run sessions", cfg.Sessions.orDefault(256, 32)),
		forwarded:  newCounter("forwarded connections", cfg.Forwarded.orDefault(1024, 256)),
		logReaders: newCounter("readers of logs", cfg.LogReaders.orDefault(512, 64)),
	}
}

// maxBody bounds the bodies of requests; the only one that is read is the form of
// /run.
const maxBody = 1 << 20

// Handler serves all paths, without TLS.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.routes() {
		mux.HandleFunc(r.pattern, s.guard(r.verb, r.subresources, r.handler))
	}
	return http.MaxBytesHandler(s.survive(mux), maxBody)
}

// survive logs a panic of a handler with its stack. The connection is closed: what
// the client has of the answer may look whole.
func (s *Server) survive(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := guard.Do("answer a request", func() error {
			h.ServeHTTP(w, r)
			return nil
		})
		if err == nil {
			return
		}
		if !errors.Is(err, http.ErrAbortHandler) {
			s.log.Error("the node API panicked while it answered a request", "method", r.Method, "path", r.URL.Path, "error", err, "stack", string(guard.Stack(err)))
		}
		panic(http.ErrAbortHandler)
	})
}

// shutdownTime is how long requests may take to end when the server stops.
const shutdownTime = 2 * time.Second

// connectionLimit bounds the connections from all but the machine and its nodes.
// What users do with Pods comes from the machine, by way of the API server; others
// are those who scrape metrics.
func connectionLimit() limit.Listener {
	return limit.Listener{Name: "node API", Total: 1024, PerSource: 128}
}

// Serve answers requests on l, over TLS, until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	limits, err := s.cfg.Limits.OrDefault(s.log)
	if err != nil {
		return fmt.Errorf("serve node API: %w", err)
	}
	l = limits.Wrap(connectionLimit(), l)[0]
	server := &http.Server{
		Handler: s.Handler(),
		// The first also bounds the TLS handshake. There is no bound for a whole
		// request: exec and logs may go on for hours.
		ReadHeaderTimeout: 30 * time.Second,
		IdleTimeout:       90 * time.Second, // the kubelet's
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
	err = server.Serve(tls.NewListener(l, &tls.Config{GetConfigForClient: s.certs.forClient, MinVersion: tls.VersionTLS12}))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("serve node API: %w", err)
}
