package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"time"

	"minato/internal/ingress/table"
)

// errPeeked ends a handshake that is only there to read the client's first message.
var errPeeked = errors.New("the client's first message was read")

// peekHello reads a client's first message of TLS and returns a connection that reads it again, and the server name that it
// asks for. The connection is nil if what came is not TLS.
func peekHello(c net.Conn) (net.Conn, string) {
	rec := &recordedConn{Conn: c}
	name, seen := "", false
	err := tls.Server(rec, &tls.Config{
		MinVersion: tls.VersionTLS10, //nolint:gosec // nothing is spoken here: the endpoint decides
		GetConfigForClient: func(h *tls.ClientHelloInfo) (*tls.Config, error) {
			name, seen = h.ServerName, true
			return nil, errPeeked
		},
	}).HandshakeContext(context.Background())
	if !seen || err == nil {
		return nil, ""
	}
	early := rec.read
	return &earlyConn{Conn: c, early: &early}, name
}

// recordedConn keeps what is read, and writes nothing.
type recordedConn struct {
	net.Conn
	read []byte
}

// maxHello bounds the client's first message, which may be several records.
const maxHello = 64 << 10

// Read implements net.Conn.
func (c *recordedConn) Read(p []byte) (int, error) {
	if len(c.read) > maxHello {
		return 0, io.ErrShortBuffer
	}
	n, err := c.Conn.Read(p)
	c.read = append(c.read, p[:n]...)
	return n, err
}

// Write implements net.Conn: the alert of the handshake that is given up is not sent.
func (c *recordedConn) Write(p []byte) (int, error) { return len(p), nil }

// passthrough returns the upstream of a host whose TLS is the endpoints' (ssl-passthrough): that of its path /, or nil. The
// name must be the host's, not one under its wildcard.
func (v *view) passthrough(name string) *table.Upstream {
	if name == "" {
		return nil
	}
	server, _ := v.table.CertificateFor(name)
	if !server.Options.Passthrough || server.Name == "" || server.Name[0] == '*' {
		return nil
	}
	var m table.Match
	v.table.Match(name, "/", &m)
	if m.Route == nil || m.Err != nil {
		return nil
	}
	return m.Route.Backend
}

// passThrough passes what the client sends to an endpoint, and back.
func (s *Server) passThrough(c *clientConn, conn net.Conn, b *backend) {
	e := s.dialAny(c.ctx, b.set.Load(), 3, 5*time.Second)
	if e == nil {
		return
	}
	defer e.close()
	early := conn.(*earlyConn).early
	if _, err := e.conn.Write(*early); err != nil {
		return
	}
	*early = nil
	s.splice(c, e, 10*time.Minute)
}

// dialAny connects to one of the endpoints, another where that fails.
func (s *Server) dialAny(ctx context.Context, set *endpointSet, tries int, timeout time.Duration) *upstreamConn {
	cand := candidates{set: set}
	for len(set.all) > 0 && len(cand.tried) < min(tries, len(set.all)) && ctx.Err() == nil {
		cand.now = clock()
		ep := cand.round()
		u, err := s.dial(ctx, ep, &ep.plain, nil, timeout)
		if err == nil {
			return u
		}
		ep.failing.Store(clock() + int64(failingFor))
		cand.tried = append(cand.tried, ep)
	}
	return nil
}

// splice joins a client and an endpoint, and returns the bytes in both directions.
func (s *Server) splice(c *clientConn, u *upstreamConn, timeout time.Duration) (down, up int64) {
	f := &flow{srv: s}
	return f.join(c, u, timeout)
}
