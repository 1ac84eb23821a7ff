package announce

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestNeighboursFollow moves an address between nodes, with an entry in a Linux neighbour cache that is fresh: such an entry
// ignores most forms.
func TestNeighboursFollow(t *testing.T) { eachFamily(t, testNeighboursFollow) }

func testNeighboursFollow(t *testing.T, f family) {
	w := newWorld(t, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.apply("a", announced(f.vip, true))
	n2.apply("a", announced(f.vip, false))
	at := func(n *node) func() bool {
		return func() bool { return bytes.Equal(w.neighbour(f.vip), n.mac()) }
	}
	eventually(t, "the address is at n1", w.found(f.vip, n1))
	for range 3 {
		n1.apply("a", announced(f.vip, false))
		n2.apply("a", announced(f.vip, true))
		eventually(t, "the address is at n2", at(n2))
		n2.apply("a", announced(f.vip, false))
		n1.apply("a", announced(f.vip, true))
		eventually(t, "the address is back at n1", at(n1))
	}
	n1.apply("a", Service{})
	n2.apply("a", Service{})
	w.forgetNeighbours()
	w.reach(f.vip)
	eventually(t, "nobody has the address", func() bool {
		d, err := n1.Dump()
		return err == nil && len(d.Addresses) == 0 && w.neighbour(f.vip) == nil
	})
}

// TestGratuitousForms checks what is sent when an address comes to a node.
func TestGratuitousForms(t *testing.T) { eachFamily(t, testGratuitousForms) }

func testGratuitousForms(t *testing.T, f family) {
	w := newWorld(t, "n1")
	n1 := w.nodes["n1"]
	lan := w.raw(w.lan, "br")
	n1.apply("a", announced(f.vip, true))
	vip := ip(f.vip).String()
	want := [][]byte{arpFrame(broadcast, n1.mac(), 1, n1.mac(), vip, noMAC, vip), arpFrame(broadcast, n1.mac(), 2, n1.mac(), vip, n1.mac(), vip)}
	if f.ipv6 {
		want = [][]byte{advertisement(n1.mac(), vip)}
	}
	for range 3 {
		for _, frame := range want {
			if lan.receive(5*time.Second, func(got []byte) bool { return bytes.Equal(got, frame) }) == nil {
				t.Fatalf("did not see % x", frame)
			}
		}
	}
	all, err := n1.Counters()
	if err != nil || len(all) != 1 || all[0].Gratuitous < 3 {
		t.Errorf("counted %+v, %v", all, err)
	}
}

// TestDuplicatesAreRefused has another machine try to take an announced address.
func TestDuplicatesAreRefused(t *testing.T) {
	w := newWorld(t, "n1")
	n1 := w.nodes["n1"]
	n1.apply("a", Service{Addresses: []Address{{Addr: ip(v4.vip), Answer: true}, {Addr: ip(v6.vip), Answer: true}}})
	other := w.machine("other")
	if err := other.Sysctls(map[string]string{"net/ipv6/conf/eth0/accept_dad": "1"}); err != nil {
		t.Fatal(err)
	}
	w.inside(other, func(h *netlink.Handle) error { return addAddressWith(h, "eth0", ip(v6.vip).String()+"/64", 0) })
	eventually(t, "the kernel finds the duplicate", func() (failed bool) {
		w.inside(other, func(h *netlink.Handle) error {
			l, err := h.LinkByName("eth0")
			if err != nil {
				return err
			}
			addrs, err := h.AddrList(l, netlink.FAMILY_V6)
			for _, a := range addrs {
				failed = failed || a.IP.Equal(ip(v6.vip).AsSlice()) && a.Flags&unix.IFA_F_DADFAILED != 0
			}
			return err
		})
		return failed
	})
	r := w.raw(other, "eth0")
	r.send(arpFrame(broadcast, r.mac, 1, r.mac, "0.0.0.0", noMAC, v4.vip))
	want := arpFrame(r.mac, n1.mac(), 2, n1.mac(), v4.vip, r.mac, "0.0.0.0")
	if r.receive(5*time.Second, func(got []byte) bool { return bytes.Equal(got, want) }) == nil {
		t.Error("an ARP probe was not answered")
	}
}

// TestConflicts has a stranger claim an address.
func TestConflicts(t *testing.T) { eachFamily(t, testConflicts) }

func testConflicts(t *testing.T, f family) {
	w := newWorld(t, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	n1.apply("a", announced(f.vip, true))
	n2.apply("a", announced(f.vip, false))
	eventually(t, "the address is at n1", w.found(f.vip, n1))
	stranger := w.raw(w.machine("stranger"), "eth0")
	for _, n := range []*node{n1, n2} {
		eventually(t, n.name+" tells of the stranger", func() bool {
			for _, frame := range announcements(ip(f.vip), stranger.mac) {
				stranger.send(frame)
			}
			for _, c := range n.claimed(f.vip) {
				if !bytes.Equal(c.MAC, stranger.mac) || c.Link != "eth0" || c.Peer != "" || c.Held {
					t.Fatalf("%s tells of %+v", n.name, c)
				}
			}
			return len(n.claimed(f.vip)) > 0
		})
	}
	eventually(t, "n1 has defended its address", func() bool {
		return w.found(f.vip, n1)() // an entry that has failed meanwhile is made anew only for a packet
	})
	// Two nodes that both announce it tell of each other, once they know each other's hardware addresses.
	eventually(t, "the nodes hear each other", func() bool {
		a, _ := n1.sees("n2")
		b, _ := n2.sees("n1")
		return a && b
	})
	n2.apply("b", announced(f.vip2, true))
	n1.apply("b", announced(f.vip2, true))
	n1.Reannounce(ip(f.vip2))
	eventually(t, "n2 tells of n1", func() bool {
		return slices.ContainsFunc(n2.claimed(f.vip2), func(c Conflict) bool { return c.Peer == "n1" && bytes.Equal(c.MAC, n1.mac()) })
	})
}

// TestProbedFirst announces addresses that no node has announced yet.
func TestProbedFirst(t *testing.T) { eachFamily(t, testProbedFirst) }

func testProbedFirst(t *testing.T, f family) {
	w := newWorld(t, "n1")
	n1 := w.nodes["n1"]
	prefix := "/16"
	if f.ipv6 {
		prefix = "/64"
	}
	stranger := w.machine("stranger", ip(f.vip2).String()+prefix)
	state := func(addr string) string {
		d, err := n1.Dump()
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range d.Addresses {
			if a.Addr == ip(addr) {
				return a.State
			}
		}
		return ""
	}
	probed := func(addr string) Service {
		return Service{Addresses: []Address{{Addr: ip(addr), Answer: true, Probe: true}}}
	}
	n1.apply("free", probed(f.vip))
	if got := state(f.vip); got != probing.String() {
		t.Errorf("at first: %s", got)
	}
	n1.apply("taken", probed(f.vip2))
	eventually(t, "the free one is announced", func() bool { return state(f.vip) == answered.String() })
	eventually(t, "and found", w.found(f.vip, n1))
	eventually(t, "the other one is held", func() bool { return state(f.vip2) == held.String() })
	eventually(t, "which is told", func() bool {
		return slices.ContainsFunc(n1.claimed(f.vip2), func(c Conflict) bool { return c.Held && c.Peer == "" })
	})
	n1.apply("taken", announced(f.vip2, true)) // another change of the Service meanwhile
	if got := state(f.vip2); got != held.String() {
		t.Errorf("after another change: %s", got)
	}
	w.forgetNeighbours()
	eventually(t, "the stranger keeps it", func() bool {
		w.reach(f.vip2)
		return bytes.Equal(w.neighbour(f.vip2), w.raw(stranger, "eth0").mac)
	})
	if got := n1.claimed(f.vip); len(got) > 0 {
		t.Errorf("told of %+v for the free one", got)
	}
}

// TestClaimedOnTrial has a stranger claim an address so late that it is answered already: it is given up, since nobody was
// told to come here.
func TestClaimedOnTrial(t *testing.T) { eachFamily(t, testClaimedOnTrial) }

func testClaimedOnTrial(t *testing.T, f family) {
	w := newWorld(t, "n1")
	n1 := w.nodes["n1"]
	stranger := w.raw(w.machine("stranger"), "eth0")
	phaseOf := func() phase {
		n1.mu.Lock()
		defer n1.mu.Unlock()
		if s := n1.addrs[ip(f.vip)]; s != nil {
			return s.phase
		}
		return owned
	}
	answers := func() bool {
		n1.mu.Lock()
		defer n1.mu.Unlock()
		return n1.addresses.have[addressOf(ip(f.vip))].Flags&addressAnswer != 0
	}
	onTrial := func() bool {
		n1.apply("late", Service{Addresses: []Address{{Addr: ip(f.vip), Answer: true, Probe: true}}})
		for phaseOf() == probing {
			time.Sleep(time.Millisecond)
		}
		if phaseOf() != tried || !answers() {
			n1.apply("late", Service{}) // this test was kept waiting; once more
			return false
		}
		stranger.send(announcements(ip(f.vip), stranger.mac)[0])
		return true
	}
	eventually(t, "the address is answered on trial, and given up", func() bool {
		if !onTrial() {
			return false
		}
		for phaseOf() == tried {
			time.Sleep(time.Millisecond)
		}
		if phaseOf() == answered { // the claim came too late
			n1.apply("late", Service{})
			return false
		}
		return true
	})
	if got := phaseOf(); got != held || answers() {
		t.Errorf("after the claim: %s, answered %v", got, answers())
	}
	eventually(t, "which is told", func() bool {
		return slices.ContainsFunc(n1.claimed(f.vip), func(c Conflict) bool { return c.Held && c.Peer == "" })
	})
}

// TestLivenessOfNodes takes cables out.
func TestLivenessOfNodes(t *testing.T) { eachFamily(t, testLivenessOfNodes) }

func testLivenessOfNodes(t *testing.T, f family) {
	w := newWorldOf(t, f, "n1", "n2", "n3")
	n1, n2, n3 := w.nodes["n1"], w.nodes["n2"], w.nodes["n3"]
	if v := n1.View(); v.Active {
		t.Errorf("with nothing to announce: %+v", v)
	}
	eventually(t, "n1 is alive to itself at first", n1.isSelf)
	if n := n1.views.Load(); n != 1 {
		t.Errorf("OnView was called %d times", n)
	}
	for _, n := range w.nodes {
		n.apply("a", announced(v4.vip, n == n1))
	}
	n2.apply("b", announced(v4.vip2, true))
	n3.apply("b", announced(v4.foreign, true))
	sees := func(n *node, peer string, want bool) func() bool {
		return func() bool {
			alive, known := n.sees(peer)
			return known && alive == want
		}
	}
	eventually(t, "n1 hears n2", sees(n1, "n2", true))
	eventually(t, "n1 hears n3", sees(n1, "n3", true))
	w.plug("n2", false)
	eventually(t, "n1 misses n2", sees(n1, "n2", false))
	eventually(t, "n2 misses n3", sees(n2, "n3", false))
	eventually(t, "n2 falls silent", func() bool { return !n2.isSelf() })
	if alive, _ := n1.sees("n3"); !alive || !n1.isSelf() {
		t.Error("n1 lost more than n2")
	}
	r := w.raw(w.lan, "br")
	w.plug("n2", true)
	r.send(arpFrame(broadcast, r.mac, 1, r.mac, v4.client, noMAC, v4.vip2))
	answer := arpFrame(r.mac, n2.mac(), 2, n2.mac(), v4.vip2, r.mac, v4.client)
	if r.receive(200*time.Millisecond, func(got []byte) bool { return bytes.Equal(got, answer) }) != nil {
		t.Error("a node that just came back answers at once")
	}
	start := time.Now()
	eventually(t, "n1 hears n2 again", sees(n1, "n2", true))
	if took := time.Since(start); took < 2*time.Second {
		t.Errorf("n2 counts again after %s", took)
	}
	eventually(t, "n2 is alive to itself", n2.isSelf)
	announcement := arpFrame(broadcast, n2.mac(), 1, n2.mac(), v4.vip2, noMAC, v4.vip2)
	if r.receive(5*time.Second, func(got []byte) bool { return bytes.Equal(got, announcement) }) == nil {
		t.Error("a node that came back does not announce its address")
	}
	// The gateway is the witness of the last one.
	w.plug("n2", false)
	w.plug("n3", false)
	eventually(t, "n1 misses n3", sees(n1, "n3", false))
	eventually(t, "n3 falls silent", func() bool { return !n3.isSelf() })
	for deadline := time.Now().Add(500 * time.Millisecond); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if !n1.isSelf() {
			t.Fatal("the survivor falls silent, although it hears its gateway")
		}
	}
	w.inside(w.lan, func(h *netlink.Handle) error { return setUp(h, "n1", false) })
	eventually(t, "n1 has no carrier", func() bool { return !n1.isSelf() })
	n1.apply("a", Service{})
	eventually(t, "n1 has nothing to do", func() bool { return !n1.View().Active && n1.isSelf() })
}
