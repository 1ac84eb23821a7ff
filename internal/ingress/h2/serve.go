package h2

import (
	"runtime"
	"time"

	"golang.org/x/net/http2"
)

// begin has the streams served that have come with what was read, and what has to be written for it written.
func (c *Conn) begin() {
	if len(c.fresh) > 0 {
		c.mu.Lock()
		for i, s := range c.fresh {
			c.fresh[i] = nil
			if c.err != nil {
				s.put()
				continue
			}
			if c.serving >= c.cfg.MaxStreams {
				c.queue = append(c.queue, s)
				continue
			}
			c.start(s)
		}
		c.mu.Unlock()
		c.fresh = c.fresh[:0]
	}
	c.kick()
}

// start has a stream served. It is called with mu.
func (c *Conn) start(s *Stream) {
	c.serving++
	if c.parked-c.retiring > len(c.ready) {
		c.ready = append(c.ready, s)
		c.work.Signal()
		return
	}
	c.served.Add(1)
	go c.serve(s)
}

// serve serves a stream, and then others.
func (c *Conn) serve(s *Stream) {
	defer c.served.Done()
	for s != nil {
		c.cfg.Serve(s)
		s = c.after(s)
		c.flush(s != nil)
		if s == nil {
			s = c.park()
		}
	}
}

const (
	// mostParked is how many goroutines wait for a stream at most, because their stacks have grown to what serving one takes.
	mostParked = 32
	// parkFor is how long they do on a connection without streams.
	parkFor = int64(2 * time.Second)
)

// park waits for another stream; it returns nil if the goroutine is to end.
func (c *Conn) park() *Stream {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.parked >= mostParked {
		return nil
	}
	c.parked++
	defer func() { c.parked-- }()
	for {
		switch {
		case c.err != nil:
			return nil
		case len(c.ready) > 0:
			s := c.ready[0]
			c.ready = c.ready[:copy(c.ready, c.ready[1:])]
			return s
		case c.retiring > 0:
			c.retiring--
			return nil
		}
		c.work.Wait()
	}
}

// retire has the goroutines end that are parked. It is called with mu.
func (c *Conn) retire() {
	c.retiring = c.parked
	c.work.Broadcast()
}

// after ends a stream that was served, and returns another one that waits for that.
func (c *Conn) after(s *Stream) (next *Stream) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case s.err != nil:
	case !s.localEnd:
		s.reset(http2.ErrCodeInternal)
	case !s.remoteEnd:
		s.reset(http2.ErrCodeNo) // the rest of the body is of no use (RFC 9113, 8.1)
	}
	s.end(ErrClosed)
	if c.streams[s.ID] == s {
		c.forget(s.ID, s)
	}
	s.put()
	if n := len(c.queue); n > 0 && c.err == nil {
		next = c.queue[0]
		c.queue = c.queue[:copy(c.queue, c.queue[1:])]
		return next
	}
	c.serving--
	c.restOrLeave()
	return nil
}

// yield lets the goroutines run that are ready.
func yield() { runtime.Gosched() }
