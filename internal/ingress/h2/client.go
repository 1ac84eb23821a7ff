package h2

import (
	"golang.org/x/net/http2"

	"minato/internal/ingress/h1"
)

// Reserve takes room for one stream, which Open uses or Unreserve gives back. It reports false if the connection can take no
// more, now or at all.
func (c *Conn) Reserve() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil || c.away || len(c.streams)+c.reserved >= c.mostStreams || c.next > maxWindow-2*uint32(c.reserved) {
		return false
	}
	c.reserved++
	return true
}

// Unreserve gives the room back that Reserve has taken.
func (c *Conn) Unreserve() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved--
	c.restOrLeave()
}

// Usable tells whether the connection may take streams, if not now.
func (c *Conn) Usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil && !c.away
}

// Open opens a stream in the room that Reserve has taken, and sends the request's head; end is whether it has no body. It may
// wait until the next flush. Close has to be called.
func (c *Conn) Open(q *Request, end bool) (*Stream, error) {
	s := c.cfg.Buffers.getStream()
	s.block = appendRequest(s.block[:0], q)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reserved--
	if c.err != nil || c.told {
		// The other side would pass over a stream that comes after its GOAWAY (RFC 9113, 6.8).
		s.c = c
		s.put()
		c.restOrLeave()
		return nil, ErrUnprocessed
	}
	id := c.next
	c.next += 2
	s.begin(c, id)
	s.head = q.Method == "HEAD"
	c.streams[id] = s
	c.appendBlock(id, s.block, end)
	if end {
		s.localEnd = true
	}
	return s, nil
}

// Head waits for the answer's head. Answers of 1xx are given to interim as they come, which may be nil.
func (s *Stream) Head(interim func(status int, h *h1.Header) error) error {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	for {
		if len(s.interims) > 0 {
			first := s.interims[0]
			s.interims = s.interims[1:]
			if interim == nil {
				continue
			}
			c.mu.Unlock()
			err := interim(first.status, first.header)
			c.mu.Lock()
			if err != nil {
				return err
			}
			continue
		}
		switch {
		case s.failed():
			return s.err
		case s.headed:
			return nil
		}
		s.reading, s.touched = true, max(s.touched, c.now())
		s.cond.Wait()
		s.reading = false
	}
}

// Abort ends the stream with ErrReset; for Watch of another one.
func (s *Stream) Abort() {
	c := s.c
	c.mu.Lock()
	if s.err == nil && !s.forgotten {
		s.reset(http2.ErrCodeCancel)
		s.end(ErrReset)
		c.forget(s.ID, s)
	}
	c.mu.Unlock()
}

// Close ends the use of the stream; nobody may call it any more. One that has not ended is reset.
func (s *Stream) Close() {
	c := s.c
	c.mu.Lock()
	if s.err == nil && !s.forgotten {
		s.reset(http2.ErrCodeCancel)
		s.end(ErrClosed)
		c.forget(s.ID, s)
	}
	s.put()
	c.mu.Unlock()
	c.flush(false)
}

// Ended tells whether nothing of the answer is to come behind what was taken, no trailer either.
func (s *Stream) Ended() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.remoteEnd && len(s.in) == 0 && s.trailer.Len() == 0
}

// Ready tells whether Next would not wait.
func (s *Stream) Ready() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return len(s.in) > 0 || s.readError() != nil
}
