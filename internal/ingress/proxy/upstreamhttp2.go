package proxy

import (
	"context"
	"net"
	"syscall"
	"time"

	"minato/internal/ingress/h2"
)

// Bounds of connections of HTTP/2 to endpoints.
const (
	endpointHeader  = 64 << 10
	endpointIdle    = time.Minute
	endpointSilence = 30 * time.Second
)

// reserve returns a connection of HTTP/2 with room for one more request: one that is there, or a new one.
func (t *transport) reserve(ctx context.Context, s *Server, ep *endpoint, timeout time.Duration) (c *h2.Conn, reused bool, err error) {
	if c = t.reserved(); c != nil {
		return c, true, nil
	}
	conn, tcp, err := s.dialConn(ctx, ep, t, timeout)
	if err != nil {
		return nil, false, err
	}
	var raw syscall.RawConn
	if t.config == nil {
		if raw, err = tcp.SyscallConn(); err != nil {
			_ = conn.Close()
			return nil, false, err
		}
	}
	c = h2.New(h2.Config{
		Client: true, Conn: conn, Abort: tcp.Close, Raw: raw, Buffers: &s.http2, MaxHeader: endpointHeader, Now: clock,
		StreamWindow: http2StreamWindow, Window: http2Window,
		Idle: endpointIdle, Send: time.Minute, Silence: endpointSilence, Ping: http2Ping,
	})
	c.Reserve()
	s.runHTTP2(c, conn)
	t.mu.Lock()
	gone := ep.gone.Load() || t.shut
	if !gone {
		t.h2 = append(t.h2, c)
	}
	t.mu.Unlock()
	if gone {
		c.Shutdown()
	}
	return c, false, nil
}

// reserved takes room on a connection that is there; nil if none has any.
func (t *transport) reserved() *h2.Conn {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := 0; i < len(t.h2); {
		c := t.h2[i]
		switch {
		case c.Reserve():
			return c
		case c.Usable():
			i++
		default:
			last := len(t.h2) - 1
			copy(t.h2[i:], t.h2[i+1:])
			t.h2[last] = nil
			t.h2 = t.h2[:last]
		}
	}
	return nil
}

// runHTTP2 runs a connection to an endpoint, with its times looked at.
func (s *Server) runHTTP2(c *h2.Conn, conn net.Conn) {
	w := &watch{http2: c}
	s.watches.add(w, conn)
	s.upstreams.Go(func() {
		defer s.watches.remove(w)
		defer s.outlive()
		c.Run()
	})
}

// closeIdle closes what is idle now, and what is in use after its requests.
func (t *transport) closeIdle() {
	t.pool.closeIdle()
	t.mu.Lock()
	all := t.h2
	t.h2, t.shut = nil, true
	t.mu.Unlock()
	for _, c := range all {
		c.Shutdown()
	}
}
