package proxy

import (
	"context"
	"errors"
	"io"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// outcome is how an attempt at an endpoint ended, before anything was sent to the client.
type outcome uint8

const (
	outcomeAnswer  outcome = iota // an answer's head is in resp
	outcomeRefused                // no connection: nothing was sent
	outcomeConnectTimeout
	outcomeStale // a connection that was kept had been closed by the endpoint
	outcomeError
	outcomeTimeout
	outcomeInvalid // what came is no HTTP, or too large
	outcomeGone    // the client has gone
	outcomeStatus  // an answer of a status after which another endpoint is asked
	outcomeReplace // the answer is replaced by another backend's, see flow.substitute
)

// status is what an outcome is answered with.
func (o outcome) status() int {
	switch o {
	case outcomeTimeout, outcomeConnectTimeout:
		return 504
	case outcomeGone:
		return statusGone
	default:
		return 502
	}
}

// attempts asks endpoints until one has answered, as far as the location's Retry allows, and passes the answer on.
func (f *flow) attempts(ctx context.Context, h *exchange.Hooks, loc *table.Location, set *endpointSet) *exchange.Answer {
	deadline := int64(0)
	if loc.Retry.Total > 0 {
		deadline = f.start + int64(loc.Retry.Total)
	}
	f.cand.set = set
	for stale := 0; ; {
		ep := f.pick(h)
		o, sent := f.attempt(ctx, loc, ep)
		switch {
		case o == outcomeAnswer:
			return nil
		case o == outcomeReplace:
			f.askSubstitute()
			continue
		case o == outcomeStale && stale < maxStale && f.body.again() && (f.idempotent(loc) || !sent):
			stale++ // the endpoint is alive as far as is known, so that the try does not count
			continue
		case o == outcomeRefused && !sent && stale < maxStale && f.left(ep):
			stale++
			continue
		}
		f.cand.tried = append(f.cand.tried, ep)
		over := len(f.cand.tried) >= orInt(loc.Retry.Tries, len(f.cand.set.all)) || deadline > 0 && clock() > deadline
		if !over && ctx.Err() == nil && f.mayRetry(loc, o, sent) {
			continue
		}
		if o != outcomeGone && f.body.again() && f.replacement(h, o.status(), false) {
			f.askSubstitute()
			continue
		}
		if o == outcomeGone && f.gone != 0 {
			return f.x.Reply(f.gone)
		}
		if f.refusal != nil {
			return f.refusal
		}
		return f.x.Reply(o.status())
	}
}

// left tells whether an endpoint was taken from the backend while it was being connected to, and has the attempts that
// follow go to the endpoints that the backend has now.
func (f *flow) left(ep *endpoint) bool {
	if !ep.gone.Load() || f.substitute != nil {
		return false
	}
	set := f.view.backend(f.x.Upstream, &f.srv.backends).set.Load()
	if len(set.all) == 0 {
		return false
	}
	f.cand.set = set
	return true
}

// replacement tells whether an answer of the status is to be replaced by another backend's, which then is substitute.
// It happens once for a request.
func (f *flow) replacement(h *exchange.Hooks, status int, fromBackend bool) bool {
	if h.Replace == nil || f.substitute != nil || !f.body.again() {
		return false
	}
	f.x.FromBackend = fromBackend
	ref := h.Replace(&f.x, status)
	if ref == nil {
		return false
	}
	set := f.srv.backends.get(*ref).set.Load()
	if len(set.all) == 0 {
		return false
	}
	f.substitute = set
	return true
}

// askSubstitute has the attempts that follow go to the substitute.
func (f *flow) askSubstitute() {
	f.cand.set = f.substitute
	f.cand.tried = f.cand.tried[:0]
	f.x.RewrittenTarget = "/"
	f.page = true
	if f.upgrade {
		f.upgrade = false
		f.x.Forward.Del(h1.Upgrade)
	}
}

// maxStale bounds how many connections that were kept may prove closed for one request.
const maxStale = 4

// pick chooses the endpoint of the next attempt.
func (f *flow) pick(h *exchange.Hooks) *endpoint {
	f.cand.now = clock()
	if len(f.cand.set.all) == 1 && (f.x.Upstream == nil || f.x.Upstream.Options.Affinity == nil) {
		return f.cand.set.all[0]
	}
	if h.Pick != nil {
		if i := h.Pick(&f.x, &f.cand); i >= 0 && i < len(f.cand.set.all) {
			return f.cand.set.all[i]
		}
	}
	return f.cand.round()
}

// idempotent tells whether the request may be sent again once it was sent.
func (f *flow) idempotent(loc *table.Location) bool {
	return loc.Retry.NonIdempotent || f.method != h1.MethodPost && f.method != h1.MethodPatch && !(f.method == h1.MethodOther && f.x.Method == "LOCK")
}

// mayRetry tells whether an outcome is one after which another endpoint is asked (proxy-next-upstream).
func (f *flow) mayRetry(loc *table.Location, o outcome, sent bool) bool {
	r := &loc.Retry
	// An endpoint of HTTP/2 may say that it has not looked at a request whose body is gone nevertheless.
	if !f.body.again() || sent && !f.idempotent(loc) {
		return false
	}
	switch o {
	case outcomeRefused, outcomeError, outcomeStale:
		return r.Error
	case outcomeTimeout, outcomeConnectTimeout:
		return r.Timeout
	case outcomeInvalid:
		return r.InvalidHeader
	case outcomeStatus:
		return true
	default:
		return false
	}
}

// attempt asks one endpoint. sent tells whether it may have seen the request.
func (f *flow) attempt(ctx context.Context, loc *table.Location, ep *endpoint) (o outcome, sent bool) {
	f.x.Attempts = append(f.x.Attempts, exchange.Attempt{Endpoint: ep.address})
	f.x.Forward.DelMask(framed) // settings and filters may have set them, beside which the proxy's own would be ambiguous
	began := clock()
	ep.load.Add(1)
	defer ep.load.Add(-1)
	switch f.protocol(loc) {
	case table.ProtocolGRPC, table.ProtocolGRPCS:
		o, sent = f.attemptHTTP2(ctx, loc, ep, began)
	case table.ProtocolFCGI:
		o, sent = f.attemptFastCGI(ctx, loc, ep, began)
	default:
		o, sent = f.attemptHTTP1(ctx, loc, ep, began)
	}
	a := &f.x.Attempts[len(f.x.Attempts)-1]
	a.Duration = time.Duration(clock() - began)
	if o != outcomeAnswer && o != outcomeStatus && o != outcomeReplace {
		a.Status = o.status()
	}
	switch o {
	case outcomeRefused, outcomeConnectTimeout:
		ep.failing.Store(clock() + int64(failingFor))
	case outcomeAnswer:
		ep.observe(int64(a.Header))
	}
	return o, sent
}

// protocol is what is spoken with the endpoint.
func (f *flow) protocol(loc *table.Location) table.Protocol {
	if f.page {
		return table.ProtocolHTTP // as ingress-nginx has it, whatever the backend speaks
	}
	if loc.Protocol != table.ProtocolAuto {
		return loc.Protocol
	}
	if f.x.TLS != nil {
		return table.ProtocolHTTPS
	}
	return table.ProtocolHTTP
}

// attemptHTTP1 asks an endpoint in HTTP/1 and, if it answers, passes the answer on.
func (f *flow) attemptHTTP1(ctx context.Context, loc *table.Location, ep *endpoint, began int64) (o outcome, sent bool) {
	u, reused, o := f.connect(ctx, loc, ep, began)
	if o != outcomeAnswer {
		return o, false
	}
	a := &f.x.Attempts[len(f.x.Attempts)-1]
	u.requests++
	if err := f.appendHead(loc); err != nil {
		u.close()
		return outcomeInvalid, false
	}
	f.look(u.stop, began)
	o = f.ask(loc, u)
	if o != outcomeAnswer {
		if !f.looked() {
			o = outcomeGone
		}
		sent = true
		if o == outcomeError && !u.received {
			if reused {
				o = outcomeStale
			}
			sent = !f.body.here || f.body.pump != nil || !u.neverArrived()
		}
		if err := f.body.stop(); errors.Is(err, errClientBody) && o != outcomeGone {
			f.gone, o = bodyStatus(err), outcomeGone
		}
		u.close()
		return o, sent
	}
	a.Header = time.Duration(clock() - began)
	a.Status = f.resp.Status
	if f.retryStatus(loc) && f.body.again() && f.idempotent(loc) {
		f.drop(u)
		return outcomeStatus, true
	}
	if h := f.srv.hooks.load(); h.Replace != nil && f.resp.Status >= 300 {
		f.x.Status, f.x.Response = f.resp.Status, &f.resp.Header
		if f.replacement(h, f.resp.Status, true) {
			f.drop(u)
			return outcomeReplace, true
		}
	}
	f.pass(loc, u)
	return outcomeAnswer, true
}

// drop ends an answer that is not passed on. The connection is kept if all of it is here.
func (f *flow) drop(u *upstreamConn) {
	alive := f.looked()
	p := &f.resp
	n := p.Body.Remaining()
	if !alive || !f.body.sent() || n < 0 || n > int64(u.rd.Buffered()) || !p.KeepAlive {
		f.body.stop()
		u.close()
		return
	}
	if done, err := p.Body.Discard(n); err != nil || !done || u.rd.Buffered() > 0 {
		u.close()
		return
	}
	f.keepConn(u)
}

// keepConn gives a connection to an endpoint back.
func (f *flow) keepConn(u *upstreamConn) {
	if f.body.pump != nil {
		u.wrote = notCounted
	}
	u.wrote += int64(len(f.out))
	f.body.pump = nil // it has ended, and the connection is another's from now on
	f.resp.Reset()
	u.rd.Release()
	u.set(0)
	u.home.put(u, &f.view.pool, clock())
}

// hold keeps the connection, and so the answer's header, until the exchange has been told of; keep tells whether it can
// carry another request then.
func (f *flow) hold(u *upstreamConn, keep bool) { f.held, f.keepHeld = u, keep }

// letGo ends hold.
func (f *flow) letGo() {
	u := f.held
	if u == nil {
		return
	}
	f.held = nil
	if f.keepHeld {
		f.keepConn(u)
		return
	}
	f.resp.Reset()
	u.close()
}

// look has the request at the endpoint ended, by stop, when the client goes away, until looked.
func (f *flow) look(stop func(), now int64) {
	if f.client != nil {
		f.client.asks(stop, now)
		return
	}
	f.h2.st.Watch(stop)
}

// looked ends look. It reports false if the client has gone: the connection to the endpoint is then of no use.
func (f *flow) looked() bool {
	if f.client != nil {
		return f.client.answered()
	}
	return f.h2.st.Unwatch()
}

// connect returns a connection to the endpoint: one that was kept, or a new one.
func (f *flow) connect(ctx context.Context, loc *table.Location, ep *endpoint, began int64) (u *upstreamConn, reused bool, o outcome) {
	t := f.transport(loc, ep)
	home := &ep.plain
	if t != nil {
		home = &t.pool
	}
	if u = home.get(began, !f.idempotent(loc)); u != nil {
		return u, true, outcomeAnswer
	}
	u, err := f.srv.dial(ctx, ep, home, t, orDuration(loc.ConnectTimeout, 5*time.Second))
	a := &f.x.Attempts[len(f.x.Attempts)-1]
	a.Connect = time.Duration(clock() - began)
	switch {
	case err == nil:
		return u, false, outcomeAnswer
	case isTimeout(err):
		return nil, false, outcomeConnectTimeout
	default:
		return nil, false, outcomeRefused
	}
}

// appendHead makes the head of the request in out.
func (f *flow) appendHead(loc *table.Location) error {
	x, h := &f.x, &f.x.Forward
	target := x.RewrittenTarget
	if target == "" {
		target = x.Target
	}
	f.out = append(append(f.out[:0], x.Method...), ' ')
	f.out = h1.AppendTarget(f.out, bytesOf(target))
	if loc.HTTP10 {
		f.out = append(f.out, " HTTP/1.0\r\n"...)
	} else {
		f.out = append(f.out, " HTTP/1.1\r\n"...)
	}
	f.out = h.AppendTo(f.out)
	switch n := f.body.contentLength(); {
	case f.body.none && f.x.ContentLength <= 0 && !f.expectsLength():
	case n >= 0:
		f.out = appendLength(f.out, n)
	case loc.HTTP10:
		return errLengthRequired
	default:
		f.out = append(f.out, "Transfer-Encoding: chunked\r\n"...)
	}
	switch {
	case f.upgrade:
		f.out = append(f.out, "Connection: upgrade\r\n"...)
	case h.Has(h1.Connection):
	case loc.HTTP10:
		f.out = append(f.out, "Connection: close\r\n"...)
	}
	f.out = append(f.out, "\r\n"...)
	return nil
}

var errLengthRequired = errors.New("a body of unknown length cannot be sent in HTTP/1.0")

// expectsLength tells whether a request without a body says so (RFC 9110, 8.6).
func (f *flow) expectsLength() bool {
	return f.header.Has(h1.ContentLength) || f.method == h1.MethodPost || f.method == h1.MethodPut || f.method == h1.MethodPatch
}

// ask sends the request and reads the answer's head into resp.
func (f *flow) ask(loc *table.Location, u *upstreamConn) outcome {
	send, read := orDuration(loc.SendTimeout, time.Minute), orDuration(loc.ReadTimeout, time.Minute)
	u.timeout = read
	u.received = false
	if err := f.body.send(f, u, send, read); err != nil && !u.received && u.rd.Buffered() == 0 {
		// An endpoint may answer before it has read the body, and close: what it said counts.
		if !f.body.large() || isTimeout(err) {
			return errorOutcome(err, u)
		}
	}
	f.limits = h1.ResponseLimits(orInt(int(loc.Buffering.HeaderSize), 4<<10))
	for range 8 {
		if err := u.rd.ReadResponse(&f.resp, f.method, &f.limits); err != nil {
			return errorOutcome(err, u)
		}
		if !f.resp.Interim() {
			return outcomeAnswer
		}
		if f.resp.Status != 100 {
			f.resp.Header.RemoveHopByHop(false)
			if f.down.interim(f.resp.Status, &f.resp.Header) != nil {
				return outcomeGone
			}
		}
	}
	return outcomeInvalid
}

// errorOutcome classes what ended a request.
func errorOutcome(err error, u *upstreamConn) outcome {
	var refused *h1.Error
	switch {
	case errors.As(err, &refused):
		return outcomeInvalid
	case errors.Is(err, errClientBody):
		return outcomeGone
	case isTimeout(err):
		return outcomeTimeout
	default:
		return outcomeError
	}
}

// retryStatus tells whether the answer's status is one after which another endpoint is asked (http_502 and the like).
func (f *flow) retryStatus(loc *table.Location) bool {
	if len(loc.Retry.Statuses) == 0 {
		return false
	}
	for _, s := range loc.Retry.Statuses {
		if s == f.resp.Status {
			return len(f.cand.tried)+1 < orInt(loc.Retry.Tries, len(f.cand.set.all))
		}
	}
	return false
}

// pass passes the answer in resp on to the client, and keeps the connection if it can be kept.
func (f *flow) pass(loc *table.Location, u *upstreamConn) {
	x, p := &f.x, &f.resp
	if f.refusal != nil {
		f.refused(f.refusal)
	}
	x.Status, x.Response, x.FromBackend = p.Status, &p.Header, true
	if p.Status == 101 {
		f.tunnel(loc, u)
		return
	}
	length := p.ContentLength
	// X-Accel-Buffering: no, as backends of events say it, counts more than the location.
	f.unbuffered = p.Header.Has(h1.XAccelBuffering) && string(p.Header.Get(h1.XAccelBuffering)) == "no"
	p.Header.RemoveHopByHop(false)
	f.finishHeader(&p.Header)
	bodied := mayHaveBody(p.Status) && f.method != h1.MethodHead
	if !mayHaveBody(p.Status) && p.Status != 304 {
		length = -1
	}
	if bodied {
		length = f.encode(length)
	}
	f.begun = true
	err := f.down.start(p.Status, p.Phrase, &p.Header, length, bodied)
	if err == nil {
		err = f.passBody(loc, u)
	}
	if !f.looked() && err == nil {
		err = errClientGone
	}
	f.x.Attempts[len(f.x.Attempts)-1].Bytes = p.Body.BytesRead()
	if !f.body.sent() {
		// The endpoint has answered without the whole body: neither connection can carry another request.
		f.body.stop()
		f.hold(u, false)
		f.down.abort()
		return
	}
	if err != nil || !p.KeepAlive || !p.Body.Done() || u.rd.Buffered() > 0 {
		f.hold(u, false)
		return
	}
	f.hold(u, true)
}

var errClientGone = errors.New("the client has gone away")

// passBody passes the answer's body on as it comes.
func (f *flow) passBody(loc *table.Location, u *upstreamConn) error {
	p := &f.resp
	if f.x.Pace.Rate > 0 || loc.Buffering.Enabled && !f.unbuffered {
		return f.passHeldBack(loc, u)
	}
	for {
		b, err := p.Body.NextBuffered()
		if err == nil && len(b) == 0 {
			if err = f.down.flush(); err != nil {
				f.down.abort()
				return err
			}
			if moved, err := f.passSpliced(u); moved {
				return err
			}
			b, err = p.Body.Next()
		}
		if err == io.EOF {
			return f.down.finish(p.Body.Trailer())
		}
		if err == nil {
			err = f.down.write(b)
		}
		if err != nil {
			f.down.abort()
			return err
		}
	}
}

// passSpliced moves the rest of a large body without copying it. It reports false if that cannot be done.
func (f *flow) passSpliced(u *upstreamConn) (bool, error) {
	c, left := f.client, f.resp.Body.Remaining()
	if c == nil || f.down != &f.h1 || c.raw == nil || c.tls != nil || u.raw == nil || left < spliceFrom || f.h1.chunked || !f.h1.bodied {
		return false, nil
	}
	m := &mover{
		srv: f.srv, src: u.raw, dst: c.raw,
		beforeRead:  func() { u.within(u.timeout) },
		beforeWrite: func() { c.within(clientSend) },
	}
	n, err := m.move(left)
	f.resp.Body.Moved(n)
	f.h1.moved(n)
	if err != nil {
		f.down.abort()
		return true, err
	}
	return true, f.down.finish(nil)
}
