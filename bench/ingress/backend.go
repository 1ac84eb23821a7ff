package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"strconv"

	"golang.org/x/sys/unix"
)

// backend answers requests of HTTP/1 with as little work as can be: it is one thread on epoll, and reads of a request what it
// has to, which is where it ends and whether its path begins with /big.
type backend struct {
	epoll int
	conns map[int32]*backendConn
	buf   []byte
	small []byte
	big   []byte
}

type backendConn struct {
	fd   int
	rest []byte // of a head that has not come in full
	skip int    // bytes of a body to come
	out  []byte // what the socket did not take; a view of the answers
	send bool   // whether epoll waits for room
}

const bigSize = 1 << 20

func answerOf(body []byte) []byte {
	return append(fmt.Appendf(nil, "HTTP/1.1 200 OK\r\nServer: backend\r\nDate: Fri, 27 Nov 2026 12:00:00 GMT\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n", len(body)), body...)
}

// playBackend serves the address that is given until its process ends.
func playBackend(_ context.Context, args []string) error {
	addr, err := netip.ParseAddrPort(args[0])
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	b := &backend{
		conns: map[int32]*backendConn{}, buf: make([]byte, 256<<10),
		small: answerOf([]byte("Hello, World!")), big: answerOf(bytes.Repeat([]byte("0123456789abcde\n"), bigSize/16)),
	}
	listener, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(listener, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(listener, &unix.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		return err
	}
	if err := unix.Listen(listener, 4096); err != nil {
		return err
	}
	if b.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return err
	}
	if err := unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, listener, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(listener)}); err != nil {
		return err
	}
	return b.run(listener)
}

func (b *backend) run(listener int) error {
	events := make([]unix.EpollEvent, 256)
	for {
		n, err := unix.EpollWait(b.epoll, events, -1)
		if err != nil && err != unix.EINTR {
			return err
		}
		for _, e := range events[:max(n, 0)] {
			if e.Fd == int32(listener) {
				if err := b.accept(listener); err != nil {
					return err
				}
				continue
			}
			c := b.conns[e.Fd]
			if c == nil {
				continue
			}
			if e.Events&unix.EPOLLOUT != 0 && !b.flush(c) || e.Events&^unix.EPOLLOUT != 0 && len(c.out) == 0 && !b.read(c) {
				delete(b.conns, e.Fd)
				_ = unix.Close(c.fd)
			}
		}
	}
}

func (b *backend) accept(listener int) error {
	for {
		fd, _, err := unix.Accept4(listener, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		switch err {
		case nil:
		case unix.EAGAIN:
			return nil
		case unix.ECONNABORTED, unix.EINTR:
			continue
		default:
			return err
		}
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1) // slower without
		b.conns[int32(fd)] = &backendConn{fd: fd}
		if err := unix.EpollCtl(b.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return err
		}
	}
}

// read reads once and answers what has come; it reports false at the end.
func (b *backend) read(c *backendConn) bool {
	n, err := unix.Read(c.fd, b.buf)
	if err == unix.EAGAIN || err == unix.EINTR {
		return true
	}
	if err != nil || n == 0 {
		return false
	}
	p := b.buf[:n]
	if len(c.rest) > 0 {
		c.rest = append(c.rest, p...)
		p, c.rest = c.rest, nil
	}
	for len(p) > 0 {
		if c.skip > 0 {
			k := min(c.skip, len(p))
			p, c.skip = p[k:], c.skip-k
			if c.skip == 0 && !b.write(c, b.small) {
				return false
			}
			continue
		}
		end := bytes.Index(p, []byte("\r\n\r\n"))
		if end < 0 {
			c.rest = append([]byte(nil), p...)
			return true
		}
		head := p[:end+2]
		p = p[end+4:]
		if c.skip = contentLength(head); c.skip > 0 {
			continue
		}
		answer := b.small
		if bytes.Contains(head[:bytes.IndexByte(head, '\r')], []byte(" /big")) {
			answer = b.big
		}
		if !b.write(c, answer) {
			return false
		}
	}
	return true
}

// contentLength is 0 where a head has none.
func contentLength(head []byte) int {
	for {
		line, rest, more := bytes.Cut(head, []byte("\r\n"))
		if len(line) > 16 && (line[0]|0x20) == 'c' && bytes.EqualFold(line[:15], []byte("content-length:")) {
			n, _ := strconv.Atoi(string(bytes.TrimSpace(line[15:]))) // the proxies have checked it
			return n
		}
		if !more {
			return 0
		}
		head = rest
	}
}

// write sends an answer; what the socket does not take is kept. A client that asks for more before has taken it all would
// get the answers in the wrong order: no proxy does that.
func (b *backend) write(c *backendConn, p []byte) bool {
	if len(c.out) > 0 {
		return false
	}
	c.out = p
	return b.flush(c)
}

func (b *backend) flush(c *backendConn) bool {
	for len(c.out) > 0 {
		n, err := unix.Write(c.fd, c.out)
		if err == unix.EAGAIN {
			return b.watch(c, true)
		}
		if err != nil {
			return false
		}
		c.out = c.out[n:]
	}
	return b.watch(c, false)
}

func (b *backend) watch(c *backendConn, send bool) bool {
	if c.send == send {
		return true
	}
	c.send = send
	e := unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(c.fd)}
	if send {
		e.Events = unix.EPOLLOUT
	}
	return unix.EpollCtl(b.epoll, unix.EPOLL_CTL_MOD, c.fd, &e) == nil
}
