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
	pause := time.Duration(0)
	for {
		conn, err := l.Accept()
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
		s.conns.Go(func() {
			defer s.open.Add(-1)
			s.serveConn(ctx, l, conn)
		})
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
