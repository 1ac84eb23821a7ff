package h1

import (
	"io"
	"math"
)

type bodyKind uint8

const (
	bodyNone bodyKind = iota
	bodyLength
	bodyChunked
	bodyClose
)

// chunkState is where in a chunked body the Reader is.
type chunkState uint8

const (
	chunkSize chunkState = iota
	chunkData
	chunkEnd
	chunkTrailer
)

// Body reads the body of the message that was last read from a Reader. It ends
// exactly where the body ends: bytes of the next message stay in the Reader. The
// zero value is an empty body.
type Body struct {
	r        *Reader
	kind     bodyKind
	state    chunkState
	response bool
	left     int64 // of the body, or of the chunk
	read     int64 // bytes handed out
	max      int64 // of read
	extra    int   // bytes of chunk extensions
	limits   *Limits
	err      error // sticky
	trailer  Header
}

func (b *Body) reset() {
	if b.r != nil && b.r.body == b {
		b.r.leave()
	}
	b.r, b.kind, b.state, b.left, b.read, b.extra, b.err = nil, bodyNone, 0, 0, 0, 0, nil
	b.limits = nil
	if b.trailer.text != nil || len(b.trailer.fields) > 0 {
		b.trailer.Reset()
	}
}

func (b *Body) begin(r *Reader, lim *Limits, response bool) {
	b.r, b.limits, b.response, b.max = r, lim, response, math.MaxInt64
	r.body = b
}

// SetMax bounds the body to n bytes: one that is longer is an *Error of
// ReasonBodyTooLarge, when its length is known at once, else when it is read.
// ingress-nginx's proxy-body-size; n <= 0 is no bound.
func (b *Body) SetMax(n int64) error {
	if n <= 0 {
		n = math.MaxInt64
	}
	b.max = n
	if b.kind == bodyLength && b.left > n-b.read {
		b.err = fail(b.response, ReasonBodyTooLarge)
		return b.err
	}
	return nil
}

// Done tells that the body was read to its end, trailers included: only then the
// connection can carry another message.
func (b *Body) Done() bool {
	switch b.kind {
	case bodyNone:
		return true
	case bodyLength:
		return b.left == 0 && b.err == nil
	}
	return b.err == io.EOF
}

// BytesRead returns how many bytes of the body were handed out.
func (b *Body) BytesRead() int64 { return b.read }

// Chunked tells that the body came chunked.
func (b *Body) Chunked() bool { return b.kind == bodyChunked }

// Remaining returns how many bytes of a body with a Content-Length are still to be
// handed out, buffered ones included; 0 without a body, and -1 if it is chunked or
// ends with the connection.
func (b *Body) Remaining() int64 {
	switch b.kind {
	case bodyChunked, bodyClose:
		if b.err == io.EOF {
			return 0
		}
		return -1
	}
	return b.left
}

// Trailer returns the trailer section of a chunked body, whose end was read. Fields
// that the ingress knows are left out of it: those of framing, routing, credentials
// and the like must not come behind the body (RFC 9110, 6.5.1). Views as those of
// the head.
func (b *Body) Trailer() *Header { return &b.trailer }

// Next returns the next bytes of the body as a view that is valid until the next
// call of a method of the Body. At the end it returns io.EOF, and no bytes. It waits
// only if nothing is buffered. A body that is cut short is io.ErrUnexpectedEOF.
func (b *Body) Next() ([]byte, error) {
	for {
		n, err := b.ready()
		if err != nil {
			return nil, err
		}
		if n == 0 {
			continue
		}
		p := b.r.buf[b.r.r : b.r.r+n : b.r.r+n]
		b.r.r += n
		b.advance(int64(n))
		return p, nil
	}
}

// NextBuffered is Next for what is already buffered: it returns no bytes and no
// error where Next would wait.
func (b *Body) NextBuffered() ([]byte, error) {
	wait := false
	if b.err == nil {
		switch b.kind {
		case bodyLength:
			wait = b.left > 0 && b.r.Buffered() == 0
		case bodyChunked:
			wait = !b.chunkBuffered()
		case bodyClose:
			wait = b.r.Buffered() == 0
		}
	}
	if wait {
		return nil, nil
	}
	return b.Next()
}

