package h2

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"minato/internal/host/socket"
	"minato/internal/ingress/h1"
)

// Config describes a connection.
type Config struct {
	// Client is whether this side has opened the connection.
	Client bool
	// Conn is what is spoken on. It is closed when Run ends. Abort closes it at once, without a word to the other side.
	Conn  net.Conn
	Abort func() error
	// Raw is Conn's where it is a socket; a connection that is idle then holds no buffer and needs no call more.
	Raw     syscall.RawConn
	Buffers *Buffers
	// Context is what the streams' contexts have their values from. nil is none.
	Context context.Context
	// Serve serves a stream of a client. It is called on a goroutine of its own.
	Serve func(*Stream)
	// MaxStreams is how many streams a client may have at once, and MaxHeader how large a header may be, in bytes as RFC 9113,
	// 6.5.2 counts them.
	MaxStreams, MaxHeader int
	// StreamWindow and Window are how many bytes of bodies may be on their way, on one stream and on all.
	StreamWindow, Window int64
	// Idle is how long a connection may be without a stream, Header how long a header block may take, and Send how
	// long the other side may take to accept some of what is sent. 0 is without bound.
	Idle, Header, Send time.Duration
	// Silence is after how long without a frame the other side is asked whether it is there, for which it has Ping.
	Silence, Ping time.Duration
	// Now is a monotonic clock in nanoseconds.
	Now func() int64
}

// Conn is a connection.
type Conn struct {
	cfg Config
	now func() int64

	// Of the goroutine that reads.
	in      *[]byte
	r, w    int
	step    func(fd uintptr) bool
	stepN   int
	stepErr error
	dec     *hpack.Decoder
	block   block
	scratch h1.Header // of a block that begins no stream
	guard   guard
	fresh   []*Stream // whose serving has not begun
	greeted bool      // the other side's SETTINGS have come
	started int       // bytes of the preface that have come

	taken bool // a frame was taken of what was read last

	heard     atomic.Int64 // when the last bytes came
	slowFrom  atomic.Int64 // when that began to come of which not all has come; 0 is nothing
	writeFrom atomic.Int64 // since when a write is under way; 0 if none is
	bodies    atomic.Int64 // frames of bodies that were sent

	mu      sync.Mutex
	gone    []uint32 // streams that this side has reset lately
	goneAt  int
	room    sync.Cond // of streams that wait to write
	waiting int       // how many of them
	out     *[]byte   // what waits to be written; nil if nothing does
	writing bool      // somebody takes care of it
	written sync.Cond // signalled when nobody does any more
	err     error     // why nothing goes any more

	streams      map[uint32]*Stream
	queue        []*Stream // that wait for others to be served
	serving      int
	ready        []*Stream // that parked goroutines are about to serve
	parked       int       // goroutines that wait for a stream
	retiring     int       // those of them that are to end
	work         sync.Cond // of theirs
	served       sync.WaitGroup
	number       int    // of requests
	last, seen   uint32 // of the client's streams: those that are processed, and all
	next         uint32 // stream of this side
	reserved     int
	sendWindow   int64
	recvWindow   int64
	owed         int64 // of recvWindow, not told yet
	owedControl  int   // bytes of frames in out that the other side has caused
	streamWindow int64 // that a stream of the other side begins with
	mostFrame    int
	mostStreams  int
	tableTold    bool
	leaving      leaving
	leavingAt    int64
	idleFrom     int64
	pingAt       int64 // of a ping that was not answered; 0 is none
	asked        int64 // when the other side was asked whether it is there; 0 is not since the last frame of a stream
	away         bool  // nothing more is reserved
	told         bool  // a GOAWAY came
}

// leaving is how far a connection's end is prepared.
type leaving uint8

const (
	staying  leaving = iota
	asking           // the other side was told to open no more streams, and those that are on their way are served
	refusing         // streams that come are not served
)

