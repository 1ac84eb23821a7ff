package h2

import (
	"encoding/binary"

	"golang.org/x/net/http2"
)

// take takes all frames that are here in full.
func (c *Conn) take() error {
	if !c.cfg.Client && c.started < len(http2.ClientPreface) {
		if err := c.takePreface(); err != nil || c.started < len(http2.ClientPreface) {
			return err
		}
	}
	for c.w-c.r >= frameHeaderSize {
		buf := (*c.in)[c.r:c.w]
		f := parseFrame(buf)
		if f.length > maxFrame {
			return connError{http2.ErrCodeFrameSize, "a frame that is too large"}
		}
		if len(buf) < frameHeaderSize+f.length {
			return nil
		}
		c.r += frameHeaderSize + f.length
		c.taken = true
		if err := c.frame(f, buf[frameHeaderSize:frameHeaderSize+f.length]); err != nil {
			return err
		}
	}
	return nil
}

// clock has a client's slow bytes timed, from when a frame, a header block or the first frame has begun to come.
func (c *Conn) clock() {
	switch from := c.slowFrom.Load(); {
	case c.block.open:
		c.slowFrom.Store(c.block.since)
	case c.w > c.r && (c.taken || from == 0):
		c.slowFrom.Store(c.heard.Load())
	case c.w == c.r && c.greeted && from != 0:
		c.slowFrom.Store(0)
	}
	c.taken = false
}

// takePreface takes what a client begins with (RFC 9113, 3.4).
func (c *Conn) takePreface() error {
	for c.r < c.w && c.started < len(http2.ClientPreface) {
		if (*c.in)[c.r] != http2.ClientPreface[c.started] {
			return connError{http2.ErrCodeProtocol, "it does not begin with the preface"}
		}
		c.r++
		c.started++
	}
	return nil
}

