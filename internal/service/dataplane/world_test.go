package dataplane

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
	"minato/internal/service/route"
)

// The world of the live tests: a LAN with an outside client and two nodes, and pods on both nodes. The first node has
// a data plane, the second only routes.
//
//	lan 172.30.0.1 ─ bridge ─┬─ n1 172.30.0.11 ─ p1 10.244.1.2, q1 10.244.1.3
//	                         └─ n2 172.30.0.12 ─ p2 10.244.2.2
const (
	lanIP = "172.30.0.1"
	n1IP  = "172.30.0.11"
	n2IP  = "172.30.0.12"
	p1IP  = "10.244.1.2"
	q1IP  = "10.244.1.3"
	p2IP  = "10.244.2.2"
)

type world struct {
	t                       *testing.T
	lan, n1, n2, p1, q1, p2 host.Netns
	cgroup                  host.Cgroup
	cfg                     Config
	dp                      *DataPlane
}

func TestMain(m *testing.M) {
	if os.Getenv("MT_SVC_HELPER") != "" {
		helperMain()
		return
	}
	os.Exit(m.Run())
}

func requireRoot(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

func netnsFor(t testing.TB, name string) host.Netns {
	t.Helper()
	ns, err := host.CreateNetns("mt-svc-" + name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.DeleteNetns(ns) })
	return ns
}

func newWorld(t *testing.T) *world {
	t.Helper()
	requireRoot(t)
	w := &world{t: t}
	w.lan, w.n1, w.n2 = netnsFor(t, "lan"), netnsFor(t, "n1"), netnsFor(t, "n2")
	w.p1, w.q1, w.p2 = netnsFor(t, "p1"), netnsFor(t, "q1"), netnsFor(t, "p2")
	w.inside(w.lan, func(h *netlink.Handle) error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br", TxQLen: -1}}
		return errors.Join(h.LinkAdd(br), h.LinkSetUp(br), linkAddress(h, "br", lanIP+"/16"), via(h, "10.244.1.0/24", n1IP, "br"), via(h, "10.244.2.0/24", n2IP, "br"))
	})
	w.join(w.lan, "v1", "br", w.n1, n1IP)
	w.join(w.lan, "v2", "br", w.n2, n2IP)
	w.inside(w.n1, func(h *netlink.Handle) error { return via(h, "10.244.2.0/24", n2IP, "eth0") })
	w.inside(w.n2, func(h *netlink.Handle) error { return via(h, "10.244.1.0/24", n1IP, "eth0") })
	w.pod(w.n1, "vp1", w.p1, p1IP)
	w.pod(w.n1, "vq1", w.q1, q1IP)
	w.pod(w.n2, "vp2", w.p2, p2IP)
	for _, n := range []host.Netns{w.n1, w.n2} {
		if err := n.Sysctls(map[string]string{"net/ipv4/ip_forward": "1"}); err != nil {
			t.Fatal(err)
		}
	}
	w.cgroup = host.Cgroup{Path: fmt.Sprintf("mt-svc-%d", os.Getpid())}
	if err := w.cgroup.Create(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.cgroup.Delete(); err != nil {
			t.Error(err)
		}
	})
	w.startDataPlane()
	return w
}