const (
	maxWindow     = 1<<31 - 1
	initialWindow = 1<<16 - 1
	// What this side opens before the other side has told how many streams it takes, and after that if it does not say.
	firstStreams = 100
	mostStreams  = 1000
	// outMost is what waits to be written before streams wait.
	outMost = 64 << 10
	// controlMost is what waits of frames that the other side has caused and does not take.
	controlMost = 64 << 10
	// askAgain is how long a side that answers pings and is silent otherwise is not asked again: servers of gRPC end connections
	// with pings that come more often than every five minutes.
	askAgain = int64(6 * time.Minute)
	// leaveAfter is how long streams may come that were on their way when a GOAWAY was sent.
	leaveAfter = int64(time.Second)
	// lingerFor is how long the other side has to read the last bytes.
	lingerFor = time.Second
	// lingerMost is how much it may send meanwhile.
	lingerMost = 256 << 10
)

// pingData tells an answer to this side's ping from any other.
var pingData = [8]byte{'m', 'i', 'n', 'a', 't', 'o', 'h', '2'}

// New makes a connection. It starts nothing; a client's can have streams opened before Run is called.
func New(cfg Config) *Conn {
	c := &Conn{
		cfg: cfg, now: cfg.Now, streams: map[uint32]*Stream{}, next: 1,
		sendWindow: initialWindow, recvWindow: max(cfg.Window, initialWindow), streamWindow: initialWindow,
		mostFrame: maxFrame, mostStreams: firstStreams,
	}
	c.room.L, c.written.L, c.work.L = &c.mu, &c.mu, &c.mu
	c.dec = hpack.NewDecoder(4096, c.emit)
	c.dec.SetMaxStringLength(cfg.MaxHeader)
	c.step = c.readRaw
	now := c.now()
	c.heard.Store(now)
	c.slowFrom.Store(now)
	c.idleFrom = now
	c.greet()
	return c
}

// greet appends what each side begins with.
func (c *Conn) greet() {
	out := c.pending()
	settings := []http2.Setting{
		{ID: http2.SettingInitialWindowSize, Val: uint32(c.cfg.StreamWindow)},
		{ID: http2.SettingMaxHeaderListSize, Val: uint32(c.cfg.MaxHeader)},
	}
	if c.cfg.Client {
		*out = append(*out, http2.ClientPreface...)
		settings = append(settings, http2.Setting{ID: http2.SettingEnablePush})
	} else {
		settings = append(settings, http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: uint32(c.cfg.MaxStreams)})
	}
	*out = appendSettings(*out, settings...)
	if more := c.recvWindow - initialWindow; more > 0 {
		*out = appendWindow(*out, 0, more)
	}
}

// Run reads and serves the connection to its end. It returns when every stream was served and the connection is closed.
func (c *Conn) Run() {
	c.kick()
	err := c.read()
	var broken connError
	switch {
	case errors.As(err, &broken):
		c.mu.Lock()
		if c.err == nil {
			out := c.pending()
			*out = appendGoAway(*out, c.last, broken.code)
		}
		c.fail(ErrClosed)
		c.mu.Unlock()
		c.part(broken.code != http2.ErrCodeEnhanceYourCalm)
	case err == errDone:
		c.mu.Lock()
		c.fail(ErrClosed)
		c.mu.Unlock()
		c.part(true)
	default:
		c.mu.Lock()
		c.drop()
		c.fail(ErrClosed)
		c.mu.Unlock()
		_ = c.cfg.Abort()
	}
	_ = c.cfg.Conn.Close() // unblocks whoever writes
	c.served.Wait()
	c.releaseIn()
}

