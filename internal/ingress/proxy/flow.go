package proxy

import (
	"context"
	"encoding/hex"
	"math/rand/v2"
	"strconv"
	"time"
	"unsafe"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// downstream is the client's side of an exchange, in HTTP/1 or HTTP/2. Its methods are called by one goroutine, but
// for next, which another may call meanwhile.
type downstream interface {
	// next returns the next bytes of the request's body as a view until the next call, and io.EOF at its end.
	next() ([]byte, error)
	// ahead returns the rest of the body if all of it is here, without reading; ok tells whether it is.
	ahead() (body []byte, ok bool)
	// invite asks a client that waits for it to send the body.
	invite() error
	// setMax bounds the body.
	setMax(n int64) error
	// trailer is the request's, after its end.
	trailer() *h1.Header
	// interim sends an answer of 1xx.
	interim(status int, h *h1.Header) error
	// start begins the answer; what it writes may wait until the next flush. length is -1 if it is not known. Without
	// a body, length is what the header says.
	start(status int, phrase []byte, h *h1.Header, length int64, body bool) error
	write(p []byte) error
	flush() error
	// finish ends the answer.
	finish(trailer *h1.Header) error
	// abort ends an answer that cannot be completed, so that the client notices.
	abort()
	// keep tells whether the connection can carry another request.
	keep() bool
}

// flow is an exchange with all that the proxy needs to serve it. Flows are used again.
type flow struct {
	srv    *Server
	view   *view
	x      exchange.Exchange
	req    h1.Request  // of HTTP/1
	resp   h1.Response // of an endpoint
	limits h1.Limits   // of resp, which refers to them
	own    h1.Header   // of an answer of the proxy
	down   downstream
	h1     downHTTP1
	h2     downHTTP2
	body   requestBody
	cand   candidates

	method    h1.Method
	name      []byte // the method's
	raw       []byte // the raw path
	plain     bool
	client    *clientConn // nil for HTTP/2
	sni       *tlsServer  // what the TLS handshake was about
	start     int64       // of clock
	header    *h1.Header
	buf       []byte // of texts that are made for the exchange
	out       []byte // the head of the request to an endpoint
	failures  int
	record    Record
	pathStart int
	held      *upstreamConn // see hold
	keepHeld  bool
	gone      int // the status for a client that did not send its body; 0 is that of one that has gone
	// substitute are the endpoints whose answer replaces another (custom-http-errors); nil as long as there is none.
	substitute *endpointSet
	// refusal is the proxy's own answer that the substitute's is given in place of; nil where there is none.
	refusal    *exchange.Answer
	page       bool // the substitute is asked for a page, in HTTP
	upgrade    bool
	begun      bool // the answer has begun
	unbuffered bool // the answer must not be held back
	trailed    bool // a trailer may follow the answer's body, whatever its length is
}

func newFlow(s *Server) *flow {
	f := &flow{srv: s}
	f.cand.tried = make([]*endpoint, 0, 4)
	f.x.Attempts = make([]exchange.Attempt, 0, 4)
	f.buf = make([]byte, 0, 512)
	f.out = make([]byte, 0, 1024)
	return f
}

// flow returns a flow for a request.
func (s *Server) flow() *flow { return s.flows.Get().(*flow) }

// release takes a flow back.
func (s *Server) release(f *flow) {
	f.x.Reset()
	f.req.Reset()
	f.resp.Reset()
	f.body.close(s)
	f.h1.reset(s)
	f.h2 = downHTTP2{}
	f.down, f.client, f.sni, f.view, f.header, f.name, f.raw = nil, nil, nil, nil, nil, nil, nil
	clear(f.cand.tried)
	f.cand.tried, f.cand.set = f.cand.tried[:0], nil
	f.buf = f.buf[:0]
	if cap(f.out) > 16<<10 {
		f.out = make([]byte, 0, 1024)
	}
	if cap(f.buf) > 16<<10 {
		f.buf = make([]byte, 0, 512)
	}
	f.upgrade, f.begun, f.trailed, f.substitute, f.gone, f.refusal, f.page = false, false, false, nil, 0, nil, false
	s.flows.Put(f)
}

// begin takes the view that the request is served by.
func (f *flow) begin(s *Server) { f.view = s.view.Load() }

// view of bytes as a string.
func str(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// keepText appends text to the flow's own and returns it as a string that stays until the flow ends.
func (f *flow) tail(from int) string { return str(f.buf[from:len(f.buf):len(f.buf)]) }

// fromHTTP1 fills the exchange in from the request that was read. It may be incomplete if it was refused.
func (f *flow) fromHTTP1(c *clientConn) {
	x, q := &f.x, &f.req
	f.client = c
	f.h1.bind(f, c)
	f.down = &f.h1
	f.method, f.name, f.raw, f.plain = q.Method, q.MethodName, q.Path, q.Plain
	f.header = &q.Header
	f.upgrade = q.WantsUpgrade
	x.Version = exchange.HTTP11
	if q.Minor == 0 {
		x.Version = exchange.HTTP10
	}
	x.Method, x.HTTPHost = str(q.MethodName), str(q.Host)
	x.Query, x.HasQuery = str(q.Query), q.HasQuery
	x.ContentLength = q.ContentLength
	if f.sni = c.sni; c.sni != nil {
		x.Verify = c.sni.verified(c.tls)
	}
	f.setTarget(q)
	f.fill(c, c.requests)
}

// setTarget makes the target of one in absolute form one in origin form.
func (f *flow) setTarget(q *h1.Request) {
	if q.Form != h1.FormAbsolute {
		f.x.Target = str(q.Target)
		return
	}
	from := len(f.buf)
	f.buf = append(f.buf, q.Path...)
	if q.HasQuery {
		f.buf = append(append(f.buf, '?'), q.Query...)
	}
	f.x.Target = f.tail(from)
}

// fill sets what does not depend on the version of HTTP.
func (f *flow) fill(c *clientConn, requests int) {
	x := &f.x
	now := time.Now()
	f.start = int64(now.Sub(epoch)) + 1
	x.Start, x.Settings, x.Header = now, f.view.settings, f.header
	x.Host = f.lowerHost(x.HTTPHost)
	x.Scheme = "http"
	if c.tls != nil {
		x.Scheme = "https"
	}
	x.Peer, x.Local, x.TLS = c.peer, c.local, c.tls
	x.Socket, x.ViaProxy = c.socket, c.socket != c.peer
	x.Connection, x.ConnectionRequests, x.Hostname = c.number, requests, f.srv.cfg.Hostname
	x.BestHost, x.ForwardedPort = x.HTTPHost, c.port.text()
	x.Client = x.Peer
	f.trust(&c.port)
	f.requestID()
}

// lowerHost cuts the port and the final dot off a host, and makes it lower case.
func (f *flow) lowerHost(host string) string {
	name, _ := h1.SplitHost(unsafe.Slice(unsafe.StringData(host), len(host)))
	if n := len(name); n > 1 && name[n-1] == '.' {
		name = name[:n-1]
	}
	lower := true
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			lower = false
			break
		}
	}
	if lower {
		return str(name)
	}
	from := len(f.buf)
	for _, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		f.buf = append(f.buf, c)
	}
	return f.tail(from)
}

