package h2

import (
	"context"
	"io"
	"sync"
	"time"

	"golang.org/x/net/http2"

	"minato/internal/ingress/h1"
)

// Stream is one request and its answer. Of a client's, the exported fields are the request's until Serve returns; of one
// that was opened, Status, Header and ContentLength are the answer's once Head has returned, until Close. Its methods may be
// called by two goroutines: one that reads and one that writes.
type Stream struct {
	ID uint32
	// Number is how many streams the connection has had with this one.
	Number                          int
	Method, Scheme, Authority, Path string
	Status                          int
	Header                          h1.Header
	// ContentLength is -1 if the body's length is not known.
	ContentLength int64
	// TooLarge tells that the header is larger than MaxHeader; what Header has of it is of no use.
	TooLarge bool
	// Patience is how long a body or an answer may be without a byte. 0 is without bound.
	Patience time.Duration

	c     *Conn
	block []byte // of the goroutine that writes

	// Of c.mu.
	cond       sync.Cond // of the goroutine that reads
	trailer    h1.Header
	interims   []interim
	in, view   []byte // bytes of the body that were not taken, and those that Next has handed out
	declared   int64  // length of the body; -1 if it is not known
	got        int64
	recvWindow int64
	owed       int64
	sendWindow int64
	blocked    int64 // since when it waits to write
	touched    int64 // when bytes came or went
	reading    bool  // it waits to read
	head       bool  // the request is a HEAD, whose answer has no body
	headed     bool  // an answer's header has come
	remoteEnd  bool
	localEnd   bool
	stopped    bool
	late       bool // the body has not come in time
	forgotten  bool
	err        error
	kept       bool
	watch      func()
	ctx        *streamContext
}

// interim is an answer of 1xx.
type interim struct {
	status int
	header *h1.Header
}

// mostInterims bounds the answers of 1xx that were not taken.
const mostInterims = 8

func (s *Stream) addInterim(status int, h *h1.Header) {
	own := &h1.Header{}
	h.CopyTo(own)
	s.interims = append(s.interims, interim{status, own})
}

// begin makes s a stream of the connection. It is called with mu.
func (s *Stream) begin(c *Conn, id uint32) {
	s.c, s.ID = c, id
	s.cond.L = &c.mu
	s.declared, s.ContentLength = -1, -1
	s.recvWindow, s.sendWindow = c.cfg.StreamWindow, c.streamWindow
	s.touched = c.now()
}

// put gives s back. Nobody may know it any more.
func (s *Stream) put() {
	if s.kept {
		return
	}
	b := s.c.cfg.Buffers
	header, trailer, in, view, block := s.Header, s.trailer, s.in[:0], s.view[:0], s.block[:0]
	header.Reset()
	trailer.Reset()
	if cap(in)+cap(view) > keepBody {
		in, view = nil, nil
	}
	*s = Stream{Header: header, trailer: trailer, in: in, view: view, block: block}
	b.streams.Put(s)
}

// end ends the stream for both sides. It is called with mu.
func (s *Stream) end(err error) {
	if s.err != nil {
		return
	}
	s.err = err
	s.cond.Broadcast()
	if s.blocked != 0 {
		s.c.room.Broadcast()
	}
	if s.watch != nil {
		s.watch()
		s.watch = nil
	}
	if s.ctx != nil {
		s.ctx.cancel()
	}
}

// reset sends RST_STREAM. It is called with mu.
func (s *Stream) reset(code http2.ErrCode) {
	if s.c.err == nil {
		s.c.appendReset(s.ID, code)
	}
}

// Watch has f called once if the stream ends before Unwatch: the other side has reset it, or its connection is gone. f must
// not wait, and not call the stream.
func (s *Stream) Watch(f func()) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.err != nil {
		f()
		return
	}
	s.watch = f
}

// Unwatch ends Watch. It reports false if the stream has ended.
func (s *Stream) Unwatch() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.watch = nil
	return s.err == nil
}

// Keep has the stream not used again for another request: a fault has ended its serving, and somebody may still know it.
func (s *Stream) Keep() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.kept = true
	s.watch = nil
}

// Err is why the stream has ended; nil as long as it has not.
func (s *Stream) Err() error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.err
}

// Context ends with the stream. It may be kept longer.
func (s *Stream) Context() context.Context {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.ctx == nil {
		parent := s.c.cfg.Context
		if parent == nil {
			parent = context.Background()
		}
		s.ctx = &streamContext{parent: parent}
		if s.err != nil {
			s.ctx.cancel()
		}
	}
	return s.ctx
}

// Next returns the next bytes of the body, as a view until the next call, and io.EOF at its end.
func (s *Stream) Next() ([]byte, error) {
	c := s.c
	c.mu.Lock()
	for len(s.in) == 0 || s.failed() {
		if err := s.readError(); err != nil {
			c.mu.Unlock()
			return nil, err
		}
		s.reading, s.touched = true, c.now()
		s.cond.Wait()
		s.reading = false
	}
	s.in, s.view = s.view[:0], s.in
	told := !s.forgotten && c.credit(s, int64(len(s.view)))
	c.mu.Unlock()
	if told {
		c.flush(true)
	}
	return s.view, nil
}

