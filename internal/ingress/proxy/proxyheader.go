package proxy

import (
	"net"
	"net/netip"
	"time"

	"minato/internal/ingress/proxyproto"
)

// readProxyHeader reads the header of the PROXY protocol that a balancer puts before what the client sends, and takes
// the addresses that it names. It reports false if there is none that is right.
func (c *clientConn) readProxyHeader(timeout time.Duration) bool {
	c.within(timeout)
	h, rest, err := proxyproto.Read(c.conn, make([]byte, proxyproto.Max))
	if err != nil {
		return false
	}
	if !h.Local {
		c.peer = h.Source
		// The port that the client connected to is the balancer's, which it may have mapped; 80 and 443 are what matters.
		c.local = netip.AddrPortFrom(h.Destination.Addr(), h.Destination.Port())
	}
	if len(rest) > 0 {
		c.before(rest)
	}
	c.set(0)
	return true
}

// before has bytes read again that were read too far.
func (c *clientConn) before(p []byte) {
	c.early = append([]byte(nil), p...)
	c.conn = &earlyConn{Conn: c.conn, early: &c.early}
}

// earlyConn reads bytes first that were read before.
type earlyConn struct {
	net.Conn
	early *[]byte
}

// Read implements net.Conn.
func (c *earlyConn) Read(p []byte) (int, error) {
	if rest := *c.early; len(rest) > 0 {
		n := copy(p, rest)
		*c.early = rest[n:]
		return n, nil
	}
	return c.Conn.Read(p)
}

// CloseWrite ends one direction.
func (c *earlyConn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return net.ErrClosed
}
