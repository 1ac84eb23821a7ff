package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The load generators use blocking sockets and system calls that the Go
// scheduler does not see: what is measured is the path through the kernel, not
// the way through a poller. A process makes one call at a time and collects no
// garbage, so nothing waits for the thread.

// patience bounds a call that nobody answers.
const patience = 2 * time.Second

type socket int

func dial(to netip.AddrPort) (socket, error) { return dialWithin(to, patience) }

// dialWithin connects; no call on the socket takes longer than the limit. Closing
// it resets the connection, so that no port stays taken for a minute after it.
func dialWithin(to netip.AddrPort, limit time.Duration) (socket, error) {
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	s := socket(fd)
	timeout := unix.NsecToTimeval(limit.Nanoseconds())
	err := errors.Join(
		unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_SNDTIMEO, &timeout),
		unix.SetsockoptTimeval(int(s), unix.SOL_SOCKET, unix.SO_RCVTIMEO, &timeout),
		unix.SetsockoptLinger(int(s), unix.SOL_SOCKET, unix.SO_LINGER, &unix.Linger{Onoff: 1}),
	)
	if err != nil {
		s.close()
		return -1, err
	}
	address := unix.RawSockaddrInet4{Family: unix.AF_INET, Addr: to.Addr().As4()}
	binary.BigEndian.PutUint16((*[2]byte)(unsafe.Pointer(&address.Port))[:], to.Port())
	if _, _, errno := unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&address)), unsafe.Sizeof(address)); errno != 0 {
		s.close()
		return -1, fmt.Errorf("connect to %s: %w", to, errno)
	}
	return s, nil
}

func (s socket) close() { unix.RawSyscall(unix.SYS_CLOSE, uintptr(s), 0, 0) }

func (s socket) read(b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_READ, uintptr(s), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

func (s socket) write(b []byte) (int, error) {
	n, _, errno := unix.RawSyscall(unix.SYS_WRITE, uintptr(s), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}

// ask sends one byte and returns the one that comes back.
func (s socket) ask() (byte, error) {
	b := [1]byte{1}
	if _, err := s.write(b[:]); err != nil {
		return 0, fmt.Errorf("send: %w", err)
	}
	n, err := s.read(b[:])
	if err == nil && n == 0 {
		err = fmt.Errorf("the connection was closed")
	}
	if err != nil {
		return 0, fmt.Errorf("receive: %w", err)
	}
	return b[0], nil
}

// serve answers one connection after the other, for ever: a single byte with
// its own, more with nothing but their being taken.
func serve(at netip.AddrPort, id byte, ready func() error) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
		return fmt.Errorf("bind to %s: %w", at, err)
	}
	if err := unix.Listen(fd, 1024); err != nil {
		return err
	}
	if err := ready(); err != nil {
		return err
	}
	buf := make([]byte, 256<<10)
	for {
		c, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_CLOEXEC, 0, 0)
		if errno != 0 {
			return fmt.Errorf("accept: %w", errno)
		}
		answer(socket(c), id, buf)
	}
}

func answer(c socket, id byte, buf []byte) {
	defer c.close()
	for {
		n, err := c.read(buf)
		if err != nil || n == 0 {
			return
		}
		if n == 1 {
			buf[0] = id
			if _, err := c.write(buf[:1]); err != nil {
				return
			}
		}
	}
}
