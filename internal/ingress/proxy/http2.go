package proxy

import (
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/h2"
)

// What of bodies may be on its way from a client, on one stream and on all of a connection.
const (
	http2StreamWindow = 256 << 10
	http2Window       = 1 << 20
)

// http2Ping is how long the other side of a connection of HTTP/2 may take to answer a ping.
const http2Ping = 15 * time.Second

// fieldOverhead is what a field counts beside its bytes (RFC 9113, 6.5.2), for as many fields as most requests have.
const fieldOverhead = 10 * 32

// serveHTTP2 serves a connection of a client that has agreed on HTTP/2 in the TLS handshake to its end. Clients that speak
// it without TLS are not served, as with ingress-nginx.
func (s *Server) serveHTTP2(c *clientConn) {
	set := s.view.Load().settings
	idle := orDuration(set.KeepAlive, 75*time.Second)
	c.state.Store(connBusy)
	conn := h2.New(h2.Config{
		Conn: c.conn, Abort: c.base.Close, Buffers: &s.http2, Context: c.ctx, Now: clock,
		Serve:      func(st *h2.Stream) { s.serveStream(c, st) },
		MaxStreams: orInt(set.HTTP2Streams, 128),
		MaxHeader: orInt(set.HeaderBuffer, 1<<10) + orInt(set.LargeHeaderBuffers, 4)*orInt(set.LargeHeaderSize, 8<<10) +
			fieldOverhead,
		StreamWindow: http2StreamWindow, Window: http2Window,
		Idle: idle, Header: orDuration(set.HeaderTimeout, time.Minute), Send: clientSend, Silence: 2 * idle, Ping: http2Ping,
	})
	c.http2.Store(conn)
	if s.draining.Load() {
		conn.Shutdown()
	}
	conn.Run()
}

// serveStream serves one request of HTTP/2.
func (s *Server) serveStream(c *clientConn, st *h2.Stream) {
	defer s.outlive()
	if st.Err() != nil {
		return // it was reset before its turn came
	}
	whole := false
	defer func() {
		if !whole {
			st.Keep()
		}
	}()
	s.requests.Add(1)
	f := s.flow()
	f.begin(s)
	if status := f.fromHTTP2(c, st); status != 0 {
		f.answer(f.x.Reply(status))
		f.end()
	} else {
		f.serve(st.Context())
	}
	s.release(f)
	whole = true
}

// fromHTTP2 fills the exchange in, and returns a status if the request is refused.
func (f *flow) fromHTTP2(c *clientConn, st *h2.Stream) int {
	x, q, h := &f.x, &f.req, &st.Header
	f.h2 = downHTTP2{f: f, st: st, conn: c.http2.Load()}
	f.down, f.sni = &f.h2, c.sni
	st.Patience = orDuration(f.view.settings.BodyTimeout, time.Minute)
	host := h.Get(h1.Host)
	if st.Authority == "" {
		st.Authority = string(host)
	}
	q.Method, q.MethodName = h1.MethodOf(st.Method), bytesOf(st.Method)
	reason := q.ParseTarget(bytesOf(st.Path))
	f.method, f.name, f.raw, f.plain = q.Method, q.MethodName, q.Path, q.Plain
	f.header, f.upgrade = h, false
	x.Version, x.Method, x.HTTPHost = exchange.HTTP2, st.Method, st.Authority
	x.Target, x.Query, x.HasQuery = str(q.Target), str(q.Query), q.HasQuery
	x.ContentLength = st.ContentLength
	x.Verify = c.sni.verified(c.tls)
	valid := h1.ValidHost(bytesOf(st.Authority))
	if !valid {
		x.HTTPHost = ""
	}
	f.fill(c, st.Number)
	limits := &f.view.limits
	switch {
	case st.TooLarge:
		return 431
	case q.Method == h1.MethodConnect || q.Method == h1.MethodTrace:
		return 405
	case !h1.ValidMethod(st.Method), reason != h1.ReasonNone, !valid, host != nil && str(host) != st.Authority,
		h.Count(h1.Host) > 1, h.Count(h1.Authorization) > 1:
		return 400
	case len(st.Path) > limits.MaxLine:
		return 414
	case h.Len() > limits.MaxFields || !fieldsFit(h, limits):
		return 400
	}
	return 0
}

// fieldsFit applies the bounds of HTTP/1 to the fields, and drops what HTTP/1 would drop.
func fieldsFit(h *h1.Header, lim *h1.Limits) bool {
	odd := false
	for i := range h.Len() {
		name, value := h.Field(i)
		if len(name)+len(value)+4 > lim.MaxLine {
			return false
		}
		odd = odd || h.FieldID(i) == h1.Unknown && !passes(name, lim)
	}
	if odd {
		h.DelFunc(func(id h1.ID, name, _ []byte) bool { return id == h1.Unknown && !passes(name, lim) })
	}
	return true
}

// passes tells whether a field of an unknown name is passed on.
func passes(name []byte, lim *h1.Limits) bool {
	for _, b := range name {
		letter := 'a' <= b|0x20 && b|0x20 <= 'z'
		if !letter && !('0' <= b && b <= '9') && b != '-' && !(b == '_' && lim.PassUnderscores) && !lim.PassInvalid {
			return false
		}
	}
	return true
}
