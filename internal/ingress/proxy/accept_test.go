package proxy

import (
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestAcceptor: a connection has the addresses and the options that net would have given it.
func TestAcceptor(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "[::]:0", "[::1]:0"} {
		t.Run(at, func(t *testing.T) {
			l, err := net.Listen("tcp", at)
			if err != nil {
				t.Skip(err) // no IPv6
			}
			defer l.Close()
			a, err := newAcceptor(l)
			if err != nil {
				t.Fatal(err)
			}
			defer a.Close()
			port := l.Addr().(*net.TCPAddr).AddrPort().Port()
			host := netip.MustParseAddr("127.0.0.1")
			if at == "[::1]:0" {
				host = netip.IPv6Loopback()
			}
			client, err := net.Dial("tcp", netip.AddrPortFrom(host, port).String())
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			conn, err := a.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			peer, local := addressesOf(conn)
			if want := addressOf(client.LocalAddr()); peer != want || addressOf(conn.RemoteAddr()) != want {
				t.Errorf("the other end is %s and %s, want %s", peer, conn.RemoteAddr(), want)
			}
			if want := netip.AddrPortFrom(host, port); local != want || addressOf(conn.LocalAddr()) != want {
				t.Errorf("this end is %s and %s, want %s", local, conn.LocalAddr(), want)
			}
			c := conn.(*socketConn)
			for _, o := range []struct{ level, name, want int }{
				{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1}, {unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15},
				{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 9},
			} {
				if err := c.raw.Control(func(fd uintptr) {
					if got, err := unix.GetsockoptInt(int(fd), o.level, o.name); err != nil || got != o.want {
						t.Errorf("the option %d of %d is %d, want %d: %v", o.name, o.level, got, o.want, err)
					}
				}); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.WriteString(client, "hello"); err != nil {
				t.Fatal(err)
			}
			buf := make([]byte, 10)
			if n, err := conn.Read(buf); string(buf[:n]) != "hello" || err != nil {
				t.Errorf("Read: %q, %v", buf[:n], err)
			}
			_ = conn.SetReadDeadline(time.Now().Add(-time.Second))
			if _, err := conn.Read(buf); !isTimeout(err) {
				t.Errorf("Read behind the deadline: %v", err)
			}
			if err := c.CloseWrite(); err != nil {
				t.Error(err)
			}
			if b, err := io.ReadAll(client); len(b) > 0 || err != nil {
				t.Errorf("the client reads %q, %v", b, err)
			}
			if err := a.Close(); err != nil {
				t.Error(err)
			}
			if _, err := a.Accept(); err != net.ErrClosed {
				t.Errorf("Accept behind Close: %v", err)
			}
			if c, err := net.Dial("tcp", netip.AddrPortFrom(host, port).String()); err == nil {
				c.Close()
				t.Error("the port is still listened on")
			}
		})
	}
}
