package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"

	"minato/internal/ingress/h2"
	"minato/internal/ingress/table"
)

// transportKey is what connections to one endpoint must have in common to be used for one another.
type transportKey struct {
	tls  *table.BackendTLS // nil without verification
	name string            // the server's name
	h2   bool
	// encrypted is whether TLS is spoken.
	encrypted bool
}

// transport is how an endpoint is spoken to other than by HTTP/1 without TLS.
type transport struct {
	pool
	config *tls.Config // nil without TLS
	mu     sync.Mutex
	h2     []*h2.Conn
	shut   bool // closeIdle was called
}

// transport returns how the endpoint is spoken to; nil for HTTP/1 without TLS.
func (f *flow) transport(loc *table.Location, ep *endpoint) *transport {
	key := transportKey{tls: loc.BackendTLS}
	switch f.protocol(loc) {
	case table.ProtocolHTTPS:
		key.encrypted = true
	case table.ProtocolGRPC:
		key.h2 = true
	case table.ProtocolGRPCS:
		key.encrypted, key.h2 = true, true
	default:
		return nil
	}
	if !key.encrypted {
		key.tls = nil
	} else if t := loc.BackendTLS; t != nil {
		switch {
		case t.Name != nil:
			key.name = f.x.Expand(t.Name)
		case t.Verify || t.ServerName:
			key.name = f.x.Host
		}
	}
	return ep.transport(key)
}

func (e *endpoint) transport(key transportKey) *transport {
	e.mu.Lock()
	defer e.mu.Unlock()
	t := e.others[key]
	if t == nil {
		if e.others == nil {
			e.others = map[transportKey]*transport{}
		}
		if len(e.others) >= maxTransports {
			// Names come from requests where proxy-ssl-name has a variable: they must not fill the memory.
			for k, old := range e.others {
				old.closeIdle()
				delete(e.others, k)
				break
			}
		}
		key.name = string(append([]byte(nil), key.name...)) // it is a view of the request
		t = &transport{}
		if key.encrypted {
			t.config = backendTLSConfig(key)
		}
		e.others[key] = t
	}
	return t
}

// maxTransports bounds the ways in which one endpoint is spoken to.
const maxTransports = 64

// dial connects to an endpoint, with TLS if the transport has it.
func (s *Server) dial(ctx context.Context, ep *endpoint, home *pool, t *transport, timeout time.Duration) (*upstreamConn, error) {
	conn, tcp, err := s.dialConn(ctx, ep, t, timeout)
	if err != nil {
		return nil, err
	}
	u, err := s.newUpstreamConn(conn, tcp, ep, home)
	if err != nil {
		_ = conn.Close()
	}
	return u, err
}

var errNoTCP = errors.New("the connection to the endpoint is no TCP connection")

func (s *Server) dialConn(ctx context.Context, ep *endpoint, t *transport, timeout time.Duration) (net.Conn, *net.TCPConn, error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	defer context.AfterFunc(ep.there, end)()
	dial := s.cfg.Dial
	var conn net.Conn
	var err error
	if dial == nil {
		d := net.Dialer{Timeout: timeout, KeepAlive: -1}
		conn, err = d.DialContext(ctx, "tcp", ep.text)
	} else {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
		conn, err = dial(ctx, "tcp", ep.text)
	}
	if err != nil {
		return nil, nil, err
	}
	tcp, ok := conn.(*net.TCPConn)
	if !ok {
		_ = conn.Close()
		return nil, nil, errNoTCP
	}
	if t == nil || t.config == nil {
		return tcp, tcp, nil
	}
	c := tls.Client(tcp, t.config)
	_ = tcp.SetDeadline(time.Now().Add(timeout))
	if err := c.HandshakeContext(ctx); err != nil {
		_ = tcp.Close()
		return nil, nil, err
	}
	_ = tcp.SetDeadline(time.Time{})
	return c, tcp, nil
}

// sweep closes what of an endpoint's idle connections is no longer good.
func (e *endpoint) sweep(now int64, lim *poolLimits) {
	e.plain.sweep(now, lim)
	e.mu.Lock()
	all := make([]*transport, 0, len(e.others))
	for _, t := range e.others {
		all = append(all, t)
	}
	e.mu.Unlock()
	for _, t := range all {
		t.pool.sweep(now, lim)
	}
}

// backendTLSConfig is the configuration for the key's endpoints. Without BackendTLS, or its Verify, certificates are not
// verified, as ingress-nginx has it.
func backendTLSConfig(key transportKey) *tls.Config {
	c := &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12} //nolint:gosec // see above
	if key.h2 {
		c.NextProtos = []string{"h2"}
	}
	t := key.tls
	if t == nil {
		return c
	}
	c.MinVersion, c.MaxVersion, c.CipherSuites = t.MinVersion, t.MaxVersion, t.Ciphers
	if c.MinVersion == 0 {
		c.MinVersion = tls.VersionTLS12
	}
	if t.ServerName {
		c.ServerName = key.name
	}
	if len(t.Certificate) > 0 {
		pair, err := tls.X509KeyPair(t.Certificate, t.Key)
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, err }
	}
	if t.Verify {
		c.VerifyConnection = verifyBackend(t, key.name)
	}
	return c
}
