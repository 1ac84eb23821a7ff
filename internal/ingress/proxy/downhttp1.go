package proxy

import (
	"errors"
	"io"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/h1"
)

// outSize is what of an answer is put together before it is written.
const outSize = 8 << 10

// errBodyTooLarge means that a body is larger than the location allows.
var errBodyTooLarge = errors.New("the request's body is too large")

// errFraming means that an endpoint sent another number of bytes than it had said.
var errFraming = errors.New("the answer's body has another length than its header says")

// downHTTP1 is a client of HTTP/1.
type downHTTP1 struct {
	f       *flow
	c       *clientConn
	buf     *[]byte // from the Server's pool
	out     []byte
	tr      h1.Header
	length  int64 // of the answer's body still to come; -1: unknown
	chunked bool
	bodied  bool
	closing bool // the connection ends after this answer
	invited bool
	begun   bool
	done    bool
	broken  bool
	maxErr  error
}

func (d *downHTTP1) bind(f *flow, c *clientConn) {
	d.f, d.c = f, c
	d.closing = !f.req.KeepAlive
}

// reset gives back what the client's side holds.
func (d *downHTTP1) reset(s *Server) {
	if d.buf != nil {
		*d.buf = d.out[:0]
		if cap(d.out) <= 4*outSize {
			s.bytes.Put(d.buf)
		}
	}
	tr := d.tr
	tr.Reset()
	*d = downHTTP1{tr: tr}
}

func (d *downHTTP1) next() ([]byte, error) {
	p, err := d.f.req.Body.Next()
	d.f.x.Received += int64(len(p))
	return p, err
}

func (d *downHTTP1) ahead() ([]byte, bool) {
	b := &d.f.req.Body
	n := b.Remaining()
	switch {
	case n == 0:
		return nil, true
	case n < 0 || n > int64(d.c.rd.Buffered()):
		return nil, false
	}
	p, err := b.Next()
	if err != nil || int64(len(p)) != n {
		return nil, false
	}
	d.f.x.Received += n
	return p, true
}

func (d *downHTTP1) invite() error {
	if !d.f.req.ExpectContinue || d.invited || d.c.rd.Buffered() > 0 {
		return nil
	}
	d.invited = true
	d.c.within(clientSend)
	_, err := io.WriteString(d.c.conn, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

func (d *downHTTP1) setMax(n int64) error {
	err := d.f.req.Body.SetMax(n)
	if err != nil {
		d.closing = true
	}
	return err
}

func (d *downHTTP1) trailer() *h1.Header { return d.f.req.Body.Trailer() }

// buffer makes sure that there is one.
func (d *downHTTP1) buffer() {
	if d.buf == nil {
		d.buf = d.f.srv.bytes.Get().(*[]byte)
		d.out = (*d.buf)[:0]
	}
}

func (d *downHTTP1) interim(status int, h *h1.Header) error {
	if d.f.req.Minor == 0 {
		return nil
	}
	d.buffer()
	d.out = h1.AppendResponseHead(d.out, status, nil, h)
	return d.flush()
}

func (d *downHTTP1) start(status int, phrase []byte, h *h1.Header, length int64, body bool) error {
	d.buffer()
	d.begun, d.bodied, d.length = true, body, length
	d.out = h1.AppendStatusLine(d.out, status, phrase)
	d.out = h.AppendTo(d.out)
	old := d.f.x.Version == exchange.HTTP10
	switch {
	case length >= 0:
		d.out = appendLength(d.out, length)
	case !body:
	case old:
		d.closing = true
	default:
		d.chunked = true
		d.out = append(d.out, "Transfer-Encoding: chunked\r\n"...)
	}
	// An unread body would be taken for the next request. One that streams may still end, unless it was refused.
	if (!d.f.body.streams || d.f.gone != 0) && !d.f.req.Body.Done() || d.f.srv.draining.Load() || d.f.tooMany(d.c.requests) {
		d.closing = true
	}
	switch {
	case d.closing:
		d.out = append(d.out, "Connection: close\r\n\r\n"...)
	case old:
		d.out = append(d.out, "Connection: keep-alive\r\n\r\n"...)
	default:
		d.out = append(d.out, "\r\n"...)
	}
	return nil
}

// tooMany tells whether a client's connection has had as many requests as it may (keep-alive-requests; keep-alive: "0").
func (f *flow) tooMany(requests int) bool {
	s := f.view.settings
	return s.KeepAlive <= 0 || s.KeepAliveRequests > 0 && requests >= s.KeepAliveRequests
}

// appendLength appends a Content-Length.
func appendLength(dst []byte, n int64) []byte {
	dst = append(dst, "Content-Length: "...)
	return append(appendInt(dst, n), "\r\n"...)
}

func (d *downHTTP1) write(p []byte) error {
	if len(p) == 0 || !d.bodied {
		return nil
	}
	if d.length >= 0 && !d.chunked {
		if d.length -= int64(len(p)); d.length < 0 {
			return errFraming
		}
	}
	d.f.x.SentBody += int64(len(p))
	if d.chunked {
		d.out = h1.AppendChunkHeader(d.out, len(p))
	}
	if len(d.out)+len(p)+2 <= cap(d.out) {
		d.out = append(d.out, p...)
		if d.chunked {
			d.out = append(d.out, "\r\n"...)
		}
		return nil
	}
	if err := d.send(p); err != nil {
		return err
	}
	if d.chunked {
		d.out = append(d.out, "\r\n"...)
	}
	return nil
}

// moved tells that bytes of the body have gone to the client past write.
func (d *downHTTP1) moved(n int64) {
	d.f.x.Sent += n
	d.f.x.SentBody += n
	if d.length >= 0 {
		d.length -= n
	}
}

// flush writes what was put together.
func (d *downHTTP1) flush() error { return d.send(nil) }

// send writes what was put together, and p behind it, in one system call where the connection is a socket.
func (d *downHTTP1) send(p []byte) error {
	if len(d.out)+len(p) == 0 || d.broken {
		return nil
	}
	d.c.within(clientSend)
	n := int64(len(d.out) + len(p))
	err := d.c.write(d.out, p)
	d.out = d.out[:0]
	if err != nil {
		d.broken, d.closing = true, true
		return err
	}
	d.f.x.Sent += n
	return nil
}

func (d *downHTTP1) finish(trailer *h1.Header) error {
	if d.bodied && d.length > 0 && !d.chunked {
		d.abort()
		return errFraming
	}
	if d.chunked {
		if trailer != nil && trailer.Len() == 0 {
			trailer = nil
		}
		d.out = h1.AppendLastChunk(d.out, trailer)
	}
	d.done = true
	return d.flush()
}

func (d *downHTTP1) abort() {
	_ = d.flush() // what came is the client's; the connection's end says that it is not all
	d.closing, d.done = true, true
	if tcp, ok := d.c.base.(interface{ SetLinger(sec int) error }); ok && d.begun && !d.chunked && d.length < 0 {
		// Only a reset tells this client from the end of the body.
		_ = tcp.SetLinger(0)
	}
}

func (d *downHTTP1) keep() bool { return !d.closing && d.done && d.f.req.Body.Done() }
