package proxy

import (
	"bytes"
	"errors"
	"io"
	"os"

	"minato/internal/host/socket"
	"minato/internal/ingress/h1"
)

// requestBody is a request's body on its way to endpoints. If it was read ahead it can be sent more than once.
type requestBody struct {
	here    bool   // all of it is in mem and file
	none    bool   // there is none
	mem     []byte // a view of the connection's buffer, or own
	own     []byte // kept for other requests
	file    *os.File
	size    int64
	taken   int64 // of the memory that all bodies share
	streams bool  // it is read from the client while it is sent
	used    bool  // a body that streams has begun to be sent
	length  int64 // of a body that streams; -1 if it is not known
	pump    *pump // sends it while the answer is read
	// interrupt ends reading from the client; nil where that ends with the request.
	interrupt func()
}

// keepBody is the largest buffer that is kept for other requests.
const keepBody = 64 << 10

// fill reads the body to its end: buffer bytes of it into memory, and what is beyond into a file without a name.
// It returns the status to answer with if that cannot be done; else 0.
func (b *requestBody) fill(f *flow, buffer int64) int {
	if p, ok := f.down.ahead(); ok {
		b.here, b.mem, b.size, b.none = true, p, int64(len(p)), len(p) == 0 && f.x.ContentLength <= 0
		return 0
	}
	if err := f.down.invite(); err != nil {
		return statusGone
	}
	b.own = b.own[:0]
	buffer = max(buffer, 8<<10)
	for {
		p, err := f.down.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return bodyStatus(err)
		}
		b.size += int64(len(p))
		if b.file == nil && int64(len(b.own)+len(p)) <= buffer {
			b.own = append(b.own, p...)
			continue
		}
		if err := b.spill(f.srv, p); err != nil {
			f.srv.cfg.Logger.Error("A request's body cannot be kept", "error", err)
			return 500
		}
	}
	b.here, b.mem = true, b.own
	f.x.ContentLength = b.size
	return 0
}

// statusGone is nginx's status for a client that has closed its connection.
const statusGone = 499

// bodyStatus is the answer to a body that could not be read.
func bodyStatus(err error) int {
	var refused *h1.Error
	switch {
	case errors.As(err, &refused):
		return refused.Status
	case isTimeout(err):
		return 408
	case errors.Is(err, errBodyTooLarge):
		return 413
	default:
		return statusGone
	}
}

// errNoRoom means that bodies take all the memory that they may, and no file can be made.
var errNoRoom = errors.New("bodies of requests take as much memory as they may, and the directory for their files cannot be used")

// spill keeps bytes that do not fit into the buffer.
func (b *requestBody) spill(s *Server, p []byte) error {
	if b.file == nil && b.taken == 0 {
		b.file = unnamedFile(s.cfg.TempDir)
	}
	if b.file != nil {
		_, err := b.file.Write(p)
		return err
	}
	n := int64(len(p))
	if s.spooled.Add(n) > s.cfg.BodyMemory {
		s.spooled.Add(-n)
		return errNoRoom
	}
	b.taken += n
	b.own = append(b.own, p...)
	return nil
}

// unnamedFile makes a file that vanishes when it is closed, or returns nil where that cannot be done.
func unnamedFile(dir string) *os.File {
	if dir == "" {
		dir = os.TempDir()
	}
	f, err := socket.UnnamedFile(dir)
	if err != nil {
		return nil
	}
	return f
}

// stream leaves the body with the client until it is sent.
func (b *requestBody) stream(f *flow) {
	if p, ok := f.down.ahead(); ok {
		b.here, b.mem, b.size, b.none = true, p, int64(len(p)), len(p) == 0 && f.x.ContentLength <= 0
		return
	}
	b.length, b.streams = f.x.ContentLength, true
}

// Size implements exchange.Body.
func (b *requestBody) Size() int64 {
	if !b.here {
		return -1
	}
	return b.size
}

// ReadAt implements exchange.Body.
func (b *requestBody) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	if off < int64(len(b.mem)) {
		n = copy(p, b.mem[off:])
	}
	switch {
	case n == len(p):
		return n, nil
	case b.file == nil:
		return n, io.EOF
	}
	more, err := b.file.ReadAt(p[n:], off+int64(n)-int64(len(b.mem)))
	return n + more, err
}

// contentLength is what the endpoint is told; -1 for a body that is sent chunked.
func (b *requestBody) contentLength() int64 {
	if b.here {
		return b.size
	}
	return b.length
}

// again tells whether the body can be sent to another endpoint.
func (b *requestBody) again() bool { return b.here || !b.used }

// close drops what was kept.
func (b *requestBody) close(s *Server) {
	own := b.own
	if cap(own) > keepBody {
		own = nil
	}
	if b.file != nil {
		_ = b.file.Close()
	}
	if b.taken > 0 {
		s.spooled.Add(-b.taken)
	}
	*b = requestBody{own: own[:0]}
}

// reader returns the body from its beginning, for endpoints that are not spoken to in HTTP/1.
func (b *requestBody) reader(f *flow) io.Reader {
	switch {
	case b.none:
		return nil
	case !b.here:
		return &nextReader{f: f}
	case b.file == nil:
		return bytes.NewReader(b.mem)
	default:
		return io.MultiReader(bytes.NewReader(b.mem), io.NewSectionReader(b.file, 0, b.size-int64(len(b.mem))))
	}
}

// nextReader reads from a client.
type nextReader struct {
	f    *flow
	rest []byte
	sent bool
}

func (r *nextReader) Read(p []byte) (int, error) {
	if !r.sent {
		r.sent, r.f.body.used = true, true
		if err := r.f.down.invite(); err != nil {
			return 0, err
		}
	}
	for len(r.rest) == 0 {
		var err error
		if r.rest, err = r.f.down.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}
