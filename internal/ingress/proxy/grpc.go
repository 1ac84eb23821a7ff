package proxy

import (
	"context"
	"errors"
	"io"
	"time"

	"minato/internal/ingress/h1"
	"minato/internal/ingress/h2"
	"minato/internal/ingress/table"
)

// upload sends a request's body to an endpoint of HTTP/2 while its answer is read.
type upload struct {
	f    *flow
	up   *h2.Stream
	done chan struct{}
	err  error // why the client did not send its body to the end
}

// run sends what comes until it ends.
func (u *upload) run() {
	defer close(u.done)
	for {
		p, err := u.f.down.next()
		if err == io.EOF {
			err = u.finish()
			if err == nil {
				_ = u.up.Flush() // whoever waits for the answer is told of an error
			}
			return
		}
		if err != nil {
			u.err = err
			u.up.Abort()
			return
		}
		if u.up.Write(p, false) != nil || u.up.Flush() != nil {
			return
		}
	}
}

func (u *upload) finish() error {
	if t := u.f.down.trailer(); t != nil && t.Len() > 0 {
		return u.up.WriteTrailer(t)
	}
	return u.up.Write(nil, true)
}

// end has no further byte sent: an endpoint that has answered reads no more.
func (u *upload) end() {
	if u == nil {
		return
	}
	select {
	case <-u.done:
		return
	default:
	}
	u.up.Abort()
	u.f.h1.closing = true // of a client of HTTP/1, whose body was not read to its end
	u.f.interruptBody()()
	<-u.done
}

// attemptHTTP2 asks an endpoint in HTTP/2 and, if it answers, passes the answer on.
func (f *flow) attemptHTTP2(ctx context.Context, loc *table.Location, ep *endpoint, began int64) (o outcome, sent bool) {
	t := f.transport(loc, ep)
	conn, reused, err := t.reserve(ctx, f.srv, ep, orDuration(loc.ConnectTimeout, 5*time.Second))
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
	up, body, err := f.openHTTP2(loc, conn, t.config != nil)
	if err != nil {
		return f.http2Failure(err, nil, reused)
	}
	defer up.Close()
	defer body.end()
	f.look(up.Abort, began)
	err = up.Head(f.down.interim)
	if err != nil {
		gone := !f.looked()
		body.end()
		if gone {
			return outcomeGone, true
		}
		return f.http2Failure(err, body, reused)
	}
	a.Header = time.Duration(clock() - began)
	a.Status = up.Status
	f.passHTTP2(up, body)
	f.looked()
	return outcomeAnswer, true
}

// openHTTP2 sends the request, and as much of the body as is here. body sends the rest; it is nil without one.
func (f *flow) openHTTP2(loc *table.Location, conn *h2.Conn, encrypted bool) (up *h2.Stream, body *upload, err error) {
	x, h := &f.x, &f.x.Forward
	target := x.RewrittenTarget
	if target == "" {
		target = x.Target
	}
	f.out = h1.AppendTarget(f.out[:0], bytesOf(target))
	q := h2.Request{
		Method: x.Method, Authority: str(h.Get(h1.Host)), Path: str(f.out), TLS: encrypted, Header: h,
		Trailers: f.header.HasToken(h1.TE, "trailers"), Length: f.body.contentLength(),
	}
	if f.body.none {
		q.Length = 0
	}
	if !f.body.here && f.down.invite() != nil {
		conn.Unreserve()
		return nil, nil, errClientGone
	}
	up, err = conn.Open(&q, f.body.none)
	if err != nil {
		return nil, nil, err
	}
	up.Patience = orDuration(loc.ReadTimeout, time.Minute)
	switch {
	case f.body.none:
	case f.body.here && f.body.file == nil && len(f.body.mem) <= atOnce:
		_ = up.Write(f.body.mem, true) // whoever waits for the answer is told of an error
	default:
		body = &upload{f: f, up: up, done: make(chan struct{})}
		if f.body.here {
			go body.send(f.body.reader(f))
		} else {
			f.body.used = true
			if f.client == nil {
				f.h2.st.Patience = 0 // streams of gRPC may be silent in this direction (client-body-timeout does not bound them)
			}
			go body.run()
		}
	}
	_ = up.Flush()
	return up, body, nil
}

// send sends a body that is here.
func (u *upload) send(r io.Reader) {
	defer close(u.done)
	buf := u.f.srv.copies.Get().(*[]byte)
	defer u.f.srv.copies.Put(buf)
	for {
		n, err := r.Read(*buf)
		end := err == io.EOF
		if u.up.Write((*buf)[:n], end) != nil || u.up.Flush() != nil || end {
			return
		}
		if err != nil {
			u.up.Abort()
			return
		}
	}
}

// http2Failure classes the error of a request that has no answer.
func (f *flow) http2Failure(err error, body *upload, reused bool) (outcome, bool) {
	if body != nil && body.err != nil && !errors.Is(body.err, h2.ErrStopped) {
		f.gone = bodyStatus(body.err)
		return outcomeGone, true
	}
	switch {
	case errors.Is(err, h2.ErrTimeout):
		return outcomeTimeout, true
	case errors.Is(err, errClientGone):
		return outcomeGone, false
	case errors.Is(err, h2.ErrUnprocessed):
		return outcomeStale, false // RFC 9113, 8.7
	case errors.Is(err, h2.ErrMalformed):
		return outcomeInvalid, true
	case reused && !f.body.used:
		return outcomeStale, true
	default:
		return outcomeError, true
	}
}

// passHTTP2 passes an answer on to the client.
func (f *flow) passHTTP2(up *h2.Stream, body *upload) {
	x, p := &f.x, &f.resp
	p.Reset()
	p.Status = up.Status
	up.Header.CopyTo(&p.Header)
	p.Header.RemoveHopByHop(false)
	x.Status, x.Response, x.FromBackend = p.Status, &p.Header, true
	f.finishHeader(&p.Header)
	bodied, length := mayHaveBody(p.Status) && f.method != h1.MethodHead, up.ContentLength
	if !mayHaveBody(p.Status) && p.Status != 304 {
		length = -1
	}
	if bodied {
		length = f.encode(length)
	}
	// An answer that is a header alone stays one: gRPC has its status there.
	f.begun, f.trailed = true, !up.Ended()
	if f.down.start(p.Status, nil, &p.Header, length, bodied) != nil {
		f.down.abort()
		return
	}
	a := &x.Attempts[len(x.Attempts)-1]
	for {
		// What has come already goes with what was written.
		if !up.Ready() && f.down.flush() != nil {
			f.down.abort()
			return
		}
		b, err := up.Next()
		if err == io.EOF {
			break
		}
		a.Bytes += int64(len(b))
		if err != nil || f.down.write(b) != nil {
			f.down.abort()
			return
		}
	}
	body.end()
	_ = f.down.finish(up.Trailer()) // the client has gone if this fails
}
