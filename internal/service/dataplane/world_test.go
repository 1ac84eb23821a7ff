package dataplane

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
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
//
// All of them have IPv6 addresses as well, see family.
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
	// With the number of the process, tests of several checkouts can run at a time.
	ns, err := host.CreateNetns(fmt.Sprintf("mt-svc-%d-%s", os.Getpid(), name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.DeleteNetns(ns) })
	// Addresses are usable at once, rather than after a second of looking for duplicates.
	if err := ns.Sysctls(map[string]string{"net/ipv6/conf/default/accept_dad": "0"}); err != nil {
		t.Fatal(err)
	}
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
		err := errors.Join(h.LinkAdd(br), h.LinkSetUp(br))
		for _, f := range []family{v4, v6} {
			err = errors.Join(err, linkAddress(h, "br", f.onLAN(f.lan)), via(h, f.pods(1), f.n1, "br"), via(h, f.pods(2), f.n2, "br"))
		}
		return err
	})
	w.join(w.lan, "v1", "br", w.n1, func(f family) string { return f.n1 })
	w.join(w.lan, "v2", "br", w.n2, func(f family) string { return f.n2 })
	for _, f := range []family{v4, v6} {
		w.inside(w.n1, func(h *netlink.Handle) error { return via(h, f.pods(2), f.n2, "eth0") })
		w.inside(w.n2, func(h *netlink.Handle) error { return via(h, f.pods(1), f.n1, "eth0") })
	}
	w.pod(w.n1, "vp1", w.p1, func(f family) string { return f.p1 })
	w.pod(w.n1, "vq1", w.q1, func(f family) string { return f.q1 })
	w.pod(w.n2, "vp2", w.p2, func(f family) string { return f.p2 })
	for _, n := range []host.Netns{w.n1, w.n2} {
		if err := n.Sysctls(map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}); err != nil {
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
	w.cfg = Config{
		Netns: w.n1, Cgroup: w.cgroup, PinDir: filepath.Join(w.mountBPF(), "n1"), Uplinks: []string{"eth0"}, NodeName: "n1",
		NodeIPs:      []netip.Addr{ip(v4.n1), ip(v6.n1)},
		ServiceCIDRs: []netip.Prefix{v4.services(), v6.services()},
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
	err := w.dp.SetNodes(nodesOf(v4, v6))
	for _, pod := range []string{"vp1", "vq1"} {
		err = errors.Join(err, w.dp.AttachPod(pod), w.dp.AttachPod(pod))
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) mountBPF() string {
	w.t.Helper()
	bpf := filepath.Join(w.t.TempDir(), "bpf")
	if err := os.MkdirAll(bpf, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := host.MountBPF(bpf); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { host.Unmount(bpf) })
	return bpf
}

// secondDataPlane gives the second node a data plane of its own, which serves packets but no sockets of the tests.
func (w *world) secondDataPlane() *DataPlane {
	w.t.Helper()
	cgroup := host.Cgroup{Path: w.cgroup.Path + "-n2"}
	if err := cgroup.Create(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := cgroup.Delete(); err != nil {
			w.t.Error(err)
		}
	})
	cfg := Config{
		Netns: w.n2, Cgroup: cgroup, PinDir: filepath.Join(w.mountBPF(), "n2"), Uplinks: []string{"eth0"}, NodeName: "n2",
		NodeIPs:      []netip.Addr{ip(v4.n2), ip(v6.n2)},
		ServiceCIDRs: []netip.Prefix{v4.services(), v6.services()},
	}
	dp, err := New(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := dp.Open(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		if err := errors.Join(dp.Close(), Remove(cfg)); err != nil {
			w.t.Error(err)
		}
	})
	if err := errors.Join(dp.SetNodes(nodesOf(v4, v6)), dp.AttachPod("vp2")); err != nil {
		w.t.Fatal(err)
	}
	return dp
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
	w.shortcut(true)
}

// shortcut opens or closes the short way of translated packets; Run is not there to do it.
func (w *world) shortcut(open bool) {
	w.t.Helper()
	var s shortcut
	if open {
		s = shortcut{Until4: 1<<32 - 1, Until6: 1<<32 - 1}
	}
	if err := w.dp.collection.Maps["shortcut"].Put(uint32(0), &s); err != nil {
		w.t.Fatal(err)
	}
}

// worldOf is a world whose translated packets take the way that the family says.
func worldOf(t *testing.T, f family) *world {
	t.Helper()
	w := newWorld(t)
	w.shortcut(!f.long)
	return w
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

func (w *world) join(lan host.Netns, port, bridge string, n host.Netns, addr func(family) string) {
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
	for _, f := range []family{v4, v6} {
		w.inside(n, func(h *netlink.Handle) error {
			return errors.Join(linkAddress(h, "eth0", f.onLAN(addr(f))), via(h, f.everything(), f.lan, "eth0"))
		})
	}
}

func (w *world) pod(n host.Netns, port string, pod host.Netns, addr func(family) string) {
	w.t.Helper()
	w.veth(n, port, pod)
	for _, f := range []family{v4, v6} {
		w.inside(n, func(h *netlink.Handle) error {
			return errors.Join(linkAddress(h, port, single(f.gateway())), via(h, single(addr(f)), "", port))
		})
		w.inside(pod, func(h *netlink.Handle) error {
			return errors.Join(linkAddress(h, "eth0", single(addr(f))), via(h, single(f.gateway()), "", "eth0"), via(h, f.everything(), f.gateway(), "eth0"))
		})
	}
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
		r.Gw = ip(gw).AsSlice()
	}
	if err := h.RouteReplace(r); err != nil {
		return fmt.Errorf("route %s via %s: %w", dst, gw, err)
	}
	return nil
}

// serveTCP answers every connection with the server's name and the client's address.
func (w *world) serveTCP(ns host.Netns, name, addr string) {
	w.t.Helper()
	l, err := ns.Listen(context.Background(), "tcp", addr)
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
	c, err := ns.ListenPacket(context.Background(), "udp", addr)
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

// back makes a list of backends; those on the node under test are local.
func back(addrs ...string) []route.Backend {
	var out []route.Backend
	for _, a := range addrs {
		ap := netip.MustParseAddrPort(a)
		local := false
		for _, f := range []family{v4, v6} {
			local = local || ap.Addr() == ip(f.p1) || ap.Addr() == ip(f.q1) || ap.Addr() == ip(f.n1)
		}
		out = append(out, route.Backend{Addr: ap, Local: local})
	}
	return out
}

// clusterIP makes a cluster IP frontend with one decision for all.
func clusterIP(name, addr string, port uint16, p corev1.Protocol, backends []route.Backend) route.Frontend {
	f := route.Frontend{
		Service: types.NamespacedName{Namespace: "default", Name: name}, Kind: route.ClusterIP,
		Addr: ip(addr), IPv6: ip(addr).Is6(), Port: port, Protocol: p, Cluster: backends,
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
	return v4.nodePort(name, port, p, backends)
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
func outsideRoute(h *netlink.Handle) error {
	return errors.Join(via(h, v4.services().String(), v4.n1, "br"), via(h, v6.services().String(), v6.n1, "br"))
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }
