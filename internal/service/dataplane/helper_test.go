package dataplane

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// answer is what a client saw.
type answer struct {
	Server string // name of the server that answered
	Client string // the client's address as the server saw it
	Peer   string // the server's address as the client sees it
	Took   time.Duration
	Err    string
}

func (a answer) refused() bool { return strings.Contains(a.Err, "refused") }

// ask asks with a socket that the data plane does not see, so that packets are what it has to work on.
func ask(ns host.Netns, network, addr string) answer {
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Second)
	defer cancel()
	c, err := ns.DialContext(ctx, network, addr)
	if err != nil {
		return answer{Err: err.Error(), Took: time.Since(start)}
	}
	return talk(c, start)
}

func talk(c net.Conn, start time.Time) (a answer) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(3 * time.Second))
	if _, isUDP := c.(*net.UDPConn); isUDP {
		if _, err := c.Write([]byte("hello")); err != nil {
			return answer{Err: err.Error(), Took: time.Since(start)}
		}
	}
	line, err := bufio.NewReader(c).ReadString('\n')
	a.Took = time.Since(start)
	if err != nil {
		a.Err = err.Error()
		return a
	}
	a.Server, a.Client, _ = strings.Cut(strings.TrimSpace(line), " ")
	a.Client, _, _ = strings.Cut(a.Client, " ")
	a.Peer = c.RemoteAddr().String()
	return a
}

// helper is a process in the node's cgroup, whose sockets the data plane sees.
type helper struct {
	t   *testing.T
	in  io.WriteCloser
	out *json.Decoder
}

type request struct{ Op, Network, Addr string }

// helperIn starts a helper in a namespace.
func (w *world) helperIn(ns host.Netns) *helper {
	w.t.Helper()
	dir, err := os.Open(w.cgroup.V2())
	if err != nil {
		w.t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "MT_SVC_HELPER=1")
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd()), Pdeathsig: 0}
	in, err := cmd.StdinPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := ns.Do(cmd.Start); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		in.Close()
		cmd.Wait()
	})
	return &helper{t: w.t, in: in, out: json.NewDecoder(out)}
}

func (h *helper) do(r request) (a answer) {
	h.t.Helper()
	if err := json.NewEncoder(h.in).Encode(r); err != nil {
		h.t.Fatal(err)
	}
	if err := h.out.Decode(&a); err != nil {
		h.t.Fatal(err)
	}
	return a
}

func (h *helper) ask(network, addr string) answer {
	h.t.Helper()
	return h.do(request{Op: "ask", Network: network, Addr: addr})
}

func helperMain() {
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	var (
		unconnected net.PacketConn
		kept        net.Conn
		connected   = -1
	)
	for {
		var r request
		if in.Decode(&r) != nil {
			return
		}
		var a answer
		switch r.Op {
		case "ask":
			a = ask(host.Netns{}, r.Network, r.Addr)
		case "latency":
			all, _ := json.Marshal(latencies(host.Netns{}, r.Addr))
			a.Server = string(all)
		case "ask6":
			a = ask6(r)
		case "keep":
			a = keep(&kept, r)
		case "bind":
			a = bind(r)
		case "connect":
			a = connect(&connected, r)
		case "write":
			a = write(connected)
		case "sendto":
			a = sendTo(&unconnected, r)
		}
		out.Encode(a)
	}
}

// ask6 asks an IPv4 address through an AF_INET6 socket, as programs with dual-stack sockets do. The net package would
// take an IPv4 socket, so this goes to the system calls.
func ask6(r request) (a answer) {
	start := time.Now()
	fail := func(err error) answer { return answer{Err: err.Error(), Took: time.Since(start)} }
	typ := unix.SOCK_STREAM
	if r.Network == "udp" {
		typ = unix.SOCK_DGRAM
	}
	fd, err := unix.Socket(unix.AF_INET6, typ|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fail(err)
	}
	defer unix.Close(fd)
	unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3})
	to := netip.MustParseAddrPort(r.Addr)
	if err := unix.Connect(fd, &unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())}); err != nil {
		return fail(err)
	}
	if typ == unix.SOCK_DGRAM {
		if _, err := unix.Write(fd, []byte("hello")); err != nil {
			return fail(err)
		}
	}
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return fail(err)
	}
	a.Server, a.Client, _ = strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	peer, err := unix.Getpeername(fd)
	if err != nil {
		return fail(err)
	}
	p := peer.(*unix.SockaddrInet6)
	a.Peer = netip.AddrPortFrom(netip.AddrFrom16(p.Addr), uint16(p.Port)).String()
	a.Took = time.Since(start)
	return a
}