// requestID keeps the client's X-Request-ID, or makes one.
func (f *flow) requestID() {
	if id := f.header.Get(h1.XRequestID); len(id) > 0 {
		f.x.RequestID = str(id)
		return
	}
	var raw [16]byte
	a, b := rand.Uint64(), rand.Uint64()
	for i := range 8 {
		raw[i], raw[8+i] = byte(a>>(8*i)), byte(b>>(8*i))
	}
	from := len(f.buf)
	f.buf = hex.AppendEncode(f.buf, raw[:])
	f.x.RequestID = f.tail(from)
}

// serve answers the request.
func (f *flow) serve(ctx context.Context) {
	f.answer(f.decide(ctx))
	f.end()
}

// refuse answers a request that could not be read.
func (f *flow) refuse(status int) {
	f.h1.closing = true
	f.answer(f.x.Reply(status))
	f.end()
}

// end tells what there is to tell about the exchange.
func (f *flow) end() {
	x := &f.x
	if h := f.srv.hooks.load(); h.Done != nil {
		h.Done(x)
	}
	x.Done()
	if f.srv.cfg.Observer != nil {
		f.record = Record{Exchange: x, Duration: time.Duration(clock() - f.start)}
		f.srv.cfg.Observer.Observe(&f.record)
	}
	x.Response = nil
	f.letGo()
}

// decide goes through what comes before the backend, and the backend, in the order of ingress-nginx. It returns nil if the
// answer was given already.
func (f *flow) decide(ctx context.Context) *exchange.Answer {
	x, h := &f.x, f.srv.hooks.load()
	if !f.locate() {
		f.h1.closing = true // as nginx does with whatever it answers with 400
		return x.Reply(400)
	}
	if f.misdirected() {
		return x.Reply(421)
	}
	if a := f.certificate(); a != nil {
		return a
	}
	if h.First != nil {
		if a := h.First(ctx, x); a != nil {
			return a
		}
	}
	switch r := x.Route; {
	case x.Match.Err != nil:
		return x.Reply(500)
	case r == nil || r.Location == nil:
		return x.Reply(404)
	case r.Fault != "":
		return x.Reply(503)
	case r.Generated && x.Server.Name == "" && x.Path == "/healthz" && r.Backend == nil:
		return x.Reply(200).With("Content-Type", "text/html")
	}
	loc := x.Route.Location
	a := f.located(ctx, h, loc)
	if a != nil && len(loc.CustomErrors) > 0 {
		return f.errorPage(ctx, h, loc, a)
	}
	return a
}