// failed tells that what was received is of no use any more. An answer that has come whole is, whatever comes after it.
func (s *Stream) failed() bool {
	return s.stopped || s.err != nil && !(s.c.cfg.Client && s.remoteEnd)
}

// readError is why nothing more is to be read; nil if something may come.
func (s *Stream) readError() error {
	switch {
	case s.stopped:
		return ErrStopped
	case s.failed():
		return s.err
	case s.remoteEnd:
		return io.EOF
	case s.late:
		return ErrTimeout
	}
	return nil
}

// Ahead returns the whole body as a view until the stream's end, if all of it is here and none was read.
func (s *Stream) Ahead() ([]byte, bool) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if !s.remoteEnd || s.failed() || int64(len(s.in)) != s.got {
		return nil, false
	}
	s.in, s.view = s.view[:0], s.in
	s.got = 0 // once
	if !s.forgotten {
		c.credit(nil, int64(len(s.view)))
	}
	return s.view, true
}

// Begun tells whether some of the body has come, or its end.
func (s *Stream) Begun() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.got > 0 || s.remoteEnd
}

// StopReading ends a Next that waits, and all that follow.
func (s *Stream) StopReading() {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	s.stopped = true
	s.cond.Broadcast()
}

// Trailer is that of the other side's message, after Next has returned io.EOF.
func (s *Stream) Trailer() *h1.Header { return &s.trailer }

// WriteHead sends the head of an answer; more follows unless end is set. It may wait until the next flush. A length of less
// than 0 is not told. Status 1xx is followed by another head.
func (s *Stream) WriteHead(status int, h *h1.Header, length int64, end bool) error {
	s.block = appendFields(appendStatus(s.block[:0], status), h)
	if length >= 0 {
		s.block = appendLength(s.block, length)
	}
	return s.writeBlock(end)
}

// WriteTrailer ends this side's message with a trailer.
func (s *Stream) WriteTrailer(h *h1.Header) error {
	s.block = appendFields(s.block[:0], h)
	return s.writeBlock(true)
}

func (s *Stream) writeBlock(end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if err := s.writeError(); err != nil {
			return err
		}
		s.blocked = 0
		if c.out == nil || len(*c.out) < outMost {
			break
		}
		c.wait(s)
	}
	c.appendBlock(s.ID, s.block, end)
	if end {
		s.endLocal()
	}
	return nil
}

// endLocal notes that this side has ended the stream. It is called with mu.
func (s *Stream) endLocal() {
	s.localEnd = true
	if s.remoteEnd && !s.forgotten {
		s.c.forget(s.ID, s)
	}
}

// writeError is why nothing can be written.
func (s *Stream) writeError() error {
	switch {
	case s.err != nil:
		return s.err
	case s.c.err != nil:
		return ErrClosed
	case s.localEnd:
		return io.ErrClosedPipe
	}
	return nil
}

// Write sends bytes of the body, the last ones if end is set. What it sends may wait until the next flush; it waits itself
// as long as the other side takes nothing.
func (s *Stream) Write(p []byte, end bool) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(p) > 0 || end {
		if err := s.writeError(); err != nil {
			return err
		}
		// A window is below 0 once the other side has made those of streams smaller (RFC 9113, 6.9.2).
		n := int(max(0, min(int64(len(p)), s.sendWindow, c.sendWindow, int64(c.mostFrame), maxFrame)))
		if len(p) > 0 && n == 0 || c.out != nil && len(*c.out) >= outMost {
			c.wait(s)
			continue
		}
		s.blocked = 0
		out := c.pending()
		flags := http2.Flags(0)
		last := end && n == len(p)
		if last {
			flags = http2.FlagDataEndStream
		}
		*out = append(appendFrame(*out, n, http2.FrameData, flags, s.ID), p[:n]...)
		s.sendWindow -= int64(n)
		c.sendWindow -= int64(n)
		s.touched = c.now()
		c.bodies.Add(1)
		p = p[n:]
		if last {
			s.endLocal()
			return nil
		}
	}
	return nil
}

// Flush has what was written sent.
func (s *Stream) Flush() error {
	s.c.flush(true)
	return s.Err()
}

// streamContext is the context of a stream. Its channel is made when somebody asks for it.
type streamContext struct {
	parent context.Context
	mu     sync.Mutex
	done   chan struct{}
	err    error
}

// Deadline implements context.Context.
func (x *streamContext) Deadline() (time.Time, bool) { return x.parent.Deadline() }

// Value implements context.Context.
func (x *streamContext) Value(key any) any { return x.parent.Value(key) }

// Done implements context.Context.
func (x *streamContext) Done() <-chan struct{} {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.done == nil {
		x.done = make(chan struct{})
		if x.err != nil {
			close(x.done)
		}
	}
	return x.done
}

// Err implements context.Context.
func (x *streamContext) Err() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.err
}

func (x *streamContext) cancel() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.err != nil {
		return
	}
	x.err = context.Canceled
	if x.done != nil {
		close(x.done)
	}
}
