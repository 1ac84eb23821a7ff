package dns

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"minato/internal/host"
	"minato/internal/host/limit"
)

// NodeConfig describes the DNS of one node.
type NodeConfig struct {
	// Name is the node's; it may be empty where nothing is registered.
	Name   string
	Domain string
	Netns  host.Netns
	// Listen are the addresses to answer on, over UDP and TCP; Endpoints those of /health, /ready and /metrics.
	Listen, Endpoints []string
	// Keeper, if not nil, keeps the sockets open when this process ends: questions wait in them for the next process.
	Keeper *host.Keeper

	// Store has the cluster's names, Settings the configuration. Nodes of one process share them; the caller runs them.
	Store    *Store
	Settings *Settings
	// ServiceIPs are the cluster DNS addresses.
	ServiceIPs []netip.Addr
	// Upstreams, Search and Lameduck are those of [ServerConfig].
	Upstreams func() []netip.AddrPort
	Search    func() []string
	Lameduck  time.Duration

	// AwaitNames has questions wait in the sockets until the cluster's names are
	// known; otherwise they are answered with SERVFAIL meanwhile.
	AwaitNames bool
	// Limits bounds the connections; nil makes bounds for these alone.
	Limits *limit.Budget
	// Registration, if not nil, is the node's place behind the cluster DNS addresses.
	Registration *RegistrationConfig
	// Collectors are further metrics for /metrics.
	Collectors []prometheus.Collector
	Logger     *slog.Logger
}

// Node is all that one node needs for DNS: the sockets, the server that answers on them, its health and metrics, and
// the node's place behind the cluster DNS addresses.
type Node struct {
	cfg          NodeConfig
	registration *Registration
	current      atomic.Pointer[serving]
}

// serving is a server with its sockets.
type serving struct {
	server  *Server
	handler http.Handler
	unkept  []syscall.Conn // sockets that the Keeper does not have yet
}

