package announce

import (
	"errors"
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// groups are the multicast groups by which solicitations for IPv6 addresses come. The interface's filter gets their hardware
// addresses, which stay when the process ends; and sockets join the groups, which has the kernel report them to switches
// that look.
type groups struct {
	ns     host.Netns
	ioctl  int
	refs   map[membership]int
	joined map[membership]int // the socket of each
	fds    []int
}

type membership struct {
	index int
	group netip.Addr
}

func openGroups(ns host.Netns) (*groups, error) {
	g := &groups{ns: ns, refs: map[membership]int{}, joined: map[membership]int{}}
	err := ns.Do(func() (err error) {
		g.ioctl, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("open socket for multicast groups: %w", err)
	}
	return g, nil
}

func (g *groups) close() {
	for _, fd := range append(g.fds, g.ioctl) {
		unix.Close(fd)
	}
}

// join joins the group of an address at an interface.
func (g *groups) join(u *uplink, a netip.Addr) error {
	m := membership{index: u.index, group: solicitedNode(a)}
	if g.refs[m]++; g.refs[m] > 1 {
		return nil
	}
	if err := filterGroup(g.ioctl, u.name, m.group, unix.SIOCADDMULTI); err != nil {
		return fmt.Errorf("receive multicast group of %s at %s: %w", a, u.name, err)
	}
	if err := g.report(m); err != nil {
		return fmt.Errorf("join multicast group of %s at %s: %w", a, u.name, err)
	}
	return nil
}

// report joins with one of the sockets. A socket has room for some two thousand groups; then there is another one.
func (g *groups) report(m membership) error {
	request := &unix.IPv6Mreq{Multiaddr: m.group.As16(), Interface: uint32(m.index)}
	for try := range 2 {
		if len(g.fds) == 0 || try == 1 {
			var fd int
			err := g.ns.Do(func() (err error) {
				fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
				return err
			})
			if err != nil {
				return err
			}
			g.fds = append(g.fds, fd)
		}
		fd := g.fds[len(g.fds)-1]
		err := unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP, request)
		switch {
		case err == nil || errors.Is(err, unix.EADDRINUSE):
			g.joined[m] = fd
			return nil
		case try == 1 || !errors.Is(err, unix.ENOMEM) && !errors.Is(err, unix.ENOBUFS):
			return err
		}
	}
	return nil
}

// leave leaves it again, if no other address needs it.
func (g *groups) leave(u *uplink, a netip.Addr) {
	m := membership{index: u.index, group: solicitedNode(a)}
	if g.refs[m]--; g.refs[m] > 0 {
		return
	}
	delete(g.refs, m)
	// There is nothing to do about a failure: the interface may be gone.
	_ = filterGroup(g.ioctl, u.name, m.group, unix.SIOCDELMULTI)
	if fd, ok := g.joined[m]; ok {
		delete(g.joined, m)
		_ = unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_LEAVE_GROUP, &unix.IPv6Mreq{Multiaddr: m.group.As16(), Interface: uint32(m.index)})
	}
}

// drop takes the group of an address that an earlier process joined out of an interface's filter, if no other address needs
// it.
func (g *groups) drop(u *uplink, a netip.Addr) {
	if g.refs[membership{index: u.index, group: solicitedNode(a)}] == 0 {
		_ = filterGroup(g.ioctl, u.name, solicitedNode(a), unix.SIOCDELMULTI)
	}
}

// forget is called when an interface is gone.
func (g *groups) forget(index int) {
	for m := range g.refs {
		if m.index == index {
			delete(g.refs, m)
			delete(g.joined, m)
		}
	}
}

// filterGroup adds a group's hardware address to an interface's filter, or removes it.
func filterGroup(fd int, link string, group netip.Addr, request uintptr) error {
	// struct ifreq with ifr_hwaddr, whose family is AF_UNSPEC
	var ifreq struct {
		name   [unix.IFNAMSIZ]byte
		family uint16
		mac    [14]byte
		rest   [8]byte
	}
	copy(ifreq.name[:unix.IFNAMSIZ-1], link)
	copy(ifreq.mac[:], groupMAC(group))
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&ifreq))); errno != 0 {
		return errno
	}
	return nil
}
