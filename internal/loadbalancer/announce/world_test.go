package announce

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cilium/ebpf"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// The world of the live tests: a LAN with a machine that is client and gateway, and three nodes.
//
//	lan 172.30.0.1 ─ bridge ─┬─ n1 172.30.0.11
//	                         ├─ n2 172.30.0.12
//	                         └─ n3 172.30.0.13
//
// The addresses of the Service are on each node's loopback interface, so that servers can have them; there is no Service
// data plane. The kernels don't answer for them.
type world struct {
	t   *testing.T
	lan host.Netns
	bpf string
	// gateway is the address of the LAN's machine that nodes ask.
	gateway netip.Addr
	nodes   map[string]*node
}

type node struct {
	*Announcer
	w     *world
	name  string
	ns    host.Netns
	cfg   Config
	flows *ebpf.Map
	stop  func()

	views     atomic.Int32 // how often OnView was called
	mu        sync.Mutex
	view      View
	conflicts []Conflict
}

func newWorld(t *testing.T, names ...string) *world {
	t.Helper()
	return newWorldOf(t, v4, names...)
}

// newWorldOf makes a world whose gateway has an address of that family.
func newWorldOf(t *testing.T, gateway family, names ...string) *world {
	t.Helper()
	requireRoot(t)
	w := &world{t: t, lan: netnsFor(t, "lan"), nodes: map[string]*node{}, bpf: mountBPF(t), gateway: ip(gateway.client)}
	// A machine that is not in the bridge is not heard by the machine behind it.
	if err := w.lan.Sysctls(map[string]string{"net/ipv4/conf/all/arp_ignore": "1"}); err != nil {
		t.Fatal(err)
	}
	w.inside(w.lan, func(h *netlink.Handle) error {
		br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "br", TxQLen: -1}}
		return errors.Join(h.LinkAdd(br), h.LinkSetUp(br), addAddress(h, "br", v4.client+"/16"), addAddress(h, "br", ip(v6.client).String()+"/64"))
	})
	for i, name := range names {
		w.node(name, i)
	}
	var peers []Peer
	for _, n := range w.nodes {
		peers = append(peers, Peer{Name: n.name, Addresses: n.cfg.Addresses})
	}
	for _, n := range w.nodes {
		if err := n.SetPeers(peers); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

func mountBPF(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bpf")
	if err := errors.Join(os.MkdirAll(dir, 0o700), host.MountBPF(dir)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Unmount(dir) })
	return dir
}

// nodeAddress is an address of the node of that number.
func (f family) nodeAddress(i int) netip.Addr {
	a := ip(f.self)
	for range i {
		a = a.Next()
	}
	return a
}

func (w *world) node(name string, i int) {
	w.t.Helper()
	n := &node{w: w, name: name, ns: w.machine(name, v4.nodeAddress(i).String()+"/16", v6.nodeAddress(i).String()+"/64"), flows: newFlows(w.t)}
	// The kernel neither answers for the addresses of Services, nor asks with them as the sender.
	if err := n.ns.Sysctls(map[string]string{"net/ipv4/conf/all/arp_ignore": "1", "net/ipv4/conf/all/arp_announce": "2"}); err != nil {
		w.t.Fatal(err)
	}
	w.inside(n.ns, func(h *netlink.Handle) error {
		return errors.Join(addAddress(h, "lo", v4.vip+"/32"), addAddress(h, "lo", ip(v6.vip).String()+"/128"))
	})
	n.cfg = Config{
		NodeName: name, Netns: n.ns, Links: []string{"eth0"}, PinDir: filepath.Join(w.bpf, name),
		Addresses: []netip.Addr{v4.nodeAddress(i), v6.nodeAddress(i)}, Gateways: []netip.Addr{w.gateway},
		Flows:  func() *ebpf.Map { return n.flows },
		OnView: n.onView, OnConflict: n.onConflict, Logger: slog.New(slog.NewTextHandler(testWriter{w.t}, nil)),
	}
	w.nodes[name] = n
	n.open()
	w.t.Cleanup(func() {
		n.close()
		if err := errors.Join(Remove(n.cfg), Remove(n.cfg)); err != nil {
			w.t.Error(err)
		}
	})
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Log(strings.TrimSpace(string(b)))
	return len(b), nil
}

// machine makes a namespace with an interface eth0 on the LAN.
func (w *world) machine(name string, addrs ...string) host.Netns {
	w.t.Helper()
	ns := netnsFor(w.t, name)
	w.connect(name, ns, addrs...)
	return ns
}

func (w *world) connect(name string, ns host.Netns, addrs ...string) {
	w.t.Helper()
	n, err := host.OpenNet(w.lan)
	if err != nil {
		w.t.Fatal(err)
	}
	defer n.Close()
	if err := n.AddVeth(name, "", nil, host.VethEnd{Netns: ns, Name: "eth0"}, 1500); err != nil {
		w.t.Fatal(err)
	}
	w.plug(name, true)
	w.inside(w.lan, func(h *netlink.Handle) error { return setUp(h, name, true) })
	w.inside(ns, func(h *netlink.Handle) error {
		err := setUp(h, "eth0", true)
		for _, a := range addrs {
			err = errors.Join(err, addAddress(h, "eth0", a))
		}
		return err
	})
}

