package proxy

import (
	"minato/internal/ingress/h1"
	"minato/internal/ingress/h2"
)

// downHTTP2 is a client of HTTP/2.
type downHTTP2 struct {
	f        *flow
	st       *h2.Stream
	conn     *h2.Conn
	max      int64
	read     int64
	length   int64 // of the answer's body still to come; -1: unknown
	bodied   bool
	invited  bool
	tooLarge bool
	done     bool // the answer has ended
}

func (d *downHTTP2) next() ([]byte, error) {
	if d.tooLarge {
		return nil, errBodyTooLarge
	}
	p, err := d.st.Next()
	n := int64(len(p))
	d.read += n
	d.f.x.Received += n
	if d.max > 0 && d.read > d.max {
		return nil, errBodyTooLarge
	}
	return p, err
}

func (d *downHTTP2) ahead() ([]byte, bool) {
	if d.st.ContentLength == 0 {
		return nil, true
	}
	p, ok := d.st.Ahead()
	if !ok {
		return nil, false
	}
	n := int64(len(p))
	if d.max > 0 && n > d.max {
		d.tooLarge = true
		return nil, false
	}
	d.read += n
	d.f.x.Received += n
	return p, true
}

func (d *downHTTP2) invite() error {
	if d.invited || !d.f.header.Has(h1.Expect) || !d.f.header.HasToken(h1.Expect, "100-continue") || d.st.Begun() {
		return nil
	}
	d.invited = true
	var none h1.Header
	return d.interim(100, &none)
}

func (d *downHTTP2) setMax(n int64) error {
	d.max = n
	if n > 0 && d.st.ContentLength > n {
		return errBodyTooLarge
	}
	return nil
}

func (d *downHTTP2) trailer() *h1.Header { return d.st.Trailer() }

func (d *downHTTP2) interim(status int, h *h1.Header) error {
	if err := d.st.WriteHead(status, h, -1, false); err != nil {
		return err
	}
	return d.st.Flush()
}

func (d *downHTTP2) start(status int, _ []byte, h *h1.Header, length int64, body bool) error {
	if d.f.tooMany(d.f.x.ConnectionRequests) {
		d.conn.Shutdown()
	}
	d.bodied, d.length = body, length
	d.done = !body || length == 0 && !d.f.trailed
	return d.st.WriteHead(status, h, length, d.done)
}

// write sends bytes of the body. What they are of an answer whose length is known, the last ones end the stream.
func (d *downHTTP2) write(p []byte) error {
	if !d.bodied || len(p) == 0 {
		return nil
	}
	n := int64(len(p))
	if d.length >= 0 {
		if d.length -= n; d.length < 0 {
			return errFraming
		}
		d.done = d.length == 0 && !d.f.trailed
	}
	if err := d.st.Write(p, d.done); err != nil {
		return err
	}
	d.f.x.SentBody += n
	d.f.x.Sent += n
	return nil
}

// flush sends what was written. What ends the stream is sent when the request has been told of, with what others have then.
func (d *downHTTP2) flush() error {
	if d.done {
		return nil
	}
	return d.st.Flush()
}

func (d *downHTTP2) finish(trailer *h1.Header) error {
	switch {
	case d.done:
		return nil
	case d.length > 0:
		return errFraming // and the stream is reset, for want of its end
	}
	d.done = true
	if trailer != nil && trailer.Len() > 0 {
		return d.st.WriteTrailer(trailer)
	}
	return d.st.Write(nil, true)
}

// abort does nothing: a stream that was not ended is reset.
func (d *downHTTP2) abort() {}

func (d *downHTTP2) keep() bool { return true }
