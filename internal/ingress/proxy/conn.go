package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"runtime"
	"runtime/debug"
	"sync/atomic"
	"syscall"
	"time"

	"minato/internal/host/socket"
	"minato/internal/ingress/h1"
	"minato/internal/ingress/h2"
)

// What a connection of a client is doing.
const (
	connBusy   int32 = iota
	connNew          // it waits for its first request
	connIdle         // it waits for another one
	connEnding       // it waits for no request any more
)

// firstWait is how long a connection may take for its first request once no more are accepted: whoever has just connected
// is about to send one, and does not know that it could send it again.
const firstWait = time.Second

// clientConn is a connection of HTTP/1 from a client. Its goroutine is the only one that reads from it.
type clientConn struct {
	srv  *Server
	ctx  context.Context
	l    *Listener
	conn net.Conn        // what is spoken on: TCP, or TLS on it
	raw  syscall.RawConn // of the connection without TLS; nil where it is not a socket
	tls  *tls.ConnectionState
	sni  *tlsServer // what the TLS handshake was about
	rd   *h1.Reader
	watch

	base        net.Conn // what was accepted
	number      uint64
	socket      netip.AddrPort
	peer, local netip.AddrPort
	port        portText
	requests    int
	http2       atomic.Pointer[h2.Conn] // nil as long as HTTP/2 is not spoken
	state       atomic.Int32
	since       atomic.Int64 // when it began to wait for an endpoint; 0 if it does not
	gone        atomic.Bool  // the client has closed the connection
	asked       func()       // ends what it waits for; of since

	step    func(fd uintptr) bool
	put     func(fd uintptr) bool // write's, within raw.Write
	vec     [2][]byte             // what put has still to write
	putErr  error
	pending *flow // a request whose head was read, that the hot path does not take
	err     error // of reading its head
	slow    bool
	ended   bool
	body    bool   // what is read is part of a body
	early   []byte // what was read behind the header of the PROXY protocol
}

// serveConn serves a connection of a client to its end.
func (s *Server) serveConn(ctx context.Context, l *Listener, conn net.Conn) {
	defer func() { _ = conn.Close() }()
	defer s.outlive()
	c := &clientConn{srv: s, ctx: ctx, l: l, conn: conn}
	c.peer, c.local = addressesOf(conn)
	if l.Port != 0 {
		c.local = netip.AddrPortFrom(c.local.Addr(), l.Port)
	}
	c.socket, c.base, c.number = c.peer, conn, s.number.Add(1)
	c.watch.client = c
	s.watches.add(&c.watch, conn)
	defer s.watches.remove(&c.watch)
	if sc, ok := conn.(syscall.Conn); ok {
		if raw, err := sc.SyscallConn(); err == nil {
			c.raw = raw
		}
	}
	if !c.open() {
		return
	}
	c.port.set(c.local.Port())
	if c.tls != nil && c.tls.NegotiatedProtocol == "h2" {
		s.serveHTTP2(c)
		return
	}
	c.rd = h1.NewReader(c, &s.buffers)
	defer c.rd.Close()
	if len(c.early) > 0 && c.tls == nil {
		c.rd.Filled(copy(c.rd.Space(), c.early))
		c.early = nil
	}
	c.step, c.put = c.hot, c.putRaw
	c.run()
}

// outlive keeps a fault that one request brings to light from ending the requests of all others: only its connection ends.
func (s *Server) outlive() {
	if p := recover(); p != nil {
		s.cfg.Logger.Error("The proxy has a fault that a request has brought to light; its connection is closed", "panic", p, "stack", string(debug.Stack()))
	}
}

// open does what comes before the first request: the PROXY protocol and TLS. It reports whether there is to be one.
func (c *clientConn) open() bool {
	v := c.srv.view.Load()
	if v.settings.ProxyProtocol && !c.readProxyHeader(orDuration(v.settings.ProxyHeaderTimeout, 5*time.Second)) {
		return false
	}
	return !c.l.TLS || c.handshake(v)
}

// Read implements io.Reader for rd.
func (c *clientConn) Read(p []byte) (int, error) {
	if c.body {
		c.within(orDuration(c.srv.view.Load().settings.BodyTimeout, time.Minute))
	}
	return c.conn.Read(p)
}