// replace gives a node another interface in place of its one.
func (w *world) replace(n *node) {
	w.t.Helper()
	i := slices.Index([]string{"n1", "n2", "n3"}, n.name)
	w.inside(w.lan, func(h *netlink.Handle) error {
		l, err := h.LinkByName(n.name)
		if err != nil {
			return err
		}
		return h.LinkDel(l)
	})
	w.connect(n.name, n.ns, v4.nodeAddress(i).String()+"/16", v6.nodeAddress(i).String()+"/64")
}

// plug puts a machine's cable into the bridge or takes it out; the machine's interface has a carrier either way.
func (w *world) plug(port string, in bool) {
	w.t.Helper()
	w.inside(w.lan, func(h *netlink.Handle) error {
		l, err := h.LinkByName(port)
		if err != nil {
			return err
		}
		if !in {
			return h.LinkSetNoMaster(l)
		}
		br, err := h.LinkByName("br")
		if err != nil {
			return err
		}
		return h.LinkSetMaster(l, br)
	})
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

func setUp(h *netlink.Handle, link string, up bool) error {
	l, err := h.LinkByName(link)
	if err != nil {
		return err
	}
	if up {
		return h.LinkSetUp(l)
	}
	return h.LinkSetDown(l)
}

// addAddress adds an address that can be used at once.
func addAddress(h *netlink.Handle, link, prefix string) error {
	return addAddressWith(h, link, prefix, unix.IFA_F_NODAD)
}

func addAddressWith(h *netlink.Handle, link, prefix string, flags int) error {
	l, err := h.LinkByName(link)
	if err != nil {
		return err
	}
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		return err
	}
	a.Flags = flags
	return h.AddrReplace(l, a)
}

func (n *node) onView(v View) {
	n.views.Add(1)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.view = v
}

func (n *node) onConflict(c Conflict) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.conflicts = append(n.conflicts, c)
}

// sees tells what OnView was told last.
func (n *node) sees(peer string) (alive, known bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	alive, known = n.view.Peers[peer]
	return alive, known
}

func (n *node) isSelf() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.view.Self
}

// claimed returns the conflicts of an address that were told.
func (n *node) claimed(addr string) (out []Conflict) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.conflicts {
		if c.Addr == ip(addr) {
			out = append(out, c)
		}
	}
	return out
}

// open opens an Announcer and runs it.
func (n *node) open() {
	n.w.t.Helper()
	a, err := New(n.cfg)
	if err != nil {
		n.w.t.Fatal(err)
	}
	if err := a.Open(n.w.t.Context()); err != nil {
		n.w.t.Fatal(err)
	}
	n.Announcer = a
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	n.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				n.w.t.Error(err)
			}
		case <-time.After(10 * time.Second):
			n.w.t.Error("Run goes on after the end")
		}
	})
}

func (n *node) close() {
	n.stop()
	if err := n.Close(); err != nil {
		n.w.t.Error(err)
	}
}

func (n *node) apply(key string, s Service) {
	n.w.t.Helper()
	if err := n.Apply(key, s); err != nil {
		n.w.t.Fatal(err)
	}
}

func (n *node) mac() net.HardwareAddr {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.Announcer.mu.Lock()
	defer n.Announcer.mu.Unlock()
	return n.uplinks["eth0"].mac
}

// announced is a Service with one address that is announced or not.
func announced(addr string, answer bool) Service {
	return Service{Addresses: []Address{{Addr: ip(addr), Answer: answer}}}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	start := time.Now()
	for deadline := start.Add(15 * time.Second); !is(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 15s: %s", what)
		}
	}
	t.Logf("%s: after %s", what, time.Since(start).Round(time.Millisecond))
}

// neighbour is the hardware address that the LAN's machine has in its cache, or nil.
func (w *world) neighbour(addr string) (mac net.HardwareAddr) {
	w.t.Helper()
	w.inside(w.lan, func(h *netlink.Handle) error {
		l, err := h.LinkByName("br")
		if err != nil {
			return err
		}
		family := netlink.FAMILY_V4
		if ip(addr).Is6() {
			family = netlink.FAMILY_V6
		}
		all, err := h.NeighList(l.Attrs().Index, family)
		for _, n := range all {
			if a, _ := netip.AddrFromSlice(n.IP); a.Unmap() == ip(addr) && n.State&(netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
				mac = n.HardwareAddr
			}
		}
		return err
	})
	return mac
}

// forgetNeighbours empties the cache of the LAN's machine.
func (w *world) forgetNeighbours() {
	w.t.Helper()
	w.inside(w.lan, func(h *netlink.Handle) error {
		l, err := h.LinkByName("br")
		if err != nil {
			return err
		}
		for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
			all, err := h.NeighList(l.Attrs().Index, family)
			if err != nil {
				return err
			}
			for _, n := range all {
				if n.State&netlink.NUD_NOARP == 0 {
					_ = h.NeighDel(&n)
				}
			}
		}
		return nil
	})
}

// reach sends something to an address, so that the LAN's machine asks for it.
func (w *world) reach(addr string) {
	w.t.Helper()
	c, err := w.lan.DialContext(w.t.Context(), "udp", addr+":9")
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	_, _ = c.Write([]byte("hello"))
}
