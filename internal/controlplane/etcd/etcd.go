// Package etcd runs the cluster's store inside this process: one etcd member on
// a unix socket, with no peers and no network port.
//
// The package must not know anything of Kubernetes. It may import etcd, zap
// (to turn etcd's log into slog's) and the standard library.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
	"google.golang.org/grpc"
)

const (
	// walSegment is how much disk the write-ahead log claims at a time, twice
	// over. etcd's own 64 MB would be taken from memory on a tmpfs.
	walSegment = 8 << 20
	// socketPathLimit is what the kernel allows in a unix address.
	socketPathLimit = 107
	quotaBytes      = 8 << 30
	httpSuffix      = ".http"
)

// Config describes the member.
type Config struct {
	// Dir holds the data.
	Dir string
	// Socket is the path of the unix socket to listen on. One for health and
	// metrics is made beside it.
	Socket string
	// Ephemeral gives up durability: no write waits for the disk, and a machine
	// that crashes may lose the data.
	Ephemeral bool
	Logger    *slog.Logger
}

// Server is one embedded etcd member. It can be run once.
type Server struct {
	cfg   Config
	purge purger
	ready chan struct{}
}

// New checks the configuration.
func New(cfg Config) (*Server, error) {
	switch {
	case cfg.Dir == "":
		return nil, errors.New("etcd: Config.Dir is empty; name a directory for the data")
	case cfg.Socket == "":
		return nil, errors.New("etcd: Config.Socket is empty; name a path for the unix socket")
	case len(cfg.Socket+httpSuffix) > socketPathLimit:
		return nil, fmt.Errorf("etcd: socket path %s is longer than the kernel's limit of %d bytes; choose a shorter run directory", cfg.Socket, socketPathLimit)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{
		cfg:   cfg,
		purge: purger{dir: cfg.Dir, interval: purgeInterval, retry: purgeRetry, log: cfg.Logger},
		ready: make(chan struct{}),
	}, nil
}

// Endpoint is the address for etcd clients.
func (s *Server) Endpoint() string { return "unix://" + s.cfg.Socket }

// Ready is closed when the member answers.
func (s *Server) Ready() <-chan struct{} { return s.ready }

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for _, dir := range []string{s.cfg.Dir, filepath.Dir(s.cfg.Socket)} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fmt.Errorf("etcd: make directory: %w", err)
		}
	}
	wal.SegmentSizeBytes = walSegment
	_, err := os.Stat(filepath.Join(s.cfg.Dir, "member"))
	fresh := errors.Is(err, fs.ErrNotExist)

	var clients atomic.Pointer[grpc.Server]
	cfg := s.embedConfig()
	cfg.ServiceRegister = func(g *grpc.Server) { clients.Store(g) }
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return fmt.Errorf("etcd: start in %s: %w", s.cfg.Dir, err)
	}
	defer func() {
		// Connections that are still open are not used any more, but etcd would
		// wait seconds for their end.
		if g := clients.Load(); g != nil {
			g.Stop()
		}
		e.Close()
	}()

	for _, socket := range []string{s.cfg.Socket, s.cfg.Socket + httpSuffix} {
		if err := os.Chmod(socket, 0o600); err != nil {
			return fmt.Errorf("etcd: restrict the socket to root: %w", err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	var own sync.WaitGroup
	defer own.Wait()
	defer cancel()
	own.Go(func() { elect(ctx, e.Server, fresh) })
	own.Go(func() { s.purge.run(ctx) })
	select {
	case <-e.Server.ReadyNotify():
		close(s.ready)
	case <-e.Server.StopNotify():
		return fmt.Errorf("etcd: stopped while starting in %s", s.cfg.Dir)
	case err := <-e.Err():
		return fmt.Errorf("etcd: start in %s: %w", s.cfg.Dir, err)
	case <-ctx.Done():
		return nil
	}

	select {
	case err := <-e.Err():
		return fmt.Errorf("etcd: serve %s: %w", s.cfg.Socket, err)
	case <-e.Server.StopNotify():
		return fmt.Errorf("etcd: member in %s stopped by itself", s.cfg.Dir)
	case <-ctx.Done():
		return nil
	}
}

func (s *Server) embedConfig() *embed.Config {
	cfg := embed.NewConfig()
	cfg.Name = "minato"
	cfg.Dir = s.cfg.Dir
	cfg.ListenClientUrls = []url.URL{{Scheme: "unix", Path: s.cfg.Socket}}
	// With a socket of its own for HTTP (health and metrics), etcd needn't look
	// into every connection to find out which protocol it is.
	cfg.ListenClientHttpUrls = []url.URL{{Scheme: "unix", Path: s.cfg.Socket + httpSuffix}}
	// A member must advertise TCP addresses, but nobody has to listen there.
	cfg.ListenPeerUrls = nil
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)

	cfg.UnsafeNoFsync = s.cfg.Ephemeral
	cfg.EnableGRPCGateway = false
	cfg.QuotaBackendBytes = quotaBytes
	cfg.MaxSnapFiles, cfg.MaxWalFiles = 0, 0 // see purger
	cfg.SnapshotCount = 5000
	cfg.SnapshotCatchUpEntries = 500
	cfg.WarningApplyDuration = 500 * time.Millisecond
	cfg.WarningUnaryRequestDuration = time.Second
	// The API server opens a connection per resource; small buffers are enough
	// on a local socket.
	cfg.GRPCAdditionalServerOptions = []grpc.ServerOption{
		grpc.ReadBufferSize(4 << 10), grpc.WriteBufferSize(4 << 10), grpc.SharedWriteBuffer(true),
	}
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(s.cfg.Logger))
	return cfg
}
