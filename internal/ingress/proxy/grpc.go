package proxy

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/http2"

	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// upload is a request's body on its way to an endpoint of HTTP/2, which reads it on a goroutine of its own, and
// may go on with that when the answer has ended: end waits for it.
type upload struct {
	io.Reader
	mu    sync.Mutex // held while reading
	ended atomic.Bool
	stop  func() // ends a read that waits
}

// Read implements io.Reader.
func (u *upload) Read(p []byte) (int, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended.Load() {
		return 0, errClientBody
	}
	return u.Reader.Read(p)
}

// Close implements io.Closer; the transport calls it.
func (u *upload) Close() error { return nil }

// end has no further byte read.
func (u *upload) end() {
	if u.ended.Swap(true) {
		return
	}
	if !u.mu.TryLock() {
		if u.stop != nil {
			u.stop()
		}
		u.mu.Lock()
	}
	u.mu.Unlock()
}

// attemptHTTP2 asks an endpoint in HTTP/2 and, if it answers, passes the answer on.
func (f *flow) attemptHTTP2(ctx context.Context, loc *table.Location, ep *endpoint, began int64) (o outcome, sent bool) {
	t := f.transport(loc, ep)
	cc, reused, err := t.clientConn(ctx, f.srv, ep, orDuration(loc.ConnectTimeout, 5*time.Second))
	a := &f.x.Attempts[len(f.x.Attempts)-1]
	if err != nil {
		if isTimeout(err) {
			return outcomeConnectTimeout, false
		}
		return outcomeRefused, false
	}
	if !reused {
		a.Connect = time.Duration(clock() - began)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	idle := newIdleTimer(orDuration(loc.ReadTimeout, time.Minute), cancel)
	defer idle.stop()
	body := &upload{stop: f.stopBody()}
	req := f.http2Request(ctx, loc, t.config != nil, body, idle)
	defer body.end()
	if !f.body.here && f.down.invite() != nil {
		return outcomeGone, false
	}
	resp, err := cc.RoundTrip(req)
	if err != nil {
		body.end()
		return f.http2Failure(err, idle, reused)
	}
	defer func() { _ = resp.Body.Close() }()
	a.Header = time.Duration(clock() - began)
	a.Status = resp.StatusCode
	f.passHTTP2(resp, body, idle)
	return outcomeAnswer, true
}

// stopBody returns what ends reading the client's body.
func (f *flow) stopBody() func() {
	switch d := f.down.(type) {
	case *downHTTP2:
		body := d.r.Body
		return func() { _ = body.Close() }
	case *downHTTP1:
		c := d.c
		return func() {
			d.closing = true
			c.interrupt()
		}
	}
	return nil
}

// http2Request makes the request for an endpoint.
func (f *flow) http2Request(ctx context.Context, loc *table.Location, encrypted bool, body *upload, idle *idleTimer) *http.Request {
	x, h := &f.x, &f.x.Forward
	target := x.RewrittenTarget
	if target == "" {
		target = x.Target
	}
	// What is kept beyond this request must not be a view of the connection's buffer.
	target = string(h1.AppendTarget(nil, bytesOf(target)))
	u := &url.URL{Scheme: "http", Host: string(h.Get(h1.Host)), Opaque: ""}
	if encrypted {
		u.Scheme = "https"
	}
	if parsed, err := url.ParseRequestURI(target); err == nil {
		u.Path, u.RawPath, u.RawQuery, u.ForceQuery = parsed.Path, parsed.RawPath, parsed.RawQuery, parsed.ForceQuery
	}
	if u.EscapedPath() != pathOf(target) {
		u.Opaque = "//" + u.Host + target // as it stands
		u.RawQuery, u.ForceQuery = "", false
	}
	req := (&http.Request{
		Method: string(bytesOf(x.Method)), URL: u, Host: u.Host, Header: make(http.Header, h.Len()+2),
		ContentLength: f.body.contentLength(),
	}).WithContext(ctx)
	h.ToHTTP(req.Header)
	for _, name := range [...]string{"Connection", "Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade", "Content-Length"} {
		delete(req.Header, name)
	}
	if f.header.HasToken(h1.TE, "trailers") {
		req.Header["Te"] = []string{"trailers"}
	}
	if _, set := req.Header["User-Agent"]; !set {
		req.Header["User-Agent"] = nil // or one would be made up
	}
	if r := f.body.reader(f); r != nil {
		body.Reader = &touching{Reader: r, idle: idle}
		req.Body = body
		f.announceTrailers(req)
	} else {
		req.ContentLength = 0
	}
	return req
}

// pathOf is a target without its query.
func pathOf(target string) string {
	for i := range len(target) {
		if target[i] == '?' {
			return target[:i]
		}
	}
	return target
}

// announceTrailers has the request's trailers sent on, which are known when the body has ended.
func (f *flow) announceTrailers(req *http.Request) {
	if d, ok := f.down.(*downHTTP2); ok && len(d.r.Trailer) > 0 {
		req.Trailer = d.r.Trailer
	}
}

// http2Failure classes the error of a request that has no answer.
func (f *flow) http2Failure(err error, idle *idleTimer, reused bool) (outcome, bool) {
	var stream http2.StreamError
	var away http2.GoAwayError
	switch {
	case idle.fired.Load():
		return outcomeTimeout, true
	case errors.Is(err, errBodyTooLarge):
		f.gone = 413
		return outcomeGone, true
	case errors.Is(err, errClientBody), errors.Is(err, context.Canceled):
		return outcomeGone, true
	case errors.As(err, &stream) && stream.Code == http2.ErrCodeRefusedStream, reused && errors.As(err, &away):
		return outcomeStale, false // RFC 9113, 8.7: the endpoint has not looked at it
	case reused && !f.body.used:
		return outcomeStale, true
	default:
		return outcomeError, true
	}
}

// passHTTP2 passes an answer on to the client.
func (f *flow) passHTTP2(resp *http.Response, body *upload, idle *idleTimer) {
	x, p := &f.x, &f.resp
	p.Reset()
	p.Status = resp.StatusCode
	p.Header.AddHTTP(resp.Header)
	p.Header.RemoveHopByHop(false)
	x.Status, x.Response, x.FromBackend = p.Status, &p.Header, true
	f.finishHeader(&p.Header)
	bodied, length := mayHaveBody(p.Status) && f.method != h1.MethodHead, resp.ContentLength
	if bodied {
		length = f.encode(length)
	}
	f.begun = true
	if f.down.start(p.Status, nil, &p.Header, length, bodied) != nil {
		f.down.abort()
		return
	}
	// An answer that is a header alone must stay one: gRPC has its status there.
	if resp.ContentLength != 0 && f.down.flush() != nil {
		f.down.abort()
		return
	}
	buf := f.srv.copies.Get().(*[]byte)
	defer f.srv.copies.Put(buf)
	a := &x.Attempts[len(x.Attempts)-1]
	for {
		n, err := resp.Body.Read(*buf)
		idle.touch()
		a.Bytes += int64(n)
		if n > 0 && (f.down.write((*buf)[:n]) != nil || f.down.flush() != nil) {
			f.down.abort()
			return
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			f.down.abort()
			return
		}
	}
	body.end() // an endpoint that has answered reads no more
	f.own.Reset()
	f.own.AddHTTP(resp.Trailer)
	_ = f.down.finish(&f.own) // the client has gone if this fails
}

// touching moves the deadline on with each piece of the body.
type touching struct {
	io.Reader
	idle *idleTimer
}

// Read implements io.Reader.
func (t *touching) Read(p []byte) (int, error) {
	n, err := t.Reader.Read(p)
	t.idle.touch()
	return n, err
}

// idleTimer ends a request in which nothing happens for long.
type idleTimer struct {
	after time.Duration
	last  atomic.Int64
	fired atomic.Bool
	mu    sync.Mutex
	timer *time.Timer
	over  bool
}

func newIdleTimer(after time.Duration, end func()) *idleTimer {
	t := &idleTimer{after: after}
	t.last.Store(clock())
	t.mu.Lock()
	defer t.mu.Unlock()
	t.timer = time.AfterFunc(after, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		left := t.after - time.Duration(clock()-t.last.Load())
		switch {
		case t.over:
		case left > 0:
			t.timer.Reset(left)
		default:
			t.fired.Store(true)
			end()
		}
	})
	return t
}