func (w *world) startDataPlane() {
	w.t.Helper()
	bpf := filepath.Join(w.t.TempDir(), "bpf")
	if err := os.MkdirAll(bpf, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := host.MountBPF(bpf); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { host.Unmount(bpf) })
	w.cfg = Config{
		Netns: w.n1, Cgroup: w.cgroup, PinDir: filepath.Join(bpf, "n1"), Uplinks: []string{"eth0"}, NodeName: "n1",
		NodeIPs:      []netip.Addr{netip.MustParseAddr(n1IP)},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
	}
	w.open()
	w.t.Cleanup(func() {
		w.dp.Close()
		if err := Remove(w.cfg); err != nil {
			w.t.Error(err)
		}
		if err := Remove(w.cfg); err != nil {
			w.t.Errorf("second removal: %v", err)
		}
	})
	err := w.dp.SetNodes([]route.Node{
		{Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr(n1IP)}},
		{Name: "n2", Addrs: []netip.Addr{netip.MustParseAddr(n2IP)}},
	})
	for _, pod := range []string{"vp1", "vq1"} {
		err = errors.Join(err, w.dp.AttachPod(pod), w.dp.AttachPod(pod))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) open() {
	w.t.Helper()
	dp, err := New(w.cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	start := time.Now()
	if err := dp.Open(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Logf("opened in %s", time.Since(start))
	w.dp = dp
}

func (w *world) inside(ns host.Netns, fn func(h *netlink.Handle) error) {
	w.t.Helper()
	h, err := ns.Handle()
	if err != nil {
		w.t.Fatal(err)
	}
	defer h.Close()
	if err := fn(h); err != nil {
		w.t.Fatalf("%s: %v", ns.Name, err)
	}
}

func (w *world) join(lan host.Netns, port, bridge string, n host.Netns, ip string) {
	w.t.Helper()
	w.veth(lan, port, n)
	w.inside(lan, func(h *netlink.Handle) error {
		l, err := h.LinkByName(port)
		if err != nil {
			return err
		}
		br, err := h.LinkByName(bridge)
		if err != nil {
			return err
		}
		return h.LinkSetMaster(l, br)
	})
	w.inside(n, func(h *netlink.Handle) error {
		return errors.Join(linkAddress(h, "eth0", ip+"/16"), via(h, "0.0.0.0/0", lanIP, "eth0"))
	})
}

func (w *world) pod(n host.Netns, port string, pod host.Netns, ip string) {
	w.t.Helper()
	w.veth(n, port, pod)
	w.inside(pod, func(h *netlink.Handle) error {
		return errors.Join(linkAddress(h, "eth0", ip+"/32"), via(h, "169.254.1.1/32", "", "eth0"), via(h, "0.0.0.0/0", "169.254.1.1", "eth0"))
	})
	w.inside(n, func(h *netlink.Handle) error {
		return errors.Join(linkAddress(h, port, "169.254.1.1/32"), via(h, ip+"/32", "", port))
	})
}

func (w *world) veth(a host.Netns, name string, b host.Netns) {
	w.t.Helper()
	n, err := host.OpenNet(a)
	if err != nil {
		w.t.Fatal(err)
	}
	defer n.Close()
	if err := n.AddVeth(name, "", nil, host.VethEnd{Netns: b, Name: "eth0"}, 1500); err != nil {
		w.t.Fatal(err)
	}
	for ns, link := range map[host.Netns]string{a: name, b: "eth0"} {
		w.inside(ns, func(h *netlink.Handle) error {
			l, err := h.LinkByName(link)
			if err != nil {
				return err
			}
			return h.LinkSetUp(l)
		})
	}
}

func linkAddress(h *netlink.Handle, link, prefix string) error {
	l, err := h.LinkByName(link)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		return err
	}
	return h.AddrReplace(l, a)
}

func via(h *netlink.Handle, dst, gw, link string) error {
	l, err := h.LinkByName(link)
	if err != nil {
		return err
	}
	_, ipnet, err := net.ParseCIDR(dst)
	if err != nil {
		return err
	}
	r := &netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipnet}
	if gw == "" {
		r.Scope = netlink.SCOPE_LINK
	} else {
		r.Gw = net.ParseIP(gw)
	}
	if err := h.RouteReplace(r); err != nil {
		return fmt.Errorf("route %s via %s: %w", dst, gw, err)
	}
	return nil
}

// serveTCP answers every connection with the server's name and the client's address.
func (w *world) serveTCP(ns host.Netns, name, addr string) {
	w.t.Helper()
	l, err := ns.Listen(context.Background(), "tcp4", addr)
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
				fmt.Fprintf(c, "%s %s\n", name, c.RemoteAddr())
				io.Copy(c, c)
			}()
		}
	}()
}

func (w *world) serveUDP(ns host.Netns, name, addr string) {
	w.t.Helper()
	c, err := ns.ListenPacket(context.Background(), "udp4", addr)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			c.WriteTo([]byte(fmt.Sprintf("%s %s %d\n", name, from, n)), from)
		}
	}()
}

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

// back makes a list of backends; those on the node under test are local.
func back(addrs ...string) []route.Backend {
	var out []route.Backend
	for _, a := range addrs {
		ap := netip.MustParseAddrPort(a)
		ip := ap.Addr().String()
		out = append(out, route.Backend{Addr: ap, Local: ip == p1IP || ip == q1IP || ip == n1IP})
	}
	return out
}

// clusterIP makes a cluster IP frontend with one decision for all.
func clusterIP(name, ip string, port uint16, p corev1.Protocol, backends []route.Backend) route.Frontend {
	f := route.Frontend{
		Service: types.NamespacedName{Namespace: "default", Name: name}, Kind: route.ClusterIP,
		Addr: netip.MustParseAddr(ip), Port: port, Protocol: p, Cluster: backends,
	}
	verdict := route.Forward
	if len(backends) == 0 {
		verdict = route.Reject
	}
	for c := range f.Decisions {
		f.Decisions[c] = route.Decision{Verdict: verdict, Masquerade: verdict == route.Forward && c == int(route.FromOutside)}
	}
	return f
}

func nodePort(name string, port uint16, p corev1.Protocol, backends []route.Backend) route.Frontend {
	f := clusterIP(name, "0.0.0.0", port, p, backends)
	f.Kind, f.Addr = route.NodePort, netip.Addr{}
	return f
}

func (w *world) apply(fs ...route.Frontend) {
	w.t.Helper()
	by := map[types.NamespacedName][]route.Frontend{}
	for _, f := range fs {
		by[f.Service] = append(by[f.Service], f)
	}
	if err := w.dp.ApplyAll(w.t.Context(), by); err != nil {
		w.t.Fatal(err)
	}
}

// outsideRoute lets the outside client reach cluster IPs through the node.
func outsideRoute(h *netlink.Handle) error { return via(h, "10.96.0.0/16", n1IP, "br") }

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
