package criserver

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"time"

	"k8s.io/cri-streaming/pkg/streaming"
)

// headerTimeout bounds how long a client of a stream may take to say which one
// it wants.
const headerTimeout = 10 * time.Second

// streamServers are the places where clients find streams.
type streamServers struct {
	node    inode // the node's network namespace
	inNode  *streamServer
	machine *streamServer
}

// streamServer serves streams on the loopback interface of one namespace.
type streamServer struct {
	streaming.Server
	listener net.Listener
	http     *http.Server
}

func (s *Server) openStreams(ctx context.Context) (*streamServers, error) {
	var err error
	out := &streamServers{}
	if out.machine, err = s.openStreamServer((&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")); err != nil {
		return nil, err
	}
	if s.cfg.Netns.Path == "" {
		return out, nil // the node is the machine
	}
	if out.node, err = inodeOf(s.cfg.Netns.Path); err != nil {
		return nil, errors.Join(err, out.close())
	}
	if out.inNode, err = s.openStreamServer(s.cfg.Netns.Listen(ctx, "tcp", "127.0.0.1:0")); err != nil {
		return nil, errors.Join(err, out.close())
	}
	return out, nil
}

func (s *Server) openStreamServer(l net.Listener, err error) (*streamServer, error) {
	if err != nil {
		return nil, err
	}
	cfg := streaming.DefaultConfig
	cfg.Addr = l.Addr().String()
	cfg.BaseURL = &url.URL{Scheme: "http", Host: cfg.Addr}
	server, err := streaming.NewServer(cfg, s.cfg.Streams)
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return &streamServer{
		Server: server, listener: l,
		http: &http.Server{Handler: server, ReadHeaderTimeout: headerTimeout},
	}, nil
}

func (s *streamServers) all() []*streamServer {
	if s.inNode == nil {
		return []*streamServer{s.machine}
	}
	return []*streamServer{s.machine, s.inNode}
}

// serve returns when one of the servers fails.
func (s *streamServers) serve() error {
	failed := make(chan error, len(s.all()))
	for _, one := range s.all() {
		go func() { failed <- one.http.Serve(one.listener) }()
	}
	return <-failed
}

// close ends the servers and the streams that they carry.
func (s *streamServers) close() error {
	var errs []error
	for _, one := range s.all() {
		errs = append(errs, one.http.Close(), ignoreClosed(one.listener.Close()))
	}
	return errors.Join(errs...)
}

func ignoreClosed(err error) error {
	if errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// near is the server that the client of a request reaches on its own loopback
// interface.
func (s *streamServers) near(ctx context.Context) streaming.Server {
	if s.inNode != nil && netnsOf(ctx) == s.node {
		return s.inNode
	}
	return s.machine
}
