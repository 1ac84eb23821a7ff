package h1

import (
	"bytes"
	"io"
)

// Reader buffers what one connection sends. It is not safe for use by several
// goroutines at once. It holds a buffer only while bytes are in it or views of the
// last message are in use; see Release.
type Reader struct {
	src  io.Reader
	pool *Buffers
	cur  *buffer // nil: none is held
	held *buffer // chain of buffers with views of the message whose body is read into cur
	buf  []byte  // cur.b
	r, w int     // the unread bytes are buf[r:w]
	pin  int     // buf[:pin] holds views and stays where it is
	err  error   // of src, with bytes that came with it

	body   *Body // of the last message
	broken bool  // no message can follow the last one
}

// NewReader returns a Reader of src whose buffers come from pool.
func NewReader(src io.Reader, pool *Buffers) *Reader { return &Reader{src: src, pool: pool} }

// Reset gives all buffers back and makes the Reader read from src, which may be
// nil. Bytes not read yet are lost.
func (r *Reader) Reset(src io.Reader) {
	r.Close()
	r.src, r.err, r.body, r.broken = src, nil, nil, false
}

// Close gives all buffers back. Views and bytes not read yet are lost. It does not
// close the source.
func (r *Reader) Close() {
	r.r, r.w, r.pin = 0, 0, 0
	r.Release()
}

// Buffered returns the number of bytes that were received and not read yet: those
// of the next pipelined request, after a body's end.
func (r *Reader) Buffered() int { return r.w - r.r }

// Bytes returns the bytes received and not read yet, as a view.
func (r *Reader) Bytes() []byte { return r.buf[r.r:r.w] }

// Peek returns the next n bytes as a view, without reading past them; it waits for
// them. Fewer bytes come with an error.
func (r *Reader) Peek(n int) ([]byte, error) {
	for r.Buffered() < n {
		if err := r.more(); err != nil {
			return r.Bytes(), err
		}
	}
	return r.buf[r.r : r.r+n], nil
}

// Skip drops n bytes, of those that are buffered.
func (r *Reader) Skip(n int) { r.r += min(n, r.Buffered()) }

// Read implements io.Reader: what is buffered comes first, then the source is asked.
// It is for a connection that has changed to another protocol.
func (r *Reader) Read(p []byte) (int, error) {
	if r.Buffered() == 0 {
		switch {
		case r.err != nil:
			err := r.err
			r.err = nil
			return 0, err
		case r.src == nil:
			return 0, io.EOF
		}
		return r.src.Read(p)
	}
	n := copy(p, r.Bytes())
	r.r += n
	return n, nil
}

// Release ends the use of the last message: its views become invalid, and the
// buffers go back to the pool unless they hold bytes not read yet. A connection
// that waits for its next request calls it.
func (r *Reader) Release() {
	r.unhold()
	if r.r != r.w {
		return
	}
	r.r, r.w = 0, 0
	r.pool.put(r.cur)
	r.cur, r.buf = nil, nil
}

// Space returns room that the owner of the connection may read into by itself, and
// takes a buffer from the pool if the Reader holds none. Filled tells how much was
// read; Release gives an unused buffer back. With syscall.RawConn.Read an idle
// connection thus waits without a buffer.
func (r *Reader) Space() []byte {
	r.room()
	return r.buf[r.w:]
}

// Filled adds the first n bytes of what Space returned to the buffered ones.
func (r *Reader) Filled(n int) { r.w += min(n, len(r.buf)-r.w) }

// begin ends the use of the last message and keeps a small buffer.
func (r *Reader) begin() error {
	r.leave()
	if r.broken {
		return ErrBroken
	}
	r.unhold()
	if r.r == r.w {
		r.r, r.w = 0, 0
		if len(r.buf) > minSize {
			r.pool.put(r.cur)
			r.cur, r.buf = nil, nil
		}
	}
	return nil
}

// leave notes whether the last message's body was read to its end.
func (r *Reader) leave() {
	if r.body != nil {
		r.broken = r.broken || !r.body.Done()
		r.body = nil
	}
}

// unhold ends the use of views.
func (r *Reader) unhold() {
	for r.held != nil {
		b := r.held
		r.held, b.next = b.next, nil
		r.pool.put(b)
	}
	r.pin = 0
}

// room makes sure that something can be read behind the unread bytes.
func (r *Reader) room() {
	switch {
	case r.w < len(r.buf):
	case r.cur == nil:
		r.cur = r.pool.get(minSize)
		r.buf = r.cur.b
	case r.r > r.pin && r.w-r.r < (len(r.buf)-r.pin)/2:
		copy(r.buf[r.pin:], r.buf[r.r:r.w])
		r.r, r.w = r.pin, r.pin+r.w-r.r
	default:
		r.replace(2 * max(minSize, r.w-r.r))
	}
}

// replace moves the unread bytes to another buffer of at least size bytes, and
// holds the old one if views point to it.
func (r *Reader) replace(size int) {
	next := r.pool.get(size)
	r.w = copy(next.b, r.buf[r.r:r.w])
	r.r = 0
	if r.pin > 0 {
		r.cur.next, r.held = r.held, r.cur
	} else {
		r.pool.put(r.cur)
	}
	r.cur, r.buf, r.pin = next, next.b, 0
}

// more receives at least one more byte behind the unread ones, which stay
// contiguous but may move.
func (r *Reader) more() error {
	r.room()
	return r.fill()
}

// fill reads once into the free part of the buffer.
func (r *Reader) fill() error {
	if err := r.err; err != nil {
		r.err = nil
		return err
	}
	if r.src == nil {
		return io.EOF
	}
	for range 100 {
		n, err := r.src.Read(r.buf[r.w:])
		if n > 0 {
			r.w += n
			r.err = err
			return nil
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// moreBody receives bytes of a body when none are unread. Of the body at least
// want bytes are still to come; 0 if that is not known.
func (r *Reader) moreBody(want int64) error {
	if r.r == r.w {
		full := r.w == len(r.buf)
		if r.cur != nil {
			r.r, r.w = r.pin, r.pin
		}
		free := len(r.buf) - r.pin
		if len(r.buf) < bodySize && (want > int64(free) || want == 0 && (full || free < minSize/4)) {
			if r.cur == nil {
				r.cur = r.pool.get(bodySize)
				r.buf = r.cur.b
			} else {
				r.replace(bodySize)
			}
		}
	}
	return r.more()
}

// moreLine receives bytes until the line that begins at off of the unread bytes is
// whole, or longer than maxLine, or the unread bytes are more than maxAll.
func (r *Reader) moreLine(off, maxLine, maxAll int) (Reason, error) {
	for seen := r.Buffered(); ; {
		switch {
		case seen-off >= maxLine:
			return ReasonFieldTooLong, nil
		case seen >= maxAll:
			return ReasonHeadTooLarge, nil
		}
		if err := r.more(); err != nil {
			return ReasonNone, err
		}
		if bytes.IndexByte(r.buf[r.r+seen:r.w], '\n') >= 0 {
			return ReasonNone, nil
		}
		seen = r.Buffered()
	}
}
