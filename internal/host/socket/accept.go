package socket

import (
	"net/netip"
	"syscall"

	"golang.org/x/sys/unix"
)

// Accept accepts a connection of a listening TCP socket. It returns its descriptor, which does not block, and the address of the
// other end.
func Accept(fd uintptr) (int, netip.AddrPort, error) {
	for {
		// That of unix asks each connection for its protocol, too.
		n, from, err := syscall.Accept4(int(fd), syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC)
		if err == syscall.EINTR {
			continue
		}
		return n, addrPort(from), err
	}
}

// Local returns the address of this end.
func Local(fd uintptr) (netip.AddrPort, error) {
	a, err := syscall.Getsockname(int(fd))
	return addrPort(a), err
}

// addrPort returns an address without the mapping of IPv4 into IPv6, and without a zone.
func addrPort(a syscall.Sockaddr) netip.AddrPort {
	switch a := a.(type) {
	case *syscall.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(a.Addr), uint16(a.Port))
	case *syscall.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.Addr).Unmap(), uint16(a.Port))
	default:
		return netip.AddrPort{}
	}
}

// keepAlive is after how many seconds of silence the other end is asked whether it is there, and between two times of
// that; keepAliveTimes is how often. They are net's.
const (
	keepAlive      = 15
	keepAliveTimes = 9
)

// Prepare gives a listening TCP socket the options that its connections are to have, which take them over: small writes are
// sent at once, and the other end's absence is noticed.
func Prepare(fd uintptr) error {
	for _, o := range []struct{ level, name, value int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, keepAlive},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, keepAlive},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveTimes},
	} {
		if err := unix.SetsockoptInt(int(fd), o.level, o.name, o.value); err != nil {
			return err
		}
	}
	return nil
}

// CloseWrite ends the direction from this end to the other one.
func CloseWrite(fd uintptr) error { return unix.Shutdown(int(fd), unix.SHUT_WR) }

// SetLinger sets what a close does with what was not sent, as net.TCPConn.SetLinger has it.
func SetLinger(fd uintptr, seconds int) error {
	l := unix.Linger{Linger: int32(max(seconds, 0))}
	if seconds >= 0 {
		l.Onoff = 1
	}
	return unix.SetsockoptLinger(int(fd), unix.SOL_SOCKET, unix.SO_LINGER, &l)
}