// frame takes one frame.
func (c *Conn) frame(f frame, p []byte) error {
	if !c.cfg.Client {
		if err := c.guard.count(f, c.heard.Load(), c.bodies.Load()); err != nil {
			return err
		}
	}
	if c.block.open && (f.kind != http2.FrameContinuation || f.stream != c.block.id) {
		return connError{http2.ErrCodeProtocol, "a frame amid a header block"}
	}
	if !c.greeted && f.kind != http2.FrameSettings {
		return connError{http2.ErrCodeProtocol, "it does not begin with SETTINGS"}
	}
	switch f.kind {
	case http2.FrameHeaders:
		return c.takeHeaders(f, p)
	case http2.FrameContinuation:
		return c.takeContinuation(f, p)
	case http2.FramePushPromise:
		return connError{http2.ErrCodeProtocol, "a PUSH_PROMISE, which nobody has asked for"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return nil // what still comes is of no use
	}
	switch f.kind {
	case http2.FrameData:
		return c.takeData(f, p)
	case http2.FrameSettings:
		return c.takeSettings(f, p)
	case http2.FrameWindowUpdate:
		return c.takeWindow(f, p)
	case http2.FramePing:
		return c.takePing(f, p)
	case http2.FrameRSTStream:
		return c.takeReset(f, p)
	case http2.FrameGoAway:
		return c.takeGoAway(f, p)
	case http2.FramePriority:
		return c.takePriority(f, p)
	default:
		return nil // RFC 9113, 5.5
	}
}

// fault resets a stream for what the other side does, and counts that. It is called with mu.
func (c *Conn) fault(id uint32, code http2.ErrCode) error {
	if s := c.streams[id]; s != nil {
		s.reset(code)
		s.end(ErrMalformed)
		c.forget(id, s)
	} else {
		if _, err := c.control(frameHeaderSize + 4); err != nil {
			return err
		}
		c.appendReset(id, code)
	}
	if c.cfg.Client {
		return nil
	}
	return c.guard.fault()
}

// idle tells whether a stream has not begun. It is called with mu.
func (c *Conn) idle(id uint32) bool {
	if c.cfg.Client {
		return id%2 == 0 || id >= c.next
	}
	return id%2 == 0 || id > c.seen
}

// takeData takes DATA. It is called with mu.
func (c *Conn) takeData(f frame, p []byte) error {
	if f.stream == 0 || c.idle(f.stream) {
		return connError{http2.ErrCodeProtocol, "DATA without a stream"}
	}
	c.asked = 0
	size := int64(f.length)
	p, err := f.unpad(p)
	if err != nil {
		return err
	}
	if size > c.recvWindow {
		return connError{http2.ErrCodeFlowControl, "more bytes than the connection's window allows"}
	}
	c.recvWindow -= size
	s := c.streams[f.stream]
	if s == nil || s.remoteEnd || s.stopped || c.cfg.Client && !s.headed {
		c.credit(nil, size)
		if s == nil && (c.wasReset(f.stream) || !c.cfg.Client && f.stream > c.last) {
			return nil
		}
		if s != nil && s.stopped && !s.remoteEnd {
			return nil // StopReading was called, and the stream is about to be reset
		}
		code := http2.ErrCodeStreamClosed
		if s != nil && !s.remoteEnd {
			code = http2.ErrCodeProtocol
		}
		return c.fault(f.stream, code)
	}
	if size > s.recvWindow {
		c.credit(nil, size)
		return c.fault(f.stream, http2.ErrCodeFlowControl)
	}
	s.recvWindow -= size
	s.got += int64(len(p))
	if s.declared >= 0 && s.got > s.declared {
		c.credit(nil, size)
		return c.fault(f.stream, http2.ErrCodeProtocol)
	}
	c.credit(s, size-int64(len(p)))
	s.in = append(s.in, p...)
	s.touched = c.now()
	if f.flags&http2.FlagDataEndStream != 0 {
		return c.endRemote(s)
	}
	s.cond.Broadcast()
	return nil
}

// takeWindow takes WINDOW_UPDATE. It is called with mu.
func (c *Conn) takeWindow(f frame, p []byte) error {
	if len(p) != 4 {
		return connError{http2.ErrCodeFrameSize, "a WINDOW_UPDATE of a wrong size"}
	}
	n := int64(binary.BigEndian.Uint32(p) & (1<<31 - 1))
	if f.stream == 0 {
		if n == 0 {
			return connError{http2.ErrCodeProtocol, "a window that grows by nothing"}
		}
		if c.sendWindow += n; c.sendWindow > maxWindow {
			return connError{http2.ErrCodeFlowControl, "a window that is too large"}
		}
		c.room.Broadcast()
		return nil
	}
	if c.idle(f.stream) {
		return connError{http2.ErrCodeProtocol, "a WINDOW_UPDATE of a stream that has not begun"}
	}
	s := c.streams[f.stream]
	switch {
	case s == nil:
		return nil
	case n == 0:
		return c.fault(f.stream, http2.ErrCodeProtocol)
	}
	if s.sendWindow += n; s.sendWindow > maxWindow {
		return c.fault(f.stream, http2.ErrCodeFlowControl)
	}
	if s.blocked != 0 {
		c.room.Broadcast()
	}
	return nil
}

// takeSettings takes SETTINGS. It is called with mu.
func (c *Conn) takeSettings(f frame, p []byte) error {
	switch {
	case f.stream != 0:
		return connError{http2.ErrCodeProtocol, "SETTINGS of a stream"}
	case f.flags&http2.FlagSettingsAck != 0:
		if len(p) > 0 {
			return connError{http2.ErrCodeFrameSize, "an acknowledgement with settings"}
		}
		if !c.greeted {
			return connError{http2.ErrCodeProtocol, "it does not begin with SETTINGS"}
		}
		return nil
	case len(p)%6 != 0:
		return connError{http2.ErrCodeFrameSize, "SETTINGS of a wrong size"}
	case len(p) > 6*mostSettings:
		return connError{http2.ErrCodeEnhanceYourCalm, "too many settings in one frame"}
	}
	if !c.greeted {
		c.greeted, c.mostStreams = true, mostStreams
	}
	for ; len(p) > 0; p = p[6:] {
		if err := c.setting(http2.SettingID(binary.BigEndian.Uint16(p)), binary.BigEndian.Uint32(p[2:])); err != nil {
			return err
		}
	}
	out, err := c.control(frameHeaderSize)
	if err != nil {
		return err
	}
	*out = appendFrame(*out, 0, http2.FrameSettings, http2.FlagSettingsAck, 0)
	return nil
}

// setting takes one setting. It is called with mu.
func (c *Conn) setting(id http2.SettingID, v uint32) error {
	switch id {
	case http2.SettingEnablePush:
		if v > 1 || c.cfg.Client && v != 0 {
			return connError{http2.ErrCodeProtocol, "a setting of push that cannot be"}
		}
	case http2.SettingMaxConcurrentStreams:
		c.mostStreams = int(min(v, 1<<20))
	case http2.SettingMaxFrameSize:
		if v < 1<<14 || v > 1<<24-1 {
			return connError{http2.ErrCodeProtocol, "a largest frame that cannot be"}
		}
		c.mostFrame = int(v)
	case http2.SettingInitialWindowSize:
		if v > maxWindow {
			return connError{http2.ErrCodeFlowControl, "a window that is too large"}
		}
		grown := int64(v) - c.streamWindow
		c.streamWindow = int64(v)
		for _, s := range c.streams {
			if s.sendWindow += grown; s.sendWindow > maxWindow {
				return connError{http2.ErrCodeFlowControl, "a window that grows too large"}
			}
		}
		c.room.Broadcast()
	}
	return nil
}

// takePing takes PING. It is called with mu.
func (c *Conn) takePing(f frame, p []byte) error {
	switch {
	case f.stream != 0:
		return connError{http2.ErrCodeProtocol, "a PING of a stream"}
	case len(p) != 8:
		return connError{http2.ErrCodeFrameSize, "a PING of a wrong size"}
	case f.flags&http2.FlagPingAck != 0:
		if [8]byte(p) == pingData {
			c.pingAt = 0
			if c.leaving == asking {
				c.refuse() // what was on its way when it was sent has come
			}
		}
		return nil
	}
	out, err := c.control(frameHeaderSize + 8)
	if err != nil {
		return err
	}
	*out = appendPing(*out, http2.FlagPingAck, [8]byte(p))
	return nil
}

// takeReset takes RST_STREAM. It is called with mu.
func (c *Conn) takeReset(f frame, p []byte) error {
	switch {
	case len(p) != 4:
		return connError{http2.ErrCodeFrameSize, "a RST_STREAM of a wrong size"}
	case f.stream == 0 || c.idle(f.stream):
		return connError{http2.ErrCodeProtocol, "a RST_STREAM of a stream that has not begun"}
	}
	s := c.streams[f.stream]
	if s == nil {
		return nil
	}
	err := ErrReset
	if http2.ErrCode(binary.BigEndian.Uint32(p)) == http2.ErrCodeRefusedStream {
		err = ErrUnprocessed
	}
	s.end(err)
	c.forget(f.stream, s)
	if c.cfg.Client || s.localEnd {
		return nil // the whole answer was of use
	}
	return c.guard.fault()
}

// takeGoAway takes GOAWAY. It is called with mu.
func (c *Conn) takeGoAway(f frame, p []byte) error {
	switch {
	case f.stream != 0:
		return connError{http2.ErrCodeProtocol, "a GOAWAY of a stream"}
	case len(p) < 8:
		return connError{http2.ErrCodeFrameSize, "a GOAWAY of a wrong size"}
	case !c.cfg.Client:
		return nil // this side opens no streams, and the client ends the connection when it has what it wants
	}
	c.away, c.told = true, true
	last := binary.BigEndian.Uint32(p) & (1<<31 - 1)
	for id, s := range c.streams {
		if id > last {
			s.end(ErrUnprocessed)
			c.forget(id, s)
		}
	}
	c.restOrLeave()
	return nil
}

// takePriority takes PRIORITY, which says nothing any more (RFC 9113, 5.3.2). It is called with mu.
func (c *Conn) takePriority(f frame, p []byte) error {
	switch {
	case f.stream == 0:
		return connError{http2.ErrCodeProtocol, "a PRIORITY without a stream"}
	case len(p) != 5:
		return c.fault(f.stream, http2.ErrCodeFrameSize)
	case binary.BigEndian.Uint32(p)&(1<<31-1) == f.stream:
		return c.fault(f.stream, http2.ErrCodeProtocol)
	}
	return nil
}