// NewNode checks cfg. It opens nothing.
func NewNode(cfg NodeConfig) (*Node, error) {
	if cfg.Store == nil {
		return nil, errors.New("dns node: a Store is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	n := &Node{cfg: cfg}
	var err error
	if n.cfg.Limits, err = cfg.Limits.OrDefault(cfg.Logger); err != nil {
		return nil, fmt.Errorf("dns node: %w", err)
	}
	if cfg.Registration != nil {
		if n.registration, err = NewRegistration(*cfg.Registration); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// Open opens the sockets, or takes over those that an earlier process left: questions wait in them until Serve.
func (n *Node) Open(ctx context.Context) error {
	if n.current.Load() != nil {
		return nil
	}
	streams, packets, adopted, err := n.sockets(ctx)
	if err != nil {
		return fmt.Errorf("DNS server: %w", err)
	}
	var self []netip.AddrPort
	for _, ip := range n.cfg.ServiceIPs {
		self = append(self, AddrPort(ip))
	}
	server, err := NewServer(ServerConfig{
		Source: n.cfg.Store, Domain: n.cfg.Domain, Listeners: streams, PacketConns: packets,
		Upstreams: n.cfg.Upstreams, Search: n.cfg.Search, Settings: n.cfg.Settings,
		Self: self, Lameduck: n.cfg.Lameduck, Limits: n.cfg.Limits, Logger: n.cfg.Logger,
	})
	if err != nil {
		closeAll(streams)
		closeAll(packets)
		return err
	}
	registry := prometheus.NewRegistry()
	for _, c := range append([]prometheus.Collector{NewMetrics(server, n.cfg.Store)}, n.cfg.Collectors...) {
		if err := registry.Register(c); err != nil {
			closeAll(streams)
			closeAll(packets)
			return fmt.Errorf("DNS metrics: %w", err)
		}
	}
	s := &serving{server: server, handler: server.Handler(promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))}
	if !adopted {
		s.unkept = connections(streams, packets)
	}
	n.current.Store(s)
	return nil
}

// Serve answers questions until ctx ends and Lameduck is over.
func (n *Node) Serve(ctx context.Context) error {
	if err := n.Open(ctx); err != nil {
		return err
	}
	s := n.current.Load()
	defer n.current.Store(nil) // the server closes its sockets
	if n.cfg.Keeper != nil && len(s.unkept) > 0 {
		if err := n.cfg.Keeper.Keep(s.unkept...); err != nil {
			n.cfg.Logger.Warn("The DNS sockets are not kept: if this process ends, names cannot be looked up on the node until it is started again", "error", err)
		}
	}
	if n.cfg.AwaitNames {
		select {
		case <-n.cfg.Store.Ready():
		case <-ctx.Done():
		}
	}
	err := s.server.Run(ctx)
	if err == nil && ctx.Err() == nil {
		err = errors.New("DNS server: its sockets were closed while it was to serve them")
	}
	return err
}

// ServeEndpoints answers /health, /ready and /metrics until ctx ends.
func (n *Node) ServeEndpoints(ctx context.Context) error {
	if len(n.cfg.Endpoints) == 0 {
		return nil
	}
	h := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := n.current.Load()
		if s == nil {
			http.Error(w, "the DNS server is not running", http.StatusServiceUnavailable)
			return
		}
		s.handler.ServeHTTP(w, r)
	})
	listen := n.cfg.Limits.Listen(limit.Listener{Name: "DNS health and metrics", Total: 256, PerSource: 32}, n.cfg.Netns.Listen)
	if err := host.ServeHTTP(ctx, listen, h, n.cfg.Endpoints...); err != nil {
		return fmt.Errorf("DNS health and metrics: %w", err)
	}
	return nil
}

// Register keeps the node's place behind the cluster DNS addresses until ctx ends.
func (n *Node) Register(ctx context.Context) error {
	if n.registration == nil {
		return nil
	}
	return n.registration.Run(ctx)
}

// ErrNotServing is returned while the node's DNS server does not run.
var ErrNotServing = errors.New("the node's DNS server does not run")

// ExplainSearch is [Server.ExplainSearch]; it returns ErrNotServing while the server does not run.
func (n *Node) ExplainSearch(ctx context.Context, name string, qtype uint16, client netip.Addr, path SearchPath) ([]Explanation, error) {
	s := n.current.Load()
	if s == nil {
		return nil, ErrNotServing
	}
	return s.server.ExplainSearch(ctx, name, qtype, client, path), nil
}

// sockets takes over the sockets of an earlier process, or opens new ones.
func (n *Node) sockets(ctx context.Context) (streams []net.Listener, packets []net.PacketConn, adopted bool, err error) {
	if n.cfg.Keeper != nil {
		var want []host.Socket
		for _, a := range n.cfg.Listen {
			want = append(want, host.Socket{Network: "tcp", Address: a}, host.Socket{Network: "udp", Address: a})
		}
		streams, packets, err = n.cfg.Keeper.Adopt(ctx, want...)
		if err != nil {
			n.cfg.Logger.Warn("The DNS sockets of the previous process cannot be taken over; new ones are opened", "error", err)
		}
		if len(streams) > 0 {
			return streams, packets, true, nil
		}
	}
	for _, a := range n.cfg.Listen {
		l, err := n.cfg.Netns.Listen(ctx, "tcp", a)
		if err == nil {
			streams = append(streams, l)
			var conns []net.PacketConn
			if conns, err = n.cfg.Netns.ListenPackets(ctx, "udp", a, runtime.GOMAXPROCS(0)); err == nil {
				packets = append(packets, conns...)
			}
		}
		if err != nil {
			closeAll(streams)
			closeAll(packets)
			return nil, nil, false, fmt.Errorf("open %s: %w", a, err)
		}
	}
	return streams, packets, false, nil
}

func connections(streams []net.Listener, packets []net.PacketConn) (out []syscall.Conn) {
	for _, l := range streams {
		if c, ok := l.(syscall.Conn); ok {
			out = append(out, c)
		}
	}
	for _, p := range packets {
		if c, ok := p.(syscall.Conn); ok {
			out = append(out, c)
		}
	}
	return out
}

func closeAll[C io.Closer](all []C) {
	for _, c := range all {
		c.Close()
	}
}
