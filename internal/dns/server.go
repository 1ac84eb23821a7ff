package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"minato/internal/dns/zone"
	"minato/internal/host/limit"
)

// Source has the zone. Snapshot returns nil until the zone is complete.
type Source interface {
	Snapshot() *zone.Snapshot
}

// ServerConfig describes one node's server.
type ServerConfig struct {
	Source Source
	// Domain is the cluster's domain; it must be the Source's.
	Domain string
	// Listeners and PacketConns are open already, in the node's network
	// namespace. The Server owns them from New on and closes them.
	Listeners   []net.Listener
	PacketConns []net.PacketConn
	// Limits bounds the connections that the Listeners accept; nil makes bounds
	// for this server alone.
	Limits *limit.Budget
	// Upstreams gives the resolvers for every other name, best first; it is asked
	// each time, so it may follow a file. See StaticUpstreams and ResolvConf.
	Upstreams func() []netip.AddrPort
	// Self are further addresses that lead to this server, such as the cluster DNS
	// address; they are never used as upstreams.
	Self []netip.AddrPort
	// Dial opens connections to the upstreams; nil dials from the process's own
	// network namespace.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Settings is the configuration; nil means the defaults.
	Settings *Settings
	// Search gives the domains that the node's resolver adds to names, which Pods
	// have at the end of their search path; nil gives none.
	Search func() []string
	// Lameduck is how long Run goes on answering after its context has ended, while
	// Ready returns an error: clients learn only after a while to ask another server.
	Lameduck time.Duration
	Logger   *slog.Logger
}

// Server answers DNS questions on one node.
type Server struct {
	cfg       ServerConfig
	domain    string
	forwarder *forwarder
	streams   []*dns.Server // TCP
	packets   []*packetLoop // UDP
	stats     *trafficStats // of the questions that the method serve answers
	inFlight  atomic.Int64
	answering sync.WaitGroup
	serving   atomic.Int64    // number of sockets that are served
	leaving   atomic.Bool     // Run has been told to end
	handling  context.Context // ends when Run does; bounds every question in flight
	stop      context.CancelFunc
}

// streamLimit bounds the connections to the server over TCP. Resolvers open one
// for a question whose answer is too long for UDP.
func streamLimit() limit.Listener {
	return limit.Listener{Name: "DNS over TCP", Total: 1024, PerSource: 128, WriteTimeout: 5 * time.Second}
}

// shutdownTimeout is how long Run waits for questions in flight when it ends.
const shutdownTimeout = 5 * time.Second

// NewServer checks cfg. Nothing is answered before Run.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Source == nil {
		return nil, errors.New("dns server: a Source is required")
	}
	if len(cfg.Listeners)+len(cfg.PacketConns) == 0 {
		return nil, errors.New("dns server: no socket to answer on; pass Listeners and PacketConns")
	}
	if _, ok := dns.IsDomainName(cfg.Domain); !ok || cfg.Domain == "" {
		return nil, fmt.Errorf("dns server: domain %q is not a domain name; use one such as cluster.local", cfg.Domain)
	}
	if cfg.Settings == nil {
		var err error
		if cfg.Settings, err = NewSettings(SettingsConfig{Domain: cfg.Domain, Logger: cfg.Logger}); err != nil {
			return nil, fmt.Errorf("dns server: %w", err)
		}
	}
	if cfg.Search == nil {
		cfg.Search = func() []string { return nil }
	}
	if cfg.Upstreams == nil {
		cfg.Upstreams = StaticUpstreams()
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{}).DialContext
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	limits, err := cfg.Limits.OrDefault(cfg.Logger)
	if err != nil {
		return nil, fmt.Errorf("dns server: %w", err)
	}
	cfg.Listeners = limits.Wrap(streamLimit(), cfg.Listeners...)
	s := &Server{cfg: cfg, domain: dns.CanonicalName(cfg.Domain), stats: newTrafficStats()}
	for _, l := range cfg.Listeners {
		s.streams = append(s.streams, &dns.Server{Listener: l, Handler: s, IdleTimeout: func() time.Duration { return 10 * time.Second }})
	}
	for _, c := range cfg.PacketConns {
		conn, ok := c.(*net.UDPConn)
		if !ok {
			return nil, fmt.Errorf("dns server: the packet socket %s is no UDP socket", c.LocalAddr())
		}
		s.packets = append(s.packets, newPacketLoop(s, conn, newTrafficStats()))
	}
	s.handling, s.stop = context.WithCancel(context.Background())
	s.forwarder = newForwarder(cfg.Upstreams, cfg.Dial, s.self())
	s.forwarder.policy = cfg.Settings.policy
	s.forwarder.warn = func(reason, message string) { cfg.Settings.Warn(s.handling, reason, message) }
	return s, nil
}

// self lists the addresses that lead to this server. They are not used as upstreams:
// the server would ask itself.
func (s *Server) self() []netip.AddrPort {
	out := append([]netip.AddrPort(nil), s.cfg.Self...)
	add := func(a net.Addr) {
		if ap, err := netip.ParseAddrPort(a.String()); err == nil {
			out = append(out, netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()))
		}
	}
	for _, l := range s.cfg.Listeners {
		add(l.Addr())
	}
	for _, c := range s.cfg.PacketConns {
		add(c.LocalAddr())
	}
	return out
}

