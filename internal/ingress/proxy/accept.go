package proxy

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"

	"minato/internal/host/socket"
)

// acceptor accepts connections of one listener. A TCP socket's it accepts itself: net sets five options on each connection
// and asks for its address, which is as many system calls as a small request takes. They take the options over from the
// listening socket instead, and an address that the listener has is theirs.
//
// The socket then is another descriptor of the same one: net lets nobody else wait for connections.
type acceptor struct {
	net.Listener
	file  *os.File        // nil where the listener is no TCP socket
	raw   syscall.RawConn // of file
	local netip.AddrPort  // without an address where the connections' differ
	try   func(fd uintptr) bool
	fd    int
	from  netip.AddrPort
	err   error
}

func newAcceptor(l net.Listener) (*acceptor, error) {
	a := &acceptor{Listener: l}
	tcp, ok := l.(*net.TCPListener)
	if !ok {
		return a, nil
	}
	file, err := tcp.File()
	if err != nil {
		return nil, err
	}
	a.file, a.try = file, a.acceptRaw
	if at := addressOf(l.Addr()); !at.Addr().IsUnspecified() {
		a.local = at
	}
	if a.raw, err = file.SyscallConn(); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	var failed error
	if err := a.raw.Control(func(fd uintptr) { failed = socket.Prepare(fd) }); err != nil || failed != nil {
		return nil, errors.Join(err, os.NewSyscallError("setsockopt", failed), file.Close())
	}
	_ = tcp.Close() // the file is the socket from now on
	return a, nil
}

// Close implements net.Listener.
func (a *acceptor) Close() error {
	if a.file == nil {
		return a.Listener.Close()
	}
	return a.file.Close()
}

// Accept implements net.Listener.
func (a *acceptor) Accept() (net.Conn, error) {
	if a.file == nil {
		return a.Listener.Accept()
	}
	if a.raw.Read(a.try) != nil {
		return nil, net.ErrClosed // there is no other reason without a deadline
	}
	if a.err != nil {
		return nil, os.NewSyscallError("accept4", a.err)
	}
	c := &socketConn{File: os.NewFile(uintptr(a.fd), ""), peer: a.from, local: a.local}
	var err error
	if c.raw, err = c.File.SyscallConn(); err != nil {
		_ = c.File.Close()
		return nil, err
	}
	if !c.local.IsValid() {
		var failed error
		err = c.raw.Control(func(fd uintptr) { c.local, failed = socket.Local(fd) })
		if err != nil || failed != nil {
			_ = c.File.Close()
			return nil, syscall.ECONNABORTED // it has gone already
		}
	}
	return c, nil
}

func (a *acceptor) acceptRaw(fd uintptr) bool {
	a.fd, a.from, a.err = socket.Accept(fd)
	return a.err != syscall.EAGAIN
}

// socketConn is an accepted connection.
type socketConn struct {
	*os.File
	raw         syscall.RawConn
	peer, local netip.AddrPort
}

// LocalAddr implements net.Conn.
func (c *socketConn) LocalAddr() net.Addr { return net.TCPAddrFromAddrPort(c.local) }

// RemoteAddr implements net.Conn.
func (c *socketConn) RemoteAddr() net.Addr { return net.TCPAddrFromAddrPort(c.peer) }

// SyscallConn implements syscall.Conn.
func (c *socketConn) SyscallConn() (syscall.RawConn, error) { return c.raw, nil }

// CloseWrite ends the direction to the client.
func (c *socketConn) CloseWrite() error {
	var failed error
	if err := c.raw.Control(func(fd uintptr) { failed = socket.CloseWrite(fd) }); err != nil {
		return err
	}
	return failed
}

// SetLinger is as that of net.TCPConn.
func (c *socketConn) SetLinger(seconds int) error {
	var failed error
	if err := c.raw.Control(func(fd uintptr) { failed = socket.SetLinger(fd, seconds) }); err != nil {
		return err
	}
	return failed
}

// addressesOf returns both ends of a connection.
func addressesOf(c net.Conn) (peer, local netip.AddrPort) {
	if s, ok := c.(*socketConn); ok {
		return s.peer, s.local
	}
	return addressOf(c.RemoteAddr()), addressOf(c.LocalAddr())
}
