package h2

import "golang.org/x/net/http2"

// takeHeaders takes HEADERS.
func (c *Conn) takeHeaders(f frame, p []byte) error {
	if f.stream == 0 {
		return connError{http2.ErrCodeProtocol, "HEADERS without a stream"}
	}
	p, err := f.unpad(p)
	if err != nil {
		return err
	}
	p, itself, err := f.unprioritize(p)
	if err != nil {
		return err
	}
	b := c.beginBlock(f.stream, f.flags&http2.FlagHeadersEndStream != 0)
	c.mu.Lock()
	err = c.purpose(b, f)
	c.mu.Unlock()
	if err != nil {
		return err
	}
	if itself && b.code == 0 {
		b.code = http2.ErrCodeProtocol
	}
	return c.decode(p, f.flags&http2.FlagHeadersEndHeaders != 0)
}

// purpose finds out what a header block is for. It is called with mu.
func (c *Conn) purpose(b *block, f frame) error {
	c.asked = 0
	s := c.streams[f.stream]
	switch {
	case s != nil && s.remoteEnd:
		b.code = http2.ErrCodeStreamClosed
	case s != nil:
		b.trailer = !c.cfg.Client || s.headed
		c.scratch.Reset()
		b.header = &c.scratch
	case !c.idle(f.stream) && (c.cfg.Client || f.stream > c.last || c.wasReset(f.stream)):
		// Its sender does not know yet that it was reset, or is not processed.
	case c.cfg.Client || f.stream%2 == 0:
		return connError{http2.ErrCodeProtocol, "HEADERS of a stream that cannot be"}
	case f.stream <= c.seen:
		return connError{http2.ErrCodeStreamClosed, "HEADERS of a stream that has ended"}
	case c.leaving == refusing || c.err != nil:
		c.seen = f.stream // and not processed
	default:
		c.seen, c.last = f.stream, f.stream
		c.open(b)
	}
	return nil
}

// open begins a stream of a client. It is called with mu.
func (c *Conn) open(b *block) {
	if len(c.streams)+1 > c.cfg.MaxStreams {
		b.code = http2.ErrCodeRefusedStream
		return
	}
	s := c.cfg.Buffers.getStream()
	s.begin(c, b.id)
	b.stream, b.header = s, &s.Header
}

func (c *Conn) takeContinuation(f frame, p []byte) error {
	b := &c.block
	if !b.open {
		return connError{http2.ErrCodeProtocol, "a CONTINUATION of nothing"}
	}
	if b.parts++; b.parts > mostContinue {
		return connError{http2.ErrCodeEnhanceYourCalm, "a header block in too many frames"}
	}
	return c.decode(p, f.flags&http2.FlagContinuationEndHeaders != 0)
}

// endBlock does what a header block is for.
func (c *Conn) endBlock() error {
	b := &c.block
	c.mu.Lock()
	defer c.mu.Unlock()
	if b.stream != nil {
		return c.beginStream(b)
	}
	switch {
	case c.err != nil:
		return nil
	case b.code != 0:
		return c.fault(b.id, b.code)
	case b.header == nil:
		return nil
	}
	s := c.streams[b.id]
	switch {
	case s == nil: // it was reset meanwhile
		return nil
	case b.broken || b.tooLarge || b.trailer && !b.end:
		return c.fault(b.id, http2.ErrCodeProtocol)
	case b.trailer:
		s.trailer, c.scratch = c.scratch, s.trailer
		return c.endRemote(s)
	}
	return c.takeAnswer(b, s)
}

// beginStream begins a client's stream once its header has come. It is called with mu.
func (c *Conn) beginStream(b *block) error {
	s := b.stream
	b.stream = nil
	c.guard.open()
	s.declared, s.TooLarge = b.declared, b.tooLarge
	refused := b.code
	switch {
	case refused != 0:
	case b.broken, !b.tooLarge && (!b.requestComplete(s) || b.end && b.declared > 0):
		refused = http2.ErrCodeProtocol
	}
	if refused != 0 || c.err != nil {
		s.put()
		if c.err != nil {
			return nil
		}
		return c.fault(b.id, refused)
	}
	joinCookies(&s.Header)
	if c.number++; len(c.fresh)+len(c.queue) > 4*c.cfg.MaxStreams {
		s.put()
		return errFlood // it resets streams faster than serving them ends
	}
	s.Number = c.number
	s.remoteEnd = b.end
	switch {
	case b.end:
		s.ContentLength = 0
	default:
		s.ContentLength = b.declared
	}
	c.streams[s.ID] = s
	c.fresh = append(c.fresh, s)
	return nil
}

// takeAnswer takes the header of an answer. It is called with mu.
func (c *Conn) takeAnswer(b *block, s *Stream) error {
	if b.pseudo != hasStatus || b.status == 101 || b.status < 200 && b.end {
		return c.fault(b.id, http2.ErrCodeProtocol)
	}
	if b.status < 200 {
		if len(s.interims) >= mostInterims {
			return c.fault(b.id, http2.ErrCodeEnhanceYourCalm)
		}
		s.addInterim(b.status, &c.scratch)
		s.cond.Broadcast()
		return nil
	}
	s.Header, c.scratch = c.scratch, s.Header
	s.Status, s.declared, s.headed = b.status, b.declared, true
	s.touched = c.now()
	s.ContentLength = b.declared
	bodiless := s.head || b.status == 204 || b.status == 304
	switch {
	case bodiless && b.end:
		s.declared = -1
	case bodiless:
		s.declared = 0 // an empty DATA frame may be the end (RFC 9113, 8.1.1), whatever Content-Length says
	case b.end && s.ContentLength < 0:
		s.ContentLength = 0
	}
	if b.end {
		return c.endRemote(s)
	}
	s.cond.Broadcast()
	return nil
}

// endRemote notes that the other side has ended the stream. It is called with mu.
func (c *Conn) endRemote(s *Stream) error {
	if s.declared >= 0 && s.got != s.declared {
		return c.fault(s.ID, http2.ErrCodeProtocol)
	}
	s.remoteEnd = true
	s.cond.Broadcast()
	if s.localEnd {
		c.forget(s.ID, s)
	}
	return nil
}