// Run answers until ctx ends and Lameduck is over, then lets the questions in
// flight finish and closes the sockets. It may be called once.
func (s *Server) Run(ctx context.Context) error {
	defer s.stop()
	ctx, cancel := s.outlast(ctx)
	defer cancel()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { s.forwarder.run(s.handling); return nil })
	g.Go(func() error {
		<-ctx.Done()
		s.stop() // otherwise Run waits for upstreams that may take seconds to answer
		return nil
	})
	for _, l := range s.packets {
		g.Go(func() error {
			s.serving.Add(1)
			defer s.serving.Add(-1)
			return l.run(ctx)
		})
		g.Go(func() error {
			<-ctx.Done()
			// Reading ends; the answers in flight still go out.
			return l.conn.SetReadDeadline(time.Unix(1, 0))
		})
	}
	for _, srv := range s.streams {
		s.runStream(ctx, g, srv)
	}
	err := g.Wait()
	s.answering.Wait()
	for _, l := range s.packets {
		l.conn.Close()
	}
	return err
}

// outlast returns a context that ends Lameduck after ctx does.
func (s *Server) outlast(ctx context.Context) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	context.AfterFunc(ctx, func() {
		s.leaving.Store(true)
		timer := time.NewTimer(s.cfg.Lameduck)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel()
		case <-longer.Done(): // a socket failed
		}
	})
	return longer, cancel
}

func (s *Server) runStream(ctx context.Context, g *errgroup.Group, srv *dns.Server) {
	started, done := make(chan struct{}), make(chan struct{})
	srv.NotifyStartedFunc = func() {
		s.serving.Add(1)
		close(started)
	}
	g.Go(func() error {
		defer close(done)
		err := srv.ActivateAndServe()
		s.serving.Add(-1)
		if err != nil && ctx.Err() == nil {
			return fmt.Errorf("dns server: serve on tcp %s: %w", srv.Listener.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
		}
		select { // a server that has not started yet cannot be shut down
		case <-started:
		case <-done:
			return nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), shutdownTimeout)
		defer cancel()
		if err := srv.ShutdownContext(ctx); err != nil {
			s.cfg.Logger.Warn("The DNS server did not finish the questions of a TCP socket in time", "socket", srv.Listener.Addr().String(), "error", err)
		}
		return nil
	})
}

// maxLocal is how many questions may be answered at the same time besides those that
// wait for an upstream.
const maxLocal = 1000

// enter counts a question as being answered. It returns false if there are too many.
func (s *Server) enter() bool {
	if s.inFlight.Add(1) > int64(s.cfg.Settings.policy().waiting+maxLocal) {
		s.inFlight.Add(-1)
		return false
	}
	s.answering.Add(1)
	return true
}

func (s *Server) leave() {
	s.inFlight.Add(-1)
	s.answering.Done()
}

// ServeDNS answers one message that came over TCP; it is called by miekg/dns.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	if _, err := s.serve(req, w.RemoteAddr(), req.Len(), func(reply []byte) error {
		_, err := w.Write(reply)
		return err
	}); err != nil {
		// The client has closed the connection, or its question cannot be packed into an answer.
		s.cfg.Logger.Debug("A DNS answer was not sent", "client", w.RemoteAddr().String(), "error", err)
	}
}

// serve answers one message that packetLoop does not answer at once: one over TCP,
// or one over UDP that needs an upstream or a rarer part of the configuration.
func (s *Server) serve(req *dns.Msg, from net.Addr, size int, write func([]byte) error) (*dns.Msg, error) {
	start := time.Now()
	client, overTCP := clientOf(from)
	resp := s.respond(s.handling, req, request{client: client, overTCP: overTCP})
	s.log(req, resp, from, time.Since(start))
	reply, err := resp.Pack()
	if err != nil {
		return nil, err
	}
	qtype := uint16(0)
	if len(req.Question) == 1 {
		qtype = req.Question[0].Qtype
	}
	proto, family := protoUDP, family4
	if overTCP {
		proto = protoTCP
	}
	if client.Is6() {
		family = family6
	}
	s.stats.count(proto, family, qtype, reply, size)
	s.stats.took(time.Since(start), 1)
	return resp, write(reply)
}

func clientOf(a net.Addr) (client netip.Addr, overTCP bool) {
	switch a := a.(type) {
	case *net.UDPAddr:
		client = a.AddrPort().Addr()
	case *net.TCPAddr:
		client, overTCP = a.AddrPort().Addr(), true
	}
	return client.Unmap(), overTCP
}

// log writes a log line for a question, if the configuration asks for it.
func (s *Server) log(req, resp *dns.Msg, from net.Addr, took time.Duration) {
	level := s.cfg.Settings.policy().log
	if level == logNone || len(req.Question) != 1 {
		return
	}
	if level == logErrors && (resp.Rcode == dns.RcodeSuccess || resp.Rcode == dns.RcodeNameError) {
		return
	}
	q := req.Question[0]
	s.cfg.Logger.Info("query", "client", from.String(), "name", q.Name, "type", dns.Type(q.Qtype).String(),
		"rcode", dns.RcodeToString[resp.Rcode], "answers", len(resp.Answer), "took", took)
}
