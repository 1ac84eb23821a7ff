package proxy

import (
	"context"
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// h2Server makes connections of HTTP/2 of those that have agreed on it in the TLS handshake. Clients that speak it without
// TLS are not served, as with ingress-nginx.
type h2Server struct {
	srv *Server

	mu   sync.Mutex
	key  h2Key
	base *http.Server
	conf *http2.Server
	old  []*http.Server // of settings before, whose connections may live on
}

// h2Key are the settings that connections are made with.
type h2Key struct {
	streams, header int
	idle            time.Duration
}

func (h *h2Server) init(s *Server) { h.srv = s }

// configure takes settings for the connections that come from now on.
func (h *h2Server) configure(s *table.Settings) {
	key := h2Key{
		streams: orInt(s.HTTP2Streams, 128), idle: orDuration(s.KeepAlive, 75*time.Second),
		header: orInt(s.HeaderBuffer, 1<<10) + orInt(s.LargeHeaderBuffers, 4)*orInt(s.LargeHeaderSize, 8<<10),
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.conf != nil && key == h.key {
		return
	}
	base := &http.Server{MaxHeaderBytes: key.header, IdleTimeout: key.idle, ErrorLog: log.New(io.Discard, "", 0)}
	conf := &http2.Server{
		MaxConcurrentStreams: uint32(key.streams), IdleTimeout: key.idle, MaxReadFrameSize: 16 << 10,
		ReadIdleTimeout: 2 * key.idle, PingTimeout: 15 * time.Second,
		MaxUploadBufferPerStream: 256 << 10, MaxUploadBufferPerConnection: 1 << 20,
	}
	if err := http2.ConfigureServer(base, conf); err != nil {
		h.srv.cfg.Logger.Error("HTTP/2 cannot be configured", "error", err)
		return
	}
	if h.base != nil {
		h.old = append(h.old, h.base)
		if len(h.old) > 16 {
			h.old = h.old[1:]
		}
	}
	h.key, h.base, h.conf = key, base, conf
}

// shutdown has all connections end after the streams that they have.
func (h *h2Server) shutdown() {
	h.mu.Lock()
	all := append([]*http.Server{h.base}, h.old...)
	h.mu.Unlock()
	for _, s := range all {
		if s != nil {
			// It has no listener or connection of its own: this only calls what http2 has registered.
			_ = s.Shutdown(context.Background())
		}
	}
}

// serveHTTP2 serves a connection of HTTP/2 to its end.
func (s *Server) serveHTTP2(c *clientConn) {
	s.h2.mu.Lock()
	base, conf := s.h2.base, s.h2.conf
	s.h2.mu.Unlock()
	if conf == nil {
		return
	}
	c.state.Store(connBusy)
	conn, ok := c.conn.(*tls.Conn)
	if !ok {
		return
	}
	conf.ServeConn(&floodGuard{Conn: newGatherer(conn, &s.bytes, clientSend), tls: conn}, &http2.ServeConnOpts{
		Context: c.ctx, BaseConfig: base,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { s.serveStream(c, w, r) }),
	})
}

// serveStream serves one request of HTTP/2.
func (s *Server) serveStream(c *clientConn, w http.ResponseWriter, r *http.Request) {
	if !s.serveFlow(c, w, r) {
		panic(http.ErrAbortHandler) // resets the stream; net/http's way to say so
	}
}

// serveFlow is serveStream; it reports false if the answer could not be completed.
func (s *Server) serveFlow(c *clientConn, w http.ResponseWriter, r *http.Request) (whole bool) {
	defer s.outlive()
	s.requests.Add(1)
	f := s.flow()
	f.begin(s)
	d := &downHTTP2{f: f, w: w, r: r}
	if status := f.fromHTTP2(c, d); status != 0 {
		f.answer(f.x.Reply(status))
		f.end()
	} else {
		f.serve(r.Context())
	}
	aborted := d.aborted
	d.close()
	s.release(f)
	return !aborted
}

// fromHTTP2 fills the exchange in, and returns a status if the request is refused.
func (f *flow) fromHTTP2(c *clientConn, d *downHTTP2) int {
	x, q, r := &f.x, &f.req, d.r
	q.Reset()
	f.down, f.sni = d, c.sni
	q.Header.AddHTTP(r.Header)
	q.Method = h1.MethodOf(r.Method)
	reason := q.ParseTarget([]byte(r.RequestURI))
	f.method, f.name, f.raw, f.plain = q.Method, []byte(r.Method), q.Path, q.Plain
	f.header, f.upgrade = &q.Header, false
	x.Version, x.Method, x.HTTPHost = exchange.HTTP2, r.Method, r.Host
	x.Target, x.Query, x.HasQuery = str(q.Target), str(q.Query), q.HasQuery
	x.ContentLength = r.ContentLength
	x.Verify = c.sni.verified(c.tls)
	host := q.Header.Get(h1.Host)
	valid := h1.ValidHost(bytesOf(r.Host))
	if !valid {
		x.HTTPHost = ""
	}
	f.fill(c, int(c.streams.Add(1)))
	limits := &f.view.limits
	switch {
	case !h1.ValidMethod(r.Method), reason != h1.ReasonNone, !valid, host != nil && str(host) != r.Host:
		return 400
	case q.Method == h1.MethodConnect || q.Method == h1.MethodTrace:
		return 405
	case len(r.RequestURI) > limits.MaxLine:
		return 414
	case q.Header.Len() > limits.MaxFields || !d.fieldsFit(limits):
		return 400
	}
	return 0
}

// downHTTP2 is a client of HTTP/2.
type downHTTP2 struct {
	f       *flow
	w       http.ResponseWriter
	r       *http.Request
	buf     *[]byte
	max     int64
	read    int64
	armed   int64 // when the read deadline was set, of clock; 0 if there is none
	tr      h1.Header
	bodied  bool
	begun   bool
	aborted bool
}

// fieldsFit applies the bounds of HTTP/1 to the fields, and drops what HTTP/1 would drop.
func (d *downHTTP2) fieldsFit(lim *h1.Limits) bool {
	fit := true
	d.f.req.Header.DelFunc(func(id h1.ID, name, value []byte) bool {
		if len(name)+len(value)+4 > lim.MaxLine {
			fit = false
		}
		if id != h1.Unknown {
			return false
		}
		for _, b := range name {
			letter := 'a' <= b|0x20 && b|0x20 <= 'z'
			if !letter && !('0' <= b && b <= '9') && b != '-' && !(b == '_' && lim.PassUnderscores) && !lim.PassInvalid {
				return true
			}
		}
		return false
	})
	return fit
}

// arm bounds the wait for more of the body (client-body-timeout), but of gRPC, whose streams may be silent. A deadline costs a
// message to the connection's goroutine: it is renewed only when some of it is over.
func (d *downHTTP2) arm() {
	timeout := orDuration(d.f.view.settings.BodyTimeout, time.Minute)
	now := clock()
	if d.armed != 0 && now-d.armed < int64(timeout)/8 {
		return
	}
	if loc := d.f.x.Location(); loc != nil && (loc.Protocol == table.ProtocolGRPC || loc.Protocol == table.ProtocolGRPCS) {
		return
	}
	d.armed = now
	_ = http.NewResponseController(d.w).SetReadDeadline(time.Now().Add(timeout)) // a stream that has ended needs none
}

func (d *downHTTP2) next() ([]byte, error) {
	if d.buf == nil {
		d.buf = d.f.srv.copies.Get().(*[]byte)
	}
	d.arm()
	n, err := d.r.Body.Read(*d.buf)
	d.read += int64(n)
	if d.max > 0 && d.read > d.max {
		return nil, errBodyTooLarge
	}
	if n > 0 {
		d.f.x.Received += int64(n)
		return (*d.buf)[:n], nil
	}
	if err == nil {
		err = io.ErrNoProgress
	}
	return nil, err
}

func (d *downHTTP2) remaining() int64 {
	if d.r.ContentLength < 0 {
		return -1
	}
	return d.r.ContentLength - d.read
}

func (d *downHTTP2) ahead() ([]byte, bool) { return nil, d.r.ContentLength == 0 }

// invite does nothing: http2 does it when the body is read first.
func (d *downHTTP2) invite() error { return nil }

func (d *downHTTP2) setMax(n int64) error {
	d.max = n
	if n > 0 && d.r.ContentLength > n {
		return errBodyTooLarge
	}
	return nil
}

func (d *downHTTP2) trailer() *h1.Header {
	d.tr.Reset()
	d.tr.AddHTTP(d.r.Trailer)
	return &d.tr
}

func (d *downHTTP2) interim(status int, h *h1.Header) error {
	header := d.w.Header()
	h.ToHTTP(header)
	d.w.WriteHeader(status)
	clear(header)
	return nil
}

func (d *downHTTP2) start(status int, _ []byte, h *h1.Header, length int64, body bool) error {
	header := d.w.Header()
	h.ToHTTP(header)
	if _, set := header["Content-Type"]; !set {
		header["Content-Type"] = nil // or it would be guessed
	}
	if length >= 0 {
		header["Content-Length"] = []string{string(appendInt(nil, length))}
	}
	if d.f.tooMany(d.f.x.ConnectionRequests) {
		// http2 does not send this: it tells the client by GOAWAY to open another connection, and finishes the streams.
		header["Connection"] = []string{"close"}
	}
	d.begun, d.bodied = true, body
	d.w.WriteHeader(status)
	return nil
}

func (d *downHTTP2) write(p []byte) error {
	if !d.bodied || len(p) == 0 {
		return nil
	}
	n, err := d.w.Write(p)
	d.f.x.SentBody += int64(n)
	d.f.x.Sent += int64(n)
	return err
}

func (d *downHTTP2) flush() error {
	if f, ok := d.w.(http.Flusher); ok {
		f.Flush()
	}
	return d.r.Context().Err()
}

func (d *downHTTP2) finish(trailer *h1.Header) error {
	if trailer == nil {
		return nil
	}
	header := d.w.Header()
	for i := range trailer.Len() {
		name, value := trailer.Field(i)
		key := http.TrailerPrefix + http.CanonicalHeaderKey(string(name))
		header[key] = append(header[key], string(value))
	}
	return nil
}

func (d *downHTTP2) abort() { d.aborted = true }

func (d *downHTTP2) keep() bool { return true }

func (d *downHTTP2) close() {
	if d.buf != nil {
		d.f.srv.copies.Put(d.buf)
		d.buf = nil
	}
}

// floodGuard ends a connection of HTTP/2 whose client sends frames that cost this side much and itself nothing: it
// resets the streams that it opens (rapid reset), or sends pings, settings and the like without end. http2 bounds the
// rest: streams at once, handlers that wait, the header block with its continuations, and queued answers.
type floodGuard struct {
	net.Conn
	tls                                *tls.Conn
	skip                               uint32 // bytes of the frame at hand still to come, and of the preface
	head                               [9]byte
	have                               int
	begun                              bool
	window                             int64
	opened, resets, control, continued int
}

// What a client may send within floodWindow.
const (
	floodWindow  = int64(10 * time.Second)
	mostResets   = 200  // and more only if they are less than half of the streams
	mostControl  = 2000 // frames other than HEADERS, DATA with bytes, and WINDOW_UPDATE
	mostContinue = 32   // continuations of one header block
)

const prefaceSize = len(http2.ClientPreface)

var errFlood = &net.OpError{Op: "read", Net: "h2", Err: net.ErrClosed}

// ConnectionState lets http2 see that TLS is spoken.
func (g *floodGuard) ConnectionState() tls.ConnectionState { return g.tls.ConnectionState() }

// Read implements net.Conn.
func (g *floodGuard) Read(p []byte) (int, error) {
	n, err := g.Conn.Read(p)
	if !g.begun {
		g.begun, g.skip = true, uint32(prefaceSize)
	}
	if n > 0 && !g.look(p[:n]) {
		_ = g.Conn.Close()
		return 0, errFlood
	}
	return n, err
}

// look counts the frames in p; it reports false if they are too many.
func (g *floodGuard) look(p []byte) bool {
	for len(p) > 0 {
		if g.skip > 0 {
			n := min(uint32(len(p)), g.skip)
			g.skip -= n
			p = p[n:]
			continue
		}
		n := copy(g.head[g.have:], p)
		g.have += n
		p = p[n:]
		if g.have < len(g.head) {
			return true
		}
		g.have = 0
		g.skip = uint32(g.head[0])<<16 | uint32(g.head[1])<<8 | uint32(g.head[2])
		if !g.count(http2.FrameType(g.head[3]), g.skip, http2.Flags(g.head[4])) {
			return false
		}
	}
	return true
}

func (g *floodGuard) count(t http2.FrameType, length uint32, flags http2.Flags) bool {
	if now := clock(); now-g.window > floodWindow {
		g.window, g.opened, g.resets, g.control = now, 0, 0, 0
	}
	if t != http2.FrameContinuation {
		g.continued = 0
	}
	switch {
	case t == http2.FrameHeaders:
		g.opened++
	case t == http2.FrameRSTStream:
		g.resets++
	case t == http2.FrameContinuation:
		g.continued++
	case t == http2.FrameWindowUpdate:
	case t == http2.FrameData && (length > 0 || flags.Has(http2.FlagDataEndStream)):
	default:
		g.control++
	}
	return (g.resets <= mostResets || 2*g.resets < g.opened) && g.control <= mostControl && g.continued <= mostContinue
}