// part writes what is pending, and, with linger, gives the other side time to read it: a close at once could reset the
// connection.
func (c *Conn) part(linger bool) {
	_ = c.cfg.Conn.SetWriteDeadline(time.Now().Add(lingerFor)) // of a connection that is closed no write goes on either
	c.mu.Lock()
	for c.writing {
		c.written.Wait()
	}
	c.writing = true
	c.mu.Unlock()
	c.write(true)
	w, ok := c.cfg.Conn.(interface{ CloseWrite() error })
	if !linger || !ok || w.CloseWrite() != nil {
		return
	}
	_ = c.cfg.Conn.SetReadDeadline(time.Now().Add(lingerFor))
	var buf [4 << 10]byte
	for read := 0; read < lingerMost; {
		n, err := c.cfg.Conn.Read(buf[:])
		read += n
		if err != nil {
			return
		}
	}
}

// fail ends all streams. It is called with mu.
func (c *Conn) fail(err error) {
	if c.err == nil {
		c.err = err
	}
	for id, s := range c.streams {
		s.end(err)
		c.forget(id, s)
	}
	for _, s := range append(c.queue, c.ready...) {
		s.end(err)
		s.put()
	}
	c.queue, c.ready = nil, nil
	c.room.Broadcast()
	c.work.Broadcast()
}

// read takes frames until the connection's end.
func (c *Conn) read() error {
	for {
		err := c.take()
		c.clock()
		c.begin()
		if err != nil {
			return err
		}
		if err := c.fill(); err != nil {
			return c.over(err)
		}
		c.heard.Store(c.now())
	}
}

// over tells an end that this side has asked for from others.
func (c *Conn) over(err error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == errDone {
		return errDone
	}
	return err
}

// fill reads what has come, and waits for it without a buffer.
func (c *Conn) fill() error {
	if c.r == c.w {
		c.releaseIn()
		if c.cfg.Raw != nil {
			c.stepErr = nil
			if err := c.cfg.Raw.Read(c.step); err != nil {
				return err
			}
			c.w += c.stepN
			return c.stepErr
		}
		var one [1]byte
		if n, err := c.cfg.Conn.Read(one[:]); n == 0 {
			return orProgress(err)
		}
		c.in = c.cfg.Buffers.getIn()
		(*c.in)[0] = one[0]
		c.w = 1
	}
	buf := *c.in
	if c.r > 0 {
		c.w = copy(buf, buf[c.r:c.w])
		c.r = 0
	}
	n, err := c.cfg.Conn.Read(buf[c.w:])
	c.w += n
	if n > 0 {
		return nil
	}
	return orProgress(err)
}

func orProgress(err error) error {
	if err == nil {
		return io.ErrNoProgress
	}
	return err
}

// readRaw is called by Raw.Read whenever there may be something to read.
func (c *Conn) readRaw(fd uintptr) bool {
	c.in = c.cfg.Buffers.getIn()
	c.stepN, c.stepErr = socket.Read(fd, *c.in)
	if c.stepErr == syscall.EAGAIN {
		c.releaseIn()
		return false
	}
	if c.stepErr != nil {
		c.stepN = 0
	}
	return true
}

func (c *Conn) releaseIn() {
	if c.in != nil {
		c.cfg.Buffers.in.Put(c.in)
	}
	c.in, c.r, c.w = nil, 0, 0
}

// forget takes a stream out of the connection's, and gives its window back. It is called with mu.
func (c *Conn) forget(id uint32, s *Stream) {
	delete(c.streams, id)
	c.credit(nil, int64(len(s.in)))
	s.forgotten = true
	c.restOrLeave()
}

// restOrLeave begins to wait for a stream, or ends the connection if none is to come. It is called with mu.
func (c *Conn) restOrLeave() {
	if len(c.streams) > 0 || c.serving > 0 || c.reserved > 0 {
		return
	}
	c.idleFrom = c.now()
	if c.leaving == refusing || c.away {
		c.leave()
	}
}

// leave ends the connection once what is pending was written. It is called with mu.
func (c *Conn) leave() {
	if c.err != nil {
		return
	}
	c.err = errDone
	// The goroutine that reads sees it.
	_ = c.cfg.Conn.SetReadDeadline(time.Unix(1, 0))
}
