package proxy

import (
	"crypto/tls"
	"errors"
	"net"
	"syscall"
	"time"

	"minato/internal/host/socket"
	"minato/internal/ingress/h1"
)

// errTimeout is the end of an operation by its watch, of whatever kind the connection is.
func isTimeout(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// upstreamConn is a connection of HTTP/1 to an endpoint. It belongs to one goroutine at a time.
type upstreamConn struct {
	conn net.Conn // *net.TCPConn, or *tls.Conn on one
	tcp  *net.TCPConn
	raw  syscall.RawConn // of tcp; nil where TLS is spoken
	rd   *h1.Reader
	ep   *endpoint
	home *pool
	srv  *Server
	watch

	made, used int64 // times of clock
	wrote      int64 // bytes before the request at hand; less than 0 if they are not counted
	requests   int

	// What step does within raw.Read.
	step     func(fd uintptr) bool
	stop     func() // interrupt
	out      []byte
	written  int
	waiting  bool
	stepErr  error
	timeout  time.Duration // between two reads
	received bool          // a byte of the answer has come
}

func (s *Server) newUpstreamConn(conn net.Conn, tcp *net.TCPConn, ep *endpoint, home *pool) (*upstreamConn, error) {
	c := &upstreamConn{conn: conn, tcp: tcp, ep: ep, home: home, srv: s, made: clock()}
	c.rd = h1.NewReader(c, &s.buffers)
	if _, encrypted := conn.(*tls.Conn); !encrypted {
		raw, err := tcp.SyscallConn()
		if err != nil {
			return nil, err
		}
		c.raw = raw
	}
	c.step, c.stop = c.sendAndWait, c.interrupt
	s.watches.add(&c.watch, conn)
	return c, nil
}

// close ends the connection.
func (c *upstreamConn) close() {
	c.srv.watches.remove(&c.watch)
	_ = c.conn.Close()
	c.rd.Close()
}

// alive tells whether an idle connection can carry a request: the endpoint has neither closed it nor sent anything.
func (c *upstreamConn) alive() bool {
	raw := c.raw
	if raw == nil {
		var err error
		if raw, err = c.tcp.SyscallConn(); err != nil {
			return false
		}
	}
	state := socket.Closed
	return raw.Control(func(fd uintptr) { state = socket.Peek(fd) }) == nil && state == socket.Silent
}

// Read implements io.Reader for rd. It waits for at most the timeout.
func (c *upstreamConn) Read(p []byte) (int, error) {
	c.within(c.timeout)
	n, err := c.conn.Read(p)
	if n > 0 {
		c.received = true
	}
	return n, err
}

// neverArrived tells, after an endpoint has ended the connection without an answer, whether the request cannot have
// reached it: its kernel has acknowledged not one byte of it and has reset the connection. The endpoint had closed it before
// the request came, so that it can be sent again, whatever its method (RFC 9110, 9.2.2).
func (c *upstreamConn) neverArrived() bool {
	if c.raw == nil || c.wrote < 0 || c.received {
		return false
	}
	for range resetWait {
		var acked uint64
		var over bool
		var ackErr error
		err := c.raw.Control(func(fd uintptr) { acked, over, ackErr = socket.Acked(fd) })
		if err != nil || ackErr != nil || acked > uint64(c.wrote) {
			return false
		}
		if over {
			return true
		}
		time.Sleep(time.Millisecond) // the end has come, and the reset is on its way
	}
	return false
}

// notCounted is so far below zero that nothing that is added makes it positive.
const notCounted = -1 << 60

// resetWait is for how many milliseconds a reset is waited for.
const resetWait = 50

// send writes a request and waits for the first bytes of the answer, which then are in rd; or, where that takes more
// than one write or TLS, only writes.
func (c *upstreamConn) send(out []byte, sendTimeout, readTimeout time.Duration) error {
	c.received, c.timeout = false, readTimeout
	if c.raw == nil {
		c.within(sendTimeout)
		_, err := c.conn.Write(out)
		return err
	}
	// One deadline is enough: what is written without waiting is not waited for.
	c.within(readTimeout)
	c.out, c.written, c.waiting, c.stepErr = out, 0, false, nil
	err := c.raw.Read(c.step)
	c.out = nil
	if err == nil {
		err = c.stepErr
	}
	if err != nil || c.written == len(out) {
		return err
	}
	c.within(sendTimeout)
	_, err = c.conn.Write(out[c.written:])
	return err
}

// sendAndWait is called by raw.Read: first at once, then whenever there may be something to read.
func (c *upstreamConn) sendAndWait(fd uintptr) bool {
	if !c.waiting {
		n, err := socket.Write(fd, c.out)
		c.written, c.waiting, c.stepErr = n, true, err
		return err != nil || n < len(c.out)
	}
	n, err := socket.Read(fd, c.rd.Space())
	switch {
	case err == syscall.EAGAIN:
		c.rd.Release()
		return false
	case err != nil:
		c.rd.Release()
		c.stepErr = err
		return true
	}
	c.rd.Filled(n)
	c.received = true
	return true
}
