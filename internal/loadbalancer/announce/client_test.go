package announce

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// serve answers connections to an address with the server's name, and then each line with the name and the line.
func (w *world) serve(n *node, addr string) {
	w.t.Helper()
	l, err := n.ns.Listen(context.Background(), "tcp", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				fmt.Fprintln(c, n.name)
				for in := bufio.NewScanner(c); in.Scan(); {
					fmt.Fprintln(c, n.name, in.Text())
				}
			}()
		}
	}()
}

// client is a connection of the LAN's machine.
type client struct {
	net.Conn
	in *bufio.Reader
}

// dial connects, from a port if one is given, and returns the server's name.
func (w *world) dial(addr string, port uint16) (*client, string, error) {
	d := net.Dialer{Timeout: 3 * time.Second, FallbackDelay: -1}
	if port != 0 {
		local := v4.client
		if ip(strings.TrimSuffix(addr, ":80")).Is6() {
			local = v6.client
		}
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip(local), port))
	}
	var c net.Conn
	err := w.lan.Do(func() (err error) {
		c, err = d.Dial("tcp", addr)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	cl := &client{Conn: c, in: bufio.NewReader(c)}
	name, err := cl.line()
	if err != nil {
		c.Close()
	}
	return cl, name, err
}

func (c *client) line() (string, error) {
	c.SetDeadline(time.Now().Add(3 * time.Second))
	s, err := c.in.ReadString('\n')
	return strings.TrimSpace(s), err
}

func (c *client) ask(text string) (string, error) {
	if _, err := fmt.Fprintln(c, text); err != nil {
		return "", err
	}
	return c.line()
}

// found tells whether the LAN's machine finds an address at a node.
func (w *world) found(addr string, n *node) func() bool {
	return func() bool {
		w.reach(addr)
		return bytes.Equal(w.neighbour(addr), n.mac())
	}
}

// raw is a packet socket of a machine.
type raw struct {
	t     *testing.T
	fd    int
	index int
	mac   net.HardwareAddr
}

func (w *world) raw(ns host.Netns, link string) *raw {
	w.t.Helper()
	r := &raw{t: w.t}
	w.inside(ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName(link)
		if err != nil {
			return err
		}
		r.index, r.mac = l.Attrs().Index, l.Attrs().HardwareAddr
		return ns.Do(func() (err error) {
			everything := binary.NativeEndian.Uint16([]byte{0, unix.ETH_P_ALL}) // in network order
			if r.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(everything)); err != nil {
				return err
			}
			return unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: everything, Ifindex: r.index})
		})
	})
	w.t.Cleanup(func() { unix.Close(r.fd) })
	return r
}

func (r *raw) send(frame []byte) {
	r.t.Helper()
	if err := unix.Sendto(r.fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: r.index, Halen: 6}); err != nil {
		r.t.Fatal(err)
	}
}

// receive waits for a frame that is wanted; it returns nil if none came in time.
func (r *raw) receive(wait time.Duration, want func(frame []byte) bool) []byte {
	r.t.Helper()
	b := make([]byte, 2000)
	for deadline := time.Now().Add(wait); time.Now().Before(deadline); {
		tv := unix.NsecToTimeval(max(time.Until(deadline), time.Millisecond).Nanoseconds())
		if err := unix.SetsockoptTimeval(r.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv); err != nil {
			r.t.Fatal(err)
		}
		n, from, err := unix.Recvfrom(r.fd, b, 0)
		if err != nil {
			continue
		}
		if ll, ok := from.(*unix.SockaddrLinklayer); ok && ll.Pkttype == unix.PACKET_OUTGOING {
			continue
		}
		if want(b[:n]) {
			return slices.Clone(b[:n])
		}
	}
	return nil
}