// located goes on from the location to the answer.
func (f *flow) located(ctx context.Context, h *exchange.Hooks, loc *table.Location) *exchange.Answer {
	if f.down.setMax(loc.BodySize) != nil {
		return f.x.Reply(413)
	}
	if h.Redirect != nil {
		if a := h.Redirect(ctx, &f.x); a != nil {
			return a
		}
	}
	return f.toBackend(ctx, h, loc)
}

// toBackend goes on from what needs no backend to the answer.
func (f *flow) toBackend(ctx context.Context, h *exchange.Hooks, loc *table.Location) *exchange.Answer {
	x := &f.x
	if x.Upstream = x.Route.Backend; x.Upstream == nil {
		return f.withoutBackend(ctx, h, loc)
	}
	if h.Choose != nil {
		h.Choose(x)
	}
	set := f.view.backend(x.Upstream, &f.srv.backends).set.Load()
	if len(set.all) == 0 && x.Canary != nil {
		// As with ingress-nginx, a canary without endpoints takes nothing.
		x.Upstream, x.Canary = x.Route.Backend, nil
		set = f.view.backend(x.Upstream, &f.srv.backends).set.Load()
	}
	f.forward(loc)
	if loc.Pace != nil {
		x.Pace = *loc.Pace
	}
	if len(set.all) == 0 {
		if set = f.standIn(h, loc); set == nil {
			return x.Reply(503)
		}
	}
	if h.Access != nil {
		if a := h.Access(ctx, x); a != nil {
			return a
		}
	}
	mirrored := h.Mirror != nil && loc.Mirror != nil
	if f.readAhead(loc, mirrored && loc.Mirror.Body) {
		if status := f.body.fill(f, loc.RequestBuffer); status != 0 {
			return x.Reply(status)
		}
	} else {
		f.body.stream(f)
	}
	if mirrored {
		h.Mirror(x, &f.body)
	}
	return f.attempts(ctx, h, loc, set)
}

// readAhead tells whether the request's body is read to its end before an endpoint is asked. For gRPC it never is, and for
// FastCGI always: its length is told first.
func (f *flow) readAhead(loc *table.Location, mirrored bool) bool {
	switch f.protocol(loc) {
	case table.ProtocolGRPC, table.ProtocolGRPCS:
		return false
	case table.ProtocolFCGI:
		return true
	}
	return loc.RequestBuffering || mirrored
}

// withoutBackend answers for a route that has no backend. To those who may not pass, the filters' answer comes before a 404.
func (f *flow) withoutBackend(ctx context.Context, h *exchange.Hooks, loc *table.Location) *exchange.Answer {
	status := orInt(f.x.Route.NoBackend, 404)
	if status == 404 && h.Access != nil {
		f.forward(loc)
		if a := h.Access(ctx, &f.x); a != nil {
			return a
		}
	}
	return f.x.Reply(status)
}

// standIn returns the endpoints of the backend that answers for one without any, nil if there is none.
func (f *flow) standIn(h *exchange.Hooks, loc *table.Location) *endpointSet {
	ref := loc.ErrorsBackend
	if h.Replace != nil {
		ref = h.Replace(&f.x, 503)
	}
	if ref == nil {
		return nil
	}
	set := f.srv.backends.get(*ref).set.Load()
	if len(set.all) == 0 {
		return nil
	}
	f.substitute = set
	return set
}

// locate finds the route. It reports false for a path that cannot be served.
func (f *flow) locate() bool {
	x := &f.x
	x.Path = str(f.raw)
	var flags table.PathFlags
	if !f.plain {
		var err error
		if x.Path, flags, err = table.NormalizePath(nil, x.Path); err != nil {
			return false
		}
	}
	x.Subject = x.Path
	f.view.table.Match(x.Host, x.Path, &x.Match)
	x.Route, x.Server = x.Match.Route, x.Match.Server
	return f.plain || f.view.table.Misread(x.Host, str(f.raw), flags, &x.Match) == nil
}

// portText is a port and its text.
type portText struct {
	n uint16
	s string
}

func (p *portText) set(n uint16) {
	p.n = n
	switch n {
	case 80:
		p.s = "80"
	case 443:
		p.s = "443"
	default:
		p.s = strconv.Itoa(int(n))
	}
}
func (p *portText) text() string { return p.s }