// write writes a and then b, in one system call where the connection is a socket.
func (c *clientConn) write(a, b []byte) error {
	if c.tls != nil || c.raw == nil {
		if len(b) == 0 {
			_, err := c.conn.Write(a)
			return err
		}
		buffers := net.Buffers{a, b}
		_, err := buffers.WriteTo(c.conn)
		return err
	}
	c.vec[0], c.vec[1], c.putErr = a, b, nil
	err := c.raw.Write(c.put)
	c.vec[0], c.vec[1] = nil, nil
	if err == nil {
		err = c.putErr
	}
	return err
}

// putRaw writes what is in vec, and reports false if it has to wait.
func (c *clientConn) putRaw(fd uintptr) bool {
	for {
		var n int
		var err error
		switch {
		case len(c.vec[0]) == 0 && len(c.vec[1]) == 0:
			return true
		case len(c.vec[1]) == 0:
			n, err = socket.Write(fd, c.vec[0])
		case len(c.vec[0]) == 0:
			n, err = socket.Write(fd, c.vec[1])
		default:
			n, err = socket.Writev(fd, c.vec[:])
		}
		if err != nil {
			c.putErr = err
			return true
		}
		if n == 0 {
			return false
		}
		first := min(n, len(c.vec[0]))
		c.vec[0] = c.vec[0][first:]
		c.vec[1] = c.vec[1][n-first:]
	}
}

// run serves requests until the connection ends.
func (c *clientConn) run() {
	for !c.ended {
		c.pending, c.err, c.slow = nil, nil, false
		switch {
		case c.raw != nil && c.tls == nil:
			c.idle()
			if err := c.raw.Read(c.step); err != nil {
				return
			}
		case !c.waitForByte():
			return
		default:
			c.slow = true
		}
		if c.ended {
			return
		}
		f := c.pending
		if f == nil {
			f = c.srv.flow()
			c.body = false
			c.within(orDuration(c.srv.view.Load().settings.HeaderTimeout, time.Minute))
			f.begin(c.srv)
			c.err = c.rd.ReadRequest(&f.req, &f.view.limits)
		}
		keep := c.request(f, c.err)
		unread := c.err != nil || !f.req.Body.Done()
		c.srv.release(f)
		if !keep {
			if unread {
				c.linger()
			}
			return
		}
	}
}

// idle begins to wait for a request.
func (c *clientConn) idle() {
	timeout, state := c.srv.view.Load().settings.KeepAlive, connIdle
	if c.requests == 0 {
		state = connNew
		timeout = orDuration(c.srv.view.Load().settings.HeaderTimeout, time.Minute)
	}
	timeout = orDuration(timeout, 75*time.Second)
	if state == connNew && c.srv.draining.Load() {
		timeout = min(timeout, firstWait)
	}
	c.set(clock() + int64(timeout))
	if !c.state.CompareAndSwap(connBusy, state) || c.requests > 0 && c.srv.draining.Load() {
		c.state.Store(connEnding)
		c.ended = true
	}
}

// wake ends to wait for a request, which has come; it reports false if it came too late.
func (c *clientConn) wake() bool {
	if c.state.CompareAndSwap(connIdle, connBusy) || c.state.CompareAndSwap(connNew, connBusy) || c.state.Load() == connBusy {
		return true
	}
	c.ended = true
	return false
}

// drain ends the connection if it waits for another request, and soon if it waits for its first one.
func (c *clientConn) drain() {
	if conn := c.http2.Load(); conn != nil {
		conn.Shutdown()
		return
	}
	switch {
	case c.state.CompareAndSwap(connIdle, connEnding):
		c.interrupt()
	case c.state.Load() == connNew:
		c.within(firstWait)
	}
}

// waitForByte waits for a request without a buffer, where reading goes through TLS.
func (c *clientConn) waitForByte() bool {
	if c.rd.Buffered() > 0 {
		return true
	}
	c.rd.Release()
	c.idle()
	if c.ended {
		return false
	}
	var one [1]byte
	n, err := c.conn.Read(one[:])
	if err != nil || n == 0 || !c.wake() {
		return false
	}
	c.rd.Space()[0] = one[0]
	c.rd.Filled(1)
	return true
}