func (t *idleTimer) touch() { t.last.Store(clock()) }

func (t *idleTimer) stop() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.over = true
	t.timer.Stop()
}

// clientConn returns a connection of HTTP/2 that can take another request.
func (t *transport) clientConn(ctx context.Context, s *Server, ep *endpoint, timeout time.Duration) (cc *http2.ClientConn, reused bool, err error) {
	t.mu.Lock()
	kept := t.h2[:0]
	for _, c := range t.h2 {
		if state := c.State(); !state.Closed && !state.Closing {
			kept = append(kept, c)
		}
	}
	clear(t.h2[len(kept):])
	t.h2 = kept
	for _, c := range t.h2 {
		if c.ReserveNewRequest() {
			t.mu.Unlock()
			return c, true, nil
		}
	}
	if t.h2tr == nil {
		t.h2tr = &http2.Transport{
			DisableCompression: true, AllowHTTP: true, ReadIdleTimeout: 30 * time.Second, PingTimeout: 15 * time.Second,
			IdleConnTimeout: time.Minute, MaxHeaderListSize: 64 << 10,
		}
	}
	tr := t.h2tr
	t.mu.Unlock()
	conn, _, err := s.dialConn(ctx, ep, t, timeout)
	if err != nil {
		return nil, false, err
	}
	if cc, err = tr.NewClientConn(newGatherer(conn, &s.bytes, time.Minute)); err != nil {
		_ = conn.Close()
		return nil, false, err
	}
	cc.ReserveNewRequest()
	t.mu.Lock()
	defer t.mu.Unlock()
	if ep.gone.Load() {
		cc.SetDoNotReuse()
		return cc, false, nil
	}
	t.h2 = append(t.h2, cc)
	return cc, false, nil
}

// closeIdle closes what is idle now, and what is in use after its requests.
func (t *transport) closeIdle() {
	t.pool.closeIdle()
	t.mu.Lock()
	all := t.h2
	t.h2 = nil
	t.mu.Unlock()
	for _, c := range all {
		c.SetDoNotReuse()
		if state := c.State(); state.StreamsActive+state.StreamsReserved+state.StreamsPending == 0 {
			_ = c.Close()
		}
	}
}
