package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"minato/internal/host/socket"
	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/h2"
	"minato/internal/ingress/table"
)

// Listener is a socket that clients connect to.
type Listener struct {
	net.Listener
	// TLS is whether clients speak TLS.
	TLS bool
	// Port is the port that clients see, 80 or 443, if it is not that of the socket; 0 is the socket's.
	Port uint16
}

// Config describes a Server.
type Config struct {
	Logger *slog.Logger
	// Listeners are closed when Run ends. Bounds on connections are theirs (host/limit).
	Listeners []Listener
	// Observer is told of every request that has ended; nil is nobody.
	Observer Observer
	// TempDir is where bodies are kept that do not fit into their buffer, in files without a name. "" is the system's.
	TempDir string
	// Hostname is the node's name.
	Hostname string
	// BodyMemory bounds what such bodies take in memory, in bytes, where no file can be made. 0 is 64 MiB.
	BodyMemory int64
	// Dial connects to endpoints; nil is TCP.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Server is the data path. SetTable has to be called before Run.
type Server struct {
	cfg      Config
	view     atomic.Pointer[view]
	hooks    hooks
	backends backends
	buffers  h1.Buffers
	watches  *watcher
	date     h1.Clock
	flows    sync.Pool
	bytes    sync.Pool
	copies   sync.Pool // buffers of copySize
	pipes    chan socket.Pipe
	spooled  atomic.Int64 // bytes of bodies in memory
	def      atomic.Pointer[tls.Certificate]
	http2    h2.Buffers
	tickets  ticketKeys
	sessions sessions

	lookedAt, sweptAt int64 // of sweep

	acceptMu  sync.Mutex
	acceptors []*acceptor
	stopped   bool // stopListening was called

	draining atomic.Bool
	closed   chan struct{}
	end      sync.Once
	conns    sync.WaitGroup
	// servers are the goroutines that serve connections; those of them that wait for one do so at parked.
	servers sync.WaitGroup
	parked  chan accepted
	waiting atomic.Int32
	// upstreams are the connections of HTTP/2 to endpoints.
	upstreams sync.WaitGroup
	open      atomic.Int64 // connections of clients
	number    atomic.Uint64
	edits     atomic.Uint64
	accepted  atomic.Int64
	requests  atomic.Int64
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Server, error) {
	if cfg.Logger == nil {
		return nil, errors.New("the proxy needs a logger")
	}
	for _, l := range cfg.Listeners {
		if l.Listener == nil {
			return nil, errors.New("a listener of the proxy has no socket")
		}
	}
	if cfg.BodyMemory == 0 {
		cfg.BodyMemory = 64 << 20
	}
	s := &Server{cfg: cfg, watches: newWatcher(), closed: make(chan struct{}), pipes: make(chan socket.Pipe, 64), parked: make(chan accepted)}
	s.flows.New = func() any { return newFlow(s) }
	s.bytes.New = func() any { b := make([]byte, 0, outSize); return &b }
	s.copies.New = func() any { b := make([]byte, copySize); return &b }
	s.hooks.p.Store(&exchange.Hooks{})
	return s, nil
}

// SetTable has requests that come from now on served by t; those under way keep their route.
func (s *Server) SetTable(t *table.Table) {
	if s.edits.Add(1)%pruneEvery == 0 {
		// Before the view is made: it must not have found what is then forgotten.
		s.backends.prune()
	}
	s.view.Store(newView(t, &s.backends))
}

// pruneEvery is after how many edits backends are looked for that are not used any more.
const pruneEvery = 64

// SetEndpoints replaces the endpoints of a backend, all at once. Requests under way go on at endpoints that are gone.
func (s *Server) SetEndpoints(ref table.BackendRef, endpoints []Endpoint) {
	s.backends.setEndpoints(ref, endpoints)
}

// SetHooks replaces the filters.
func (s *Server) SetHooks(h exchange.Hooks) { s.hooks.p.Store(&h) }

// SetDefaultCertificate is the certificate of names that have none.
func (s *Server) SetDefaultCertificate(c *tls.Certificate) { s.def.Store(c) }

// Run serves until the context ends, or Shutdown was called and is done; what is then still open is closed.
func (s *Server) Run(ctx context.Context) error {
	if s.view.Load() == nil {
		return errors.New("the proxy has no table")
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var own sync.WaitGroup
	own.Go(func() { s.watches.run(ctx, s.sweep) })
	failed := make(chan error, len(s.cfg.Listeners))
	for i := range s.cfg.Listeners {
		l := &s.cfg.Listeners[i]
		own.Go(func() {
			if err := s.accept(ctx, l); err != nil {
				failed <- err
			}
		})
	}
	var err error
	select {
	case <-ctx.Done():
	case <-s.closed:
	case err = <-failed:
	}
	s.stopListening()
	s.draining.Store(true)
	cancel()
	s.watches.each(func(w *watch) { w.interrupt() })
	s.waitForConns(2*time.Second, true)
	s.backends.each(func(e *endpoint) { e.retire() })
	s.upstreams.Wait()
	s.servers.Wait()
	own.Wait()
	for len(s.pipes) > 0 {
		(<-s.pipes).Close()
	}
	return err
}

// waitForConns waits for the connections of clients to end, and closes them if it has to.
func (s *Server) waitForConns(most time.Duration, hard bool) bool {
	done := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(done)
	}()
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
	}
	if hard {
		s.watches.each(func(w *watch) {
			if w.client != nil {
				_ = w.client.base.Close()
			}
		})
		<-done
	}
	return false
}

// Shutdown is the lame duck: connections that wait for a request are ended, the others after the answer that they
// are at, and no more are accepted. It returns when all have ended or the context does; then Run ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stopListening()
	s.draining.Store(true)
	s.watches.each(func(w *watch) {
		if w.client != nil {
			w.client.drain()
		}
	})
	done := make(chan struct{})
	go func() {
		s.conns.Wait()
		close(done)
	}()
	var err error
	select {
	case <-done:
	case <-ctx.Done():
		err = fmt.Errorf("wait for %d connections to end: %w", s.open.Load(), ctx.Err())
	}
	s.end.Do(func() { close(s.closed) })
	if err != nil {
		return err
	}
	return nil
}

// How often clients are looked for that have gone away, and idle connections to endpoints that are no longer good.
const (
	lookEvery  = int64(time.Second)
	sweepEvery = 5 * int64(time.Second)
)

// sweep is called now and then by the watcher's goroutine.
func (s *Server) sweep(now int64) {
	if now-s.lookedAt >= lookEvery {
		s.lookedAt = now
		s.watches.each(func(w *watch) {
			switch {
			case w.client != nil:
				w.client.lookForEnd(now)
			case w.http2 != nil:
				w.http2.Look(now)
			}
		})
	}
	if v := s.view.Load(); v != nil && now-s.sweptAt >= sweepEvery {
		s.sweptAt = now
		s.backends.each(func(e *endpoint) { e.sweep(now, &v.pool) })
	}
}