// chunkBuffered tells whether the next step in a chunked body needs no waiting:
// there is data, or a whole line and the byte behind it.
func (b *Body) chunkBuffered() bool {
	data := b.r.Bytes()
	switch b.state {
	case chunkData:
		return len(data) > 0
	case chunkEnd:
		if len(data) < 2 {
			return false
		}
		data = data[2:]
	case chunkTrailer:
		return false
	}
	for i, c := range data {
		if c == '\n' {
			return i+1 < len(data) && data[0] != '0'
		}
	}
	return false
}

// Read implements io.Reader. Large reads past the buffer go straight to p.
func (b *Body) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		if b.direct(len(p)) {
			return b.readDirect(p)
		}
		n, err := b.ready()
		if err != nil {
			return 0, err
		}
		if n == 0 {
			continue
		}
		n = copy(p, b.r.buf[b.r.r:b.r.r+n])
		b.r.r += n
		b.advance(int64(n))
		return n, nil
	}
}

// direct tells whether n bytes may be read past the buffer.
func (b *Body) direct(n int) bool {
	if n < minSize || b.err != nil || b.r == nil || b.r.Buffered() > 0 || b.r.err != nil || b.r.src == nil {
		return false
	}
	return b.left > 0 && (b.kind == bodyLength || b.kind == bodyChunked && b.state == chunkData)
}

func (b *Body) readDirect(p []byte) (int, error) {
	n, err := b.r.src.Read(p[:min(int64(len(p)), b.left)])
	if n > 0 {
		b.r.err = err
		if err := b.count(n); err != nil {
			return 0, err
		}
		b.advance(int64(n))
		return n, nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
		b.err = err
	}
	return 0, err
}

// WriteTo implements io.WriterTo: it writes the rest of the body without copying it.
func (b *Body) WriteTo(w io.Writer) (n int64, err error) {
	for {
		p, err := b.Next()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		m, err := w.Write(p)
		n += int64(m)
		if err != nil {
			return n, err
		}
	}
}

// Buffered returns, of a body with a Content-Length or one that ends with the
// connection, the bytes that are already here, as a view, and hands them out. What
// Remaining says afterwards is still to come from the connection: it can be moved
// with io.CopyN from the *net.TCPConn, by splice(2), and told to Moved.
func (b *Body) Buffered() []byte {
	if b.err != nil || b.r == nil || b.kind != bodyLength && b.kind != bodyClose || b.r.Buffered() == 0 {
		return nil
	}
	p, err := b.Next()
	if err != nil {
		return nil
	}
	return p
}

// Moved tells that n bytes of such a body were taken from the connection without the
// Reader.
func (b *Body) Moved(n int64) {
	if b.kind == bodyLength {
		n = min(n, b.left)
	}
	b.advance(n)
}

// Discard reads the rest of the body if it is at most limit bytes, and tells whether
// the end was reached.
func (b *Body) Discard(limit int64) (bool, error) {
	for b.Remaining() <= limit {
		p, err := b.Next()
		if err == io.EOF {
			return true, nil
		}
		if err != nil {
			return false, err
		}
		if limit -= int64(len(p)); limit < 0 {
			break
		}
	}
	return false, nil
}

// advance counts bytes handed out.
func (b *Body) advance(n int64) {
	b.read += n
	if b.kind == bodyClose {
		return
	}
	b.left -= n
	if b.left == 0 && b.kind == bodyChunked {
		b.state = chunkEnd
	}
}

// count checks n further bytes against the bound.
func (b *Body) count(n int) error {
	if int64(n) > b.max-b.read {
		b.err = fail(b.response, ReasonBodyTooLarge)
		return b.err
	}
	return nil
}

// ready makes bytes of the body the next unread ones and returns their number; 0
// after a step that brought none.
func (b *Body) ready() (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	switch b.kind {
	case bodyNone:
		return 0, io.EOF
	case bodyLength:
		if b.left == 0 {
			return 0, io.EOF
		}
	case bodyChunked:
		if b.state != chunkData {
			return 0, b.chunkStep()
		}
	}
	if b.r.Buffered() == 0 {
		want := b.left
		if b.kind == bodyClose {
			want = 0
		}
		if err := b.r.moreBody(want); err != nil {
			return 0, b.ended(err)
		}
	}
	n := b.r.Buffered()
	if b.kind != bodyClose {
		n = int(min(int64(n), b.left))
	}
	return n, b.count(n)
}

// ended turns the end of the source into that of the body, or into an error.
func (b *Body) ended(err error) error {
	if err != io.EOF {
		return err // may be a deadline's; the body goes on after it
	}
	if b.kind != bodyClose {
		err = io.ErrUnexpectedEOF
	}
	b.err = err
	return err
}
