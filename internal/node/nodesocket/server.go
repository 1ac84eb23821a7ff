// Package nodesocket serves gRPC at unix sockets of a node, as the kubelet does for
// plugins and for monitors. A socket that can't be made, or that fails later, is made
// anew, and each reason is told once. Anybody who reaches a socket has few of the
// process's files.
//
// A socket is made in the node's root directory, and no link leads out of it. The
// package may import gRPC; what is served is the matter of others.
package nodesocket

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"path"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
)

const (
	// maxConnections bounds those to one socket: each has a file of this process, which
	// serves other nodes too.
	maxConnections = 64
	// retryPause is that before a socket is made anew, in all cases.
	retryPause = 5 * time.Second
)

// Root is the node's root directory.
type Root interface {
	MkdirAll(path string, mode fs.FileMode) error
	ListenUnix(path string, mode fs.FileMode) (*net.UnixListener, error)
}

// Config is what a Server needs.
type Config struct {
	Root Root
	// Path is that of the socket on the node. Its directory is made if it is missing.
	Path string
	// Clear is called before the socket is made, each time; nil does nothing.
	Clear func() error
	// Options are those of the gRPC server, to which Register adds what is served.
	Options  []grpc.ServerOption
	Register func(grpc.ServiceRegistrar)
	// Failed is told why nothing is served, each reason once.
	Failed func(error)
}

// Server answers at a socket.
type Server struct{ cfg Config }

// New returns a server; it touches nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Root == nil || cfg.Path == "" || cfg.Register == nil || cfg.Failed == nil {
		return nil, errors.New("nodesocket: Config.Root, Path, Register and Failed are required")
	}
	return &Server{cfg}, nil
}

// Run serves until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	tries := &Tries{First: retryPause, Most: retryPause, Tell: s.cfg.Failed}
	tries.Until(ctx, func(ctx context.Context) error {
		listener, err := s.listen()
		if err != nil {
			return err
		}
		tries.Worked()
		return s.serve(ctx, listener)
	})
	return nil
}

func (s *Server) listen() (net.Listener, error) {
	if err := s.cfg.Root.MkdirAll(path.Dir(s.cfg.Path), 0o750); err != nil {
		return nil, err
	}
	if s.cfg.Clear != nil {
		if err := s.cfg.Clear(); err != nil {
			return nil, err
		}
	}
	return s.cfg.Root.ListenUnix(s.cfg.Path, 0o660)
}

// serve answers at a socket that is there, until ctx ends or the socket fails.
func (s *Server) serve(ctx context.Context, socket net.Listener) error {
	server := grpc.NewServer(s.cfg.Options...)
	s.cfg.Register(server)
	defer server.Stop() // connections outlive a socket that fails
	life, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(ctx, server.Stop)()
	return server.Serve(netutil.LimitListener(listener{socket, life}, maxConnections))
}

// listener closes its connections when life ends. The server waits for those whose
// clients have said nothing yet, for as long as two minutes, before it ends.
type listener struct {
	net.Listener
	life context.Context
}

func (l listener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &connection{c, context.AfterFunc(l.life, func() { c.Close() })}, nil
}

type connection struct {
	net.Conn
	forget func() bool
}

func (c *connection) Close() error {
	c.forget()
	return c.Conn.Close()
}
