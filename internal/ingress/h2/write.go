package h2

import "golang.org/x/net/http2"

// pending returns what waits to be written, to append to. It is called with mu.
func (c *Conn) pending() *[]byte {
	if c.out == nil {
		c.out = c.cfg.Buffers.getOut()
	}
	return c.out
}

// drop forgets what waits to be written. It is called with mu.
func (c *Conn) drop() {
	if c.out != nil {
		c.cfg.Buffers.putOut(c.out)
		c.out = nil
	}
}

// kick has what is pending written by another goroutine: the one that reads must not wait.
func (c *Conn) kick() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.out == nil || c.writing {
		return
	}
	c.writing = true
	go func() {
		yield()
		c.write(true)
	}()
}

// flush writes what is pending, after the goroutines that are ready have run and may have appended to it. on is whether
// the caller has more to do, so that another goroutine takes care of what the others append meanwhile.
func (c *Conn) flush(on bool) {
	c.mu.Lock()
	if c.out == nil || c.writing {
		c.mu.Unlock()
		return
	}
	c.writing = true
	c.mu.Unlock()
	yield()
	c.write(!on)
}

// write writes what is pending, and with all what comes meanwhile. writing is the caller's.
func (c *Conn) write(all bool) {
	c.mu.Lock()
	for c.out != nil && (c.err == nil || c.err == errDone || c.err == ErrClosed) {
		out := c.out
		c.out, c.owedControl = nil, 0
		if c.waiting > 0 {
			c.room.Broadcast()
		}
		c.writeFrom.Store(c.now())
		c.mu.Unlock()
		_, err := c.cfg.Conn.Write(*out)
		c.writeFrom.Store(0)
		c.cfg.Buffers.putOut(out)
		c.mu.Lock()
		if err != nil {
			c.drop()
			c.fail(err)
			_ = c.cfg.Abort() // the goroutine that reads has nothing more to read for
			break
		}
		if !all && c.out != nil {
			c.mu.Unlock()
			go c.write(true)
			return
		}
	}
	c.writing = false
	c.written.Broadcast()
	c.mu.Unlock()
}

// control is pending for frames that the other side has caused; it ends the connection of one that does not read them. It
// is called with mu.
func (c *Conn) control(size int) (*[]byte, error) {
	if c.owedControl += size; c.owedControl > controlMost {
		return nil, errFlood
	}
	return c.pending(), nil
}

// wait waits until the stream may be able to write, while others write what is pending. It is called with mu.
func (c *Conn) wait(s *Stream) {
	if c.out != nil && !c.writing {
		c.writing = true
		c.mu.Unlock()
		c.write(false)
		c.mu.Lock()
		return
	}
	// What others may write wakes this one as well: it is blocked by its own window for as long as that gives it nothing.
	if s.blocked == 0 || s.sendWindow > 0 {
		s.blocked = c.now()
	}
	c.waiting++
	c.room.Wait()
	c.waiting--
}

// credit gives back n bytes of the windows that were taken out of the buffers. It is called with mu, and reports whether
// there is something to flush.
func (c *Conn) credit(s *Stream, n int64) bool {
	if n == 0 || c.err != nil {
		return false
	}
	told := false
	if c.owed += n; c.owed >= c.cfg.Window/4 {
		out := c.pending()
		*out = appendWindow(*out, 0, c.owed)
		c.recvWindow += c.owed
		c.owed, told = 0, true
	}
	if s == nil || s.remoteEnd || s.err != nil {
		return told
	}
	if s.owed += n; s.owed >= c.cfg.StreamWindow/4 {
		out := c.pending()
		*out = appendWindow(*out, s.ID, s.owed)
		s.recvWindow += s.owed
		s.owed, told = 0, true
	}
	return told
}

// appendBlock appends a header block. It is called with mu.
func (c *Conn) appendBlock(id uint32, block []byte, end bool) {
	out := c.pending()
	if !c.tableTold {
		// The first block says that there is no dynamic table, so that the other side may forget it.
		c.tableTold = true
		block = append([]byte{emptyTable}, block...)
	}
	*out = appendHeaders(*out, id, block, end, min(c.mostFrame, maxFrame))
}

// appendReset appends a RST_STREAM, after which the stream's frames are passed over. It is called with mu.
func (c *Conn) appendReset(id uint32, code http2.ErrCode) {
	out := c.pending()
	*out = appendReset(*out, id, code)
	// Until the other side knows, it may send frames of all streams that it may have, and of as many that it opens in place of
	// those of which it has learnt.
	if most := max(2*c.cfg.MaxStreams, leastGone); len(c.gone) < most {
		c.gone = append(c.gone, id)
		return
	}
	c.gone[c.goneAt%len(c.gone)] = id
	c.goneAt++
}

// leastGone is how many streams that were reset are known at least.
const leastGone = 64

// wasReset tells whether this side has reset the stream lately. It is called with mu.
func (c *Conn) wasReset(id uint32) bool {
	for _, g := range c.gone {
		if g == id {
			return true
		}
	}
	return false
}
