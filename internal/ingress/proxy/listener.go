package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"syscall"
	"time"
)

// accept serves the connections of one listener until it is closed.
func (s *Server) accept(ctx context.Context, l *Listener) error {
	from, err := newAcceptor(l.Listener)
	switch {
	case errors.Is(err, net.ErrClosed):
		return nil
	case err != nil:
		return fmt.Errorf("prepare the socket at %s: %w", l.Addr(), err)
	case !s.accepts(from):
		return nil
	}
	pause := time.Duration(0)
	for {
		conn, err := from.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case errors.Is(err, syscall.ECONNABORTED):
			continue
		case exhausted(err):
			// Descriptors come back when connections end; the listener stays.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			s.cfg.Logger.Warn("A connection cannot be accepted, because the kernel has no resources for it", "error", err)
			select {
			case <-time.After(pause):
			case <-ctx.Done():
				return nil
			}
			continue
		case err != nil:
			return fmt.Errorf("accept connections on %s: %w", l.Addr(), err)
		}
		pause = 0
		s.accepted.Add(1)
		set := s.view.Load().settings
		if most := int64(set.MaxConnections) * int64(orInt(set.Workers, runtime.GOMAXPROCS(0))); most > 0 && s.open.Load() >= most {
			_ = conn.Close() // max-worker-connections
			continue
		}
		s.open.Add(1)
		s.conns.Add(1)
		s.serveBy(ctx, accepted{l, conn})
	}
}

// accepted is a connection that is to be served.
type accepted struct {
	l    *Listener
	conn net.Conn
}

// mostParked is how many goroutines wait for a connection after they have served one: their stacks have grown to what that
// takes, which is a tenth of the time of a connection with one request.
const mostParked = 64

// serveBy has a connection served by a goroutine that waits for one, or by a new one.
func (s *Server) serveBy(ctx context.Context, a accepted) {
	select {
	case s.parked <- a:
		return
	default:
	}
	s.servers.Go(func() {
		for {
			s.serveAccepted(ctx, a)
			if s.waiting.Add(1) > mostParked {
				s.waiting.Add(-1)
				return
			}
			select {
			case a = <-s.parked:
				s.waiting.Add(-1)
			case <-ctx.Done():
				return
			}
		}
	})
}

func (s *Server) serveAccepted(ctx context.Context, a accepted) {
	defer s.conns.Done()
	defer s.open.Add(-1)
	s.serveConn(ctx, a.l, a.conn)
}

// accepts notes what accepts connections, for stopListening; if that was called already it reports false.
func (s *Server) accepts(a *acceptor) bool {
	s.acceptMu.Lock()
	defer s.acceptMu.Unlock()
	if s.stopped {
		_ = a.Close()
		return false
	}
	s.acceptors = append(s.acceptors, a)
	return true
}

// stopListening has no more connections accepted.
func (s *Server) stopListening() {
	s.acceptMu.Lock()
	defer s.acceptMu.Unlock()
	s.stopped = true
	for _, a := range s.acceptors {
		_ = a.Close() // one that is closed already is as good
	}
	for _, l := range s.cfg.Listeners {
		_ = l.Close() // of which no acceptor was made
	}
}

func exhausted(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// addressOf returns a TCP address without the zone and the mapping of IPv4 into IPv6.
func addressOf(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp == nil {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}
