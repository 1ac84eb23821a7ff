package h2

import "golang.org/x/net/http2"

// Look ends what has taken too long. It is called now and then, by any goroutine, until Run has returned.
func (c *Conn) Look(now int64) {
	if from := c.writeFrom.Load(); from != 0 && c.cfg.Send > 0 && now-from > int64(c.cfg.Send) {
		_ = c.cfg.Abort() // whoever writes, and who reads, are told
		return
	}
	if from := c.slowFrom.Load(); from != 0 && c.cfg.Header > 0 && now-from > int64(c.cfg.Header) {
		_ = c.cfg.Abort() // a client that is so slow has nothing to be told
		return
	}
	c.mu.Lock()
	if c.err == nil {
		c.look(now)
	}
	c.mu.Unlock()
	c.kick()
}

// look is called with mu.
func (c *Conn) look(now int64) {
	heard := c.heard.Load()
	for id, s := range c.streams {
		late := s.reading && s.Patience > 0 && now-s.touched > int64(s.Patience) ||
			s.blocked != 0 && c.cfg.Send > 0 && now-s.blocked > int64(c.cfg.Send)
		if late && !s.forgotten {
			s.lapse()
			if s.err != nil {
				c.forget(id, s)
			}
		}
	}
	if c.leaving == asking && now-c.leavingAt > leaveAfter {
		c.refuse()
		c.restOrLeave()
	}
	quiet := len(c.streams) == 0 && c.serving == 0 && c.reserved == 0
	if quiet && c.parked > c.retiring && now-c.idleFrom > parkFor {
		c.retire()
	}
	switch {
	case c.err != nil:
	case quiet && c.cfg.Idle > 0 && now-c.idleFrom > int64(c.cfg.Idle):
		c.refuse()
		c.leave()
	case c.pingAt != 0 && heard > c.pingAt:
		c.pingAt = 0
	case c.pingAt != 0 && c.cfg.Ping > 0 && now-c.pingAt > int64(c.cfg.Ping):
		c.fail(ErrClosed)
		_ = c.cfg.Abort()
	case c.pingAt == 0 && !quiet && c.cfg.Silence > 0 && now-heard > int64(c.cfg.Silence) && (c.asked == 0 || now-c.asked > askAgain):
		c.asked = now
		c.ping(now)
	}
}

// lapse ends a stream that has waited too long. It is called with mu.
func (s *Stream) lapse() {
	if s.reading && !s.c.cfg.Client {
		// The client can still be told.
		s.late = true
		s.cond.Broadcast()
		return
	}
	s.reset(http2.ErrCodeCancel)
	s.end(ErrTimeout)
}

func (c *Conn) ping(now int64) {
	c.pingAt = now
	out := c.pending()
	*out = appendPing(*out, 0, pingData)
}

// Shutdown ends the connection when its streams have ended. The other side is told to open no more of them; those that are
// on their way are served.
func (c *Conn) Shutdown() {
	c.mu.Lock()
	if c.err == nil && c.leaving == staying {
		if c.cfg.Client {
			c.away = true // it has no streams of the other side to wait for
			c.restOrLeave()
		} else {
			now := c.now()
			c.leaving, c.leavingAt = asking, now
			out := c.pending()
			*out = appendGoAway(*out, maxWindow, http2.ErrCodeNo)
			c.ping(now)
		}
	}
	c.mu.Unlock()
	c.kick()
}

// refuse has the streams not served that come from now on. It is called with mu.
func (c *Conn) refuse() {
	if c.leaving == refusing {
		return
	}
	c.leaving = refusing
	out := c.pending()
	*out = appendGoAway(*out, c.last, http2.ErrCodeNo)
	c.restOrLeave()
}
