package filter

import (
	"context"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"time"

	"minato/internal/ingress/table"
)

// Bounds of connections to servers of external authentication.
const (
	authHeader    = 32 << 10 // bytes of an answer's header
	authIdle      = 32       // idle connections to one server, where no location says otherwise
	authIdleAll   = 256
	authKinds     = 32 // kinds of keepalive at a time
	authHandshake = 10 * time.Second
)

// authTransport has the connections to servers of external authentication, by how they are kept (auth-keepalive*).
// Without auth-keepalive they are kept, too: that they aren't, with ingress-nginx, is to nobody's use.
type authTransport struct {
	cfg   Config
	given http.RoundTripper

	mu    sync.Mutex
	kinds map[keepalive]*http.Transport
}

type keepalive struct {
	idle, requests int
	timeout        time.Duration
}

func newAuthTransport(cfg Config) *authTransport {
	return &authTransport{cfg: cfg, given: cfg.AuthTransport, kinds: map[keepalive]*http.Transport{}}
}

func (t *authTransport) roundTrip(req *http.Request, e *table.ExternalAuth) (*http.Response, error) {
	if t.given != nil {
		return t.given.RoundTrip(req)
	}
	k := keepalive{idle: authIdle, timeout: time.Minute}
	if e.Keepalive > 0 {
		k = keepalive{idle: e.Keepalive, requests: e.KeepaliveReqs, timeout: orDuration(e.KeepaliveTime, time.Minute)}
	}
	return t.transport(k).RoundTrip(req)
}

func (t *authTransport) transport(k keepalive) http.RoundTripper {
	t.mu.Lock()
	defer t.mu.Unlock()
	tr := t.kinds[k]
	if tr == nil {
		if len(t.kinds) >= authKinds {
			for other, old := range t.kinds {
				old.CloseIdleConnections()
				delete(t.kinds, other)
				break
			}
		}
		tr = &http.Transport{
			DialContext: t.dial, TLSClientConfig: t.cfg.AuthTLS.Clone(), TLSHandshakeTimeout: authHandshake,
			MaxIdleConns: max(authIdleAll, k.idle), MaxIdleConnsPerHost: k.idle, IdleConnTimeout: k.timeout,
			MaxResponseHeaderBytes: authHeader, DisableCompression: true,
		}
		t.kinds[k] = tr
	}
	if k.requests > 0 {
		return &counted{tr, int64(k.requests)}
	}
	return tr
}

func (t *authTransport) dial(ctx context.Context, network, address string) (net.Conn, error) {
	dial := t.cfg.Dial
	if dial == nil {
		dial = (&net.Dialer{Timeout: authHandshake}).DialContext
	}
	c, err := dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	return &authConn{Conn: c}, nil
}

func (t *authTransport) closeIdle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k, tr := range t.kinds {
		tr.CloseIdleConnections()
		delete(t.kinds, k)
	}
}

// authConn counts the requests that it carried.
type authConn struct {
	net.Conn
	requests atomic.Int64
}

// counted ends connections that have carried enough requests (auth-keepalive-requests).
type counted struct {
	to   *http.Transport
	most int64
}

// RoundTrip implements http.RoundTripper.
func (c *counted) RoundTrip(req *http.Request) (*http.Response, error) {
	var used atomic.Pointer[authConn]
	trace := &httptrace.ClientTrace{
		GotConn: func(info httptrace.GotConnInfo) {
			conn := info.Conn
			if s, ok := conn.(interface{ NetConn() net.Conn }); ok {
				conn = s.NetConn()
			}
			if a, ok := conn.(*authConn); ok {
				a.requests.Add(1)
				used.Store(a)
			}
		},
		PutIdleConn: func(err error) {
			// The transport notices, and gives the connection to nobody else.
			if a := used.Load(); err == nil && a != nil && a.requests.Load() >= c.most {
				_ = a.Close()
			}
		},
	}
	return c.to.RoundTrip(req.WithContext(httptrace.WithClientTrace(req.Context(), trace)))
}