// keep asks again and again through one connected UDP socket, until it fails.
func keep(c *net.Conn, r request) (a answer) {
	if *c == nil {
		var err error
		if *c, err = net.Dial(r.Network, r.Addr); err != nil {
			return answer{Err: err.Error()}
		}
	}
	(*c).SetDeadline(time.Now().Add(3 * time.Second))
	if _, err := (*c).Write([]byte("hello")); err != nil {
		(*c).Close()
		*c = nil
		return answer{Err: err.Error()}
	}
	line, err := bufio.NewReader(*c).ReadString('\n')
	if err != nil {
		(*c).Close()
		*c = nil
		return answer{Err: err.Error()}
	}
	a.Server, _, _ = strings.Cut(line, " ")
	return a
}

// connect connects a UDP socket, without sending anything, and tells its own address. Of network udp46 it is an
// AF_INET6 socket and the address an IPv4 one.
func connect(fd *int, r request) answer {
	if *fd >= 0 {
		unix.Close(*fd)
	}
	to := netip.MustParseAddrPort(r.Addr)
	family, sa := unix.AF_INET6, unix.Sockaddr(&unix.SockaddrInet6{Addr: to.Addr().As16(), Port: int(to.Port())})
	if r.Network == "udp4" {
		family, sa = unix.AF_INET, &unix.SockaddrInet4{Addr: to.Addr().As4(), Port: int(to.Port())}
	}
	var err error
	if *fd, err = unix.Socket(family, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
		return answer{Err: err.Error()}
	}
	unix.SetsockoptTimeval(*fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 3})
	if err := unix.Connect(*fd, sa); err != nil {
		return answer{Err: "connect: " + err.Error()}
	}
	own, err := unix.Getsockname(*fd)
	if err != nil {
		return answer{Err: err.Error()}
	}
	peer, err := unix.Getpeername(*fd)
	if err != nil {
		return answer{Err: err.Error()}
	}
	return answer{Client: addrPortOf(own).Addr().String(), Peer: addrPortOf(peer).String()}
}

func addrPortOf(sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		return netip.AddrPortFrom(netip.AddrFrom16(sa.Addr).Unmap(), uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// write sends through a connected socket and waits for an answer or an error.
func write(fd int) (a answer) {
	start := time.Now()
	fail := func(err error) answer { return answer{Err: err.Error(), Took: time.Since(start)} }
	if _, err := unix.Write(fd, []byte("hello")); err != nil {
		return fail(err)
	}
	buf := make([]byte, 1024)
	n, err := unix.Read(fd, buf)
	if err != nil {
		return fail(err)
	}
	a.Server, a.Client, _ = strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	a.Took = time.Since(start)
	return a
}

// bind listens for a moment.
func bind(r request) answer {
	var c io.Closer
	var err error
	if strings.HasPrefix(r.Network, "udp") {
		c, err = net.ListenPacket(r.Network, r.Addr)
	} else {
		c, err = net.Listen(r.Network, r.Addr)
	}
	if err != nil {
		return answer{Err: err.Error()}
	}
	c.Close()
	return answer{}
}

// sendTo uses one unconnected UDP socket for all requests.
func sendTo(c *net.PacketConn, r request) (a answer) {
	start := time.Now()
	fail := func(err error) answer { return answer{Err: err.Error(), Took: time.Since(start)} }
	if *c == nil {
		var err error
		if *c, err = net.ListenPacket(r.Network, ""); err != nil {
			return fail(err)
		}
	}
	to, err := net.ResolveUDPAddr("udp", r.Addr)
	if err != nil {
		return fail(err)
	}
	if _, err := (*c).WriteTo([]byte("hello"), to); err != nil {
		return fail(err)
	}
	(*c).SetReadDeadline(time.Now().Add(3 * time.Second))
	buf := make([]byte, 1024)
	n, from, err := (*c).ReadFrom(buf)
	if err != nil {
		return fail(err)
	}
	a.Took = time.Since(start)
	a.Server, a.Client, _ = strings.Cut(strings.TrimSpace(string(buf[:n])), " ")
	a.Client, _, _ = strings.Cut(a.Client, " ")
	a.Peer = from.String()
	return a
}
