package dataplane

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
)

var backendMAC = net.HardwareAddr{2, 0, 0, 0, 0, 9}

// newShortcutRig is a rig with a route to the second node's pods by the interface of the pod, and a NodePort.
func newShortcutRig(t *testing.T, f family) *rig {
	r := newRig(t)
	r.settings.Inject = r.injectIn
	r.configure()
	if err := r.ns.Sysctls(map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}); err != nil {
		t.Fatal(err)
	}
	r.with(func(h *netlink.Handle) error {
		var err error
		for _, name := range []string{"pod", "up", "in", "out"} {
			l, lookup := h.LinkByName(name)
			err = errors.Join(err, lookup, h.LinkSetUp(l))
		}
		neighbour := &netlink.Neigh{LinkIndex: int(r.pod), State: netlink.NUD_PERMANENT, IP: ip(f.p2).AsSlice(), HardwareAddr: backendMAC}
		return errors.Join(err, linkAddress(h, "up", f.onLAN(f.n1)), via(h, single(f.p2), "", "pod"), h.NeighSet(neighbour))
	})
	r.apply(f.nodePort("tcp", 30001, corev1.ProtocolTCP, back(f.p2+":8080")))
	r.open(t, monotonic(t)+60)
	r.exit(t, r.pod)
	return r
}

func (r *rig) with(fn func(h *netlink.Handle) error) {
	r.t.Helper()
	h, err := r.ns.Handle()
	if err != nil {
		r.t.Fatal(err)
	}
	defer h.Close()
	if err := fn(h); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) open(t *testing.T, until uint32) {
	t.Helper()
	if err := r.collection.Maps["shortcut"].Put(uint32(0), &shortcut{Until4: until, Until6: until}); err != nil {
		t.Fatal(err)
	}
}

func (r *rig) exit(t *testing.T, index uint32) {
	t.Helper()
	if err := (kernelTable[uint32, uint32]{r.collection.Maps["exits"]}).put([]uint32{index}, []uint32{1}); err != nil {
		t.Fatal(err)
	}
}

// hops is the field of a frame, and setHops a frame with another one.
func hops(frame []byte) byte {
	if isIPv6(frame) {
		return frame[14+7]
	}
	return frame[14+8]
}

func setHops(frame []byte, n byte) []byte {
	out := bytes.Clone(frame)
	if isIPv6(out) {
		out[14+7] = n
		return out
	}
	out[14+8] = n
	copy(out[14+10:], []byte{0, 0})
	binary.BigEndian.PutUint16(out[14+10:], ^uint16(sum(0, out[14:34])))
	return out
}

// TestPacketShortcut sends translated packets straight to the interface of their route, and all those the long way for
// which the kernel has more to do.
func TestPacketShortcut(t *testing.T) { eachFamily(t, testPacketShortcut) }

func testPacketShortcut(t *testing.T, f family) {
	r := newShortcutRig(t, f)
	in := segment{from: f.client(), to: f.n1 + ":30001", flags: syn}
	// Whom a packet is sent to is written into it, but for one a second, for which the kernel asks the neighbour.
	addressed, asked := 0, 0
	straight := func(what string, frame []byte) {
		t.Helper()
		v, out := r.ingress(r.uplink, frame)
		if bytes.Equal(out[:6], frame[:6]) {
			asked++
		} else if bytes.Equal(out[:6], backendMAC) {
			addressed++
		} else {
			t.Errorf("%s: to %x", what, out[:6])
		}
		if v != redirect || hops(out) != hops(frame)-1 {
			t.Errorf("%s: verdict %d, to %x with %d hops of %d left", what, int32(v), out[:6], hops(out), hops(frame))
		}
		if got := parse(t, out); got.to != f.p2+":8080" {
			t.Errorf("%s: to %s", what, got.to)
		}
	}
	long := func(what string, frame []byte) {
		t.Helper()
		v, out := r.ingress(r.uplink, frame)
		if v != redirect || !bytes.Equal(out[:6], r.settings.MAC[:6]) || hops(out) != hops(frame) {
			t.Errorf("%s: verdict %d, to %x with %d hops of %d left", what, int32(v), out[:6], hops(out), hops(frame))
		}
		parse(t, out)
	}
	// What was looked up is used for a second.
	isLong := func(frame []byte) func() bool {
		return func() bool {
			_, out := r.ingress(r.uplink, frame)
			return hops(out) == hops(frame)
		}
	}
	straight("first packet", in.packet())
	in.flags = ack
	straight("later packet", in.packet())
	straight("two hops left", setHops(in.packet(), 2))
	long("one hop left", setHops(in.packet(), 1))
	in.payload = strings.Repeat("x", 1400)
	straight("large packet", in.packet())
	mtu := func(mtu int) {
		r.with(func(h *netlink.Handle) error {
			_, dst, err := net.ParseCIDR(single(f.p2))
			return errors.Join(err, h.RouteReplace(&netlink.Route{LinkIndex: int(r.pod), Dst: dst, Scope: netlink.SCOPE_LINK, MTU: mtu, MTULock: mtu > 0}))
		})
	}
	mtu(1300)
	eventually(t, "the path's MTU is heeded", isLong(in.packet()))
	long("packet larger than the path takes", in.packet())
	mtu(0)
	eventually(t, "the path takes all again", func() bool { return !isLong(in.packet())() })
	in.payload = ""

	r.open(t, monotonic(t)-1)
	long("nobody has looked for a while", in.packet())
	r.open(t, 0)
	long("somebody inspects packets", in.packet())
	r.open(t, monotonic(t)+60)
	straight("nobody inspects packets any more", in.packet())

	exits := kernelTable[uint32, uint32]{r.collection.Maps["exits"]}
	if err := exits.remove([]uint32{r.pod}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "an interface that is not known is not used", isLong(in.packet()))
	r.exit(t, r.pod)
	eventually(t, "a known interface is used", func() bool { return !isLong(in.packet())() })
	for range 20 {
		straight("one of many", in.packet())
	}
	if addressed == 0 {
		t.Error("the kernel is asked for the neighbour for every packet")
	}
	asked = 0
	eventually(t, "the kernel is asked for the neighbour now and then", func() bool {
		straight("one later on", in.packet())
		return asked > 0
	})
	r.with(func(h *netlink.Handle) error {
		return h.NeighDel(&netlink.Neigh{LinkIndex: int(r.pod), IP: ip(f.p2).AsSlice()})
	})
	eventually(t, "a neighbour whom nobody knows is not addressed", isLong(in.packet()))
}

