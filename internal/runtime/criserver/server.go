package criserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/cri-streaming/pkg/streaming"

	"minato/internal/host"
)

// maxMessage bounds a message in bytes, as the kubelet and crictl do.
const maxMessage = 16 << 20

// Config says what is served, and where.
type Config struct {
	// Path is where the socket is made. Only root should be able to write to its
	// directory; a file that is there is replaced.
	Path    string
	Runtime cri.RuntimeService
	Images  cri.ImageManagerService
	Streams streaming.Runtime
	// Netns is the node's network namespace.
	Netns  host.Netns
	Logger *slog.Logger
}

// Server serves the CRI of one node.
type Server struct{ cfg Config }

// New checks the configuration. Nothing is opened; [Server.Run] does that.
func New(cfg Config) (*Server, error) {
	switch {
	case !filepath.IsAbs(cfg.Path):
		return nil, fmt.Errorf("CRI server: Path %q is not absolute", cfg.Path)
	case cfg.Runtime == nil || cfg.Images == nil || cfg.Streams == nil:
		return nil, errors.New("CRI server: Runtime, Images and Streams are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg}, nil
}

// Run serves until ctx ends. Requests that are under way then are cut off.
func (s *Server) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	streams, err := s.openStreams(ctx)
	if err != nil {
		return fmt.Errorf("serve the CRI: %w", err)
	}
	defer streams.close()
	listener, err := listen(s.cfg.Path)
	if err != nil {
		return fmt.Errorf("serve the CRI at %s: %w", s.cfg.Path, err)
	}
	defer os.Remove(s.cfg.Path)
	server := grpc.NewServer(
		grpc.Creds(rootOnly{}), grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage),
		grpc.UnaryInterceptor(s.unary), grpc.StreamInterceptor(s.stream),
	)
	runtimeapi.RegisterRuntimeServiceServer(server, &runtimeService{cfg: s.cfg, streams: streams})
	runtimeapi.RegisterImageServiceServer(server, &imageService{cfg: s.cfg})
	ended := make(chan error, 2) // both end, and nobody waits for them
	go func() { ended <- server.Serve(listener) }()
	go func() { ended <- streams.serve() }()
	select {
	case <-ctx.Done():
		err = nil
	case err = <-ended:
	}
	server.Stop()
	if err != nil {
		return fmt.Errorf("serve the CRI at %s: %w", s.cfg.Path, err)
	}
	return nil
}

// listen makes the socket. Its path may be longer than an address may be, so it
// is named by way of its open directory.
func listen(path string) (net.Listener, error) {
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", filepath.Join(fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), filepath.Base(path)))
	if err != nil {
		return nil, err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // the name that it knows ends here
	if err := os.Chmod(path, 0o600); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}