// hot is called by raw.Read whenever there may be something to read: it answers all requests that are here in full. It
// returns true to leave raw.Read, with ended, slow or pending saying why.
func (c *clientConn) hot(fd uintptr) bool {
	if c.ended {
		return true
	}
	for {
		full := true
		if !c.slowBytes() {
			space := c.rd.Space()
			n, err := socket.Read(fd, space)
			if err == syscall.EAGAIN {
				c.rd.Release()
				return c.ended
			}
			if err != nil || !c.wake() {
				c.ended = true
				return true
			}
			c.rd.Filled(n)
			full = n == len(space)
		} else if !c.wake() {
			return true
		}
		if !c.answerBuffered() {
			return true
		}
		c.rd.Release()
		c.idle()
		if c.ended || !full {
			return c.ended
		}
	}
}

// slowBytes tells whether bytes of a request are here already, left by the one before it.
func (c *clientConn) slowBytes() bool { return c.rd.Buffered() > 0 }

var headEnd = []byte("\r\n\r\n")

// answerBuffered answers the requests that are buffered. It reports false if something else must be done outside of
// raw.Read.
func (c *clientConn) answerBuffered() bool {
	for c.rd.Buffered() > 0 {
		if bytes.Index(c.rd.Bytes(), headEnd) < 0 {
			c.slow = true
			return false
		}
		f := c.srv.flow()
		f.begin(c.srv)
		c.body = false
		err := c.rd.ReadRequest(&f.req, &f.view.limits)
		q := &f.req
		if err != nil || q.WantsUpgrade || q.ExpectContinue || q.Chunked || q.Body.Remaining() > int64(c.rd.Buffered()) {
			c.pending, c.err = f, err
			return false
		}
		keep := c.request(f, nil)
		c.srv.release(f)
		if !keep {
			c.ended = true
			return false
		}
	}
	return true
}

// request serves one request whose head was read, or was not for err. It reports whether the connection can carry
// another.
func (c *clientConn) request(f *flow, err error) bool {
	if err != nil {
		c.refuse(f, err)
		return false
	}
	c.requests++
	c.srv.requests.Add(1)
	c.body = true
	f.fromHTTP1(c)
	f.serve(c.ctx)
	return f.down.keep()
}

// refuse answers a request whose head could not be read, if there is somebody to answer.
func (c *clientConn) refuse(f *flow, err error) {
	status := 408
	var refused *h1.Error
	switch {
	case errors.As(err, &refused):
		status = refused.Status
	case !isTimeout(err) || c.rd.Buffered() == 0:
		return // the client has gone, or nothing came
	}
	c.requests++
	f.fromHTTP1(c)
	f.refuse(status)
}

// linger gives the client time to read the last answer although it may still be sending: a close at once would reset
// the connection and lose it.
func (c *clientConn) linger() {
	w, ok := c.conn.(interface{ CloseWrite() error })
	if !ok || c.gone.Load() {
		return
	}
	if w.CloseWrite() != nil {
		return
	}
	c.within(2 * time.Second)
	buf := make([]byte, 4<<10)
	for read := 0; read < 1<<20; {
		n, err := c.conn.Read(buf)
		read += n
		if err != nil {
			return
		}
	}
}

// lookForEnd ends the request at an endpoint whose client has closed its connection, as nginx does. Of HTTP/2, it
// ends what has taken too long.
func (c *clientConn) lookForEnd(now int64) {
	if conn := c.http2.Load(); conn != nil {
		conn.Look(now)
		return
	}
	since := c.since.Load()
	if since == 0 || now-since < int64(time.Second) || c.raw == nil {
		return
	}
	closed := false
	_ = c.raw.Control(func(fd uintptr) { closed = socket.Peek(fd) == socket.Closed })
	if closed && c.since.CompareAndSwap(since, aborting) {
		c.gone.Store(true)
		c.asked()
		c.since.Store(aborted)
	}
}

// Values of since beside a time.
const (
	aborting int64 = -1 // lookForEnd is at work
	aborted  int64 = -2
)

// asks tells that the connection waits for an endpoint's answer from now on; stop ends that.
func (c *clientConn) asks(stop func(), now int64) {
	c.asked = stop
	c.since.Store(now)
}

// answered ends asks. It reports false if the client has gone, and what it waited for was ended.
func (c *clientConn) answered() bool {
	for {
		switch since := c.since.Load(); since {
		case aborting:
			runtime.Gosched()
		case aborted:
			c.since.Store(0)
			return false
		default:
			if c.since.CompareAndSwap(since, 0) {
				return true
			}
		}
	}
}

var _ io.Reader = (*clientConn)(nil)