// TestShortcutMakesWay: a filter in the kernel's forwarding gets to see translated packets, and one that is gone does not
// slow them down any more.
func TestShortcutMakesWay(t *testing.T) {
	w := newWorld(t)
	w.shortcut(false)
	for _, f := range []family{v4, v6} {
		w.serveTCP(w.p1, "p1", f.p1+":8080")
		w.apply(f.nodePort("a-"+f.name, 30001, corev1.ProtocolTCP, back(f.p1+":8080")))
	}
	nft := func(command string) {
		t.Helper()
		err := w.n1.Do(func() error {
			out, err := exec.Command("nft", command).CombinedOutput()
			if err != nil {
				t.Logf("%s", out)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	// forwarded tells whether an answered request passes the kernel's forwarding.
	forwarded := func(f family) bool {
		before := w.forwards(f)
		wantAnswer(t, f.name, ask(w.lan, f.tcp, f.n1+":30001"), "p1", "")
		return w.forwards(f) != before
	}
	if !forwarded(v4) || !forwarded(v6) {
		t.Error("packets are not forwarded before anybody has looked who inspects them")
	}
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- w.dp.Run(ctx) }()
	defer func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	eventually(t, "IPv4 goes straight", func() bool { return !forwarded(v4) })
	eventually(t, "IPv6 goes straight", func() bool { return !forwarded(v6) })
	nft("add table ip6 net; add chain ip6 net f { type filter hook forward priority 0; policy drop; }")
	eventually(t, "IPv6 is dropped", func() bool { return ask(w.lan, v6.tcp, v6.n1+":30001").Err != "" })
	if forwarded(v4) {
		t.Error("IPv4 is forwarded, though nobody inspects it")
	}
	nft("delete table ip6 net")
	eventually(t, "IPv6 goes straight again", func() bool { return !forwarded(v6) })
	stop()
	eventually(t, "without anybody who looks, packets are forwarded", func() bool { return forwarded(v4) && forwarded(v6) })
}

// forwards counts the packets that the kernel of the first node has forwarded.
func (w *world) forwards(f family) (n int) {
	w.t.Helper()
	err := w.n1.Do(func() error {
		if f.ipv6 {
			text, err := os.ReadFile("/proc/thread-self/net/snmp6")
			_, rest, _ := strings.Cut(string(text), "Ip6OutForwDatagrams")
			fmt.Sscan(rest, &n)
			return err
		}
		text, err := os.ReadFile("/proc/thread-self/net/snmp")
		var names []string
		for line := range strings.Lines(string(text)) {
			values := strings.Fields(line)
			if i := slices.Index(names, "ForwDatagrams"); i > 0 {
				n, _ = strconv.Atoi(values[i])
				return err
			}
			names = values
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// TestShortcutForgetsInterfaces that are gone.
func TestShortcutForgetsInterfaces(t *testing.T) {
	w := newWorld(t)
	var index uint32
	w.inside(w.n1, func(h *netlink.Handle) error {
		l, err := h.LinkByName("vq1")
		if err != nil {
			return err
		}
		index = uint32(l.Attrs().Index)
		return nil
	})
	knows := func() (known bool) {
		if err := w.dp.exits().each(func(i, _ uint32) { known = known || i == index }); err != nil {
			t.Fatal(err)
		}
		return known
	}
	if !knows() {
		t.Fatal("a pod's interface is not known")
	}
	w.inside(w.n1, func(h *netlink.Handle) error {
		l, err := h.LinkByName("vq1")
		return errors.Join(err, h.LinkDel(l))
	})
	if err := w.dp.pruneExits(); err != nil {
		t.Fatal(err)
	}
	if knows() {
		t.Error("an interface that is gone is known still")
	}
}
