package announce

import (
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host/bpf"
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

// spreadAll divides the flows to port 80 among nodes.
func spreadAll(f family, answer bool, table *Table) Service {
	s := announced(f.vip, answer)
	s.Spread = []Spread{{Addr: ip(f.vip), Port: 80, Protocol: TCP, Table: table}}
	return s
}

// TestFlowsAreHandedOn has two nodes share the flows to an address that one of them announces.
func TestFlowsAreHandedOn(t *testing.T) { eachFamily(t, testFlowsAreHandedOn) }

func testFlowsAreHandedOn(t *testing.T, f family) {
	w := newWorld(t, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	table := &Table{Nodes: []string{"n1", "n2"}, Buckets: make([]Bucket, MaxBuckets)}
	for i := range table.Buckets {
		table.Buckets[i] = Bucket{Owner: uint16(i % 2), Second: None}
	}
	for _, n := range []*node{n1, n2} {
		w.serve(n, f.vip+":80")
		n.apply("a", spreadAll(f, n == n1, table))
	}
	got := map[string]int{}
	for range 40 {
		c, name, err := w.dial(f.vip+":80", 0)
		if err != nil {
			t.Fatal(err)
		}
		got[name]++
		from := c.LocalAddr().String()
		place, ok, err := n1.Place(netip.MustParseAddrPort(from), netip.MustParseAddrPort(f.vip+":80"), TCP)
		if err != nil || !ok || place.Owner != name {
			t.Errorf("%s was served by %s; n1 says %+v, %t, %v", from, name, place, ok, err)
		}
		if there, _, _ := n2.Place(netip.MustParseAddrPort(from), netip.MustParseAddrPort(f.vip+":80"), TCP); there != place {
			t.Errorf("n1 says %+v and n2 %+v", place, there)
		}
		// Long enough for segments that the kernel has joined.
		for _, text := range []string{"x", strings.Repeat("y", 60_000)} {
			if answer, err := c.ask(text); err != nil || answer != name+" "+text {
				t.Errorf("%s says %.20q, %v", name, answer, err)
			}
		}
		c.Close()
	}
	if got["n1"] < 5 || got["n2"] < 5 {
		t.Errorf("connections: %v", got)
	}
	if all, err := n1.Counters(); err != nil || len(all) != 1 || all[0].HandedOn < 20 {
		t.Errorf("counted %+v, %v", all, err)
	}
	if all, err := n2.Counters(); err != nil || len(all) != 1 || all[0].HandedOn != 0 {
		t.Errorf("n2 counted %+v, %v", all, err)
	}
	d, err := n1.Dump()
	if err != nil || len(d.Ports) != 1 || d.Ports[0].Shares["n1"]+d.Ports[0].Shares["n2"] != MaxBuckets || d.Ports[0].Service != "a" {
		t.Errorf("dump %+v, %v", d, err)
	}
}

// TestFlowsSurviveAChange moves buckets while connections are open.
func TestFlowsSurviveAChange(t *testing.T) { eachFamily(t, testFlowsSurviveAChange) }

func testFlowsSurviveAChange(t *testing.T, f family) {
	w := newWorld(t, "n1", "n2", "n3")
	n1, n2, n3 := w.nodes["n1"], w.nodes["n2"], w.nodes["n3"]
	table := func(owner, second uint16) *Table {
		return &Table{Nodes: []string{"n1", "n2", "n3"}, Buckets: slices.Repeat([]Bucket{{Owner: owner, Second: second}}, MaxBuckets)}
	}
	set := func(tb *Table, announcer *node) {
		for _, n := range w.nodes {
			n.apply("a", spreadAll(f, n == announcer, tb))
		}
	}
	for _, n := range w.nodes {
		w.serve(n, f.vip+":80")
	}
	set(table(1, None), n1)
	eventually(t, "all nodes know each other", func() bool {
		for _, n := range w.nodes {
			for _, p := range w.nodes {
				if alive, _ := n.sees(p.name); n != p && !alive {
					return false
				}
			}
		}
		return true
	})
	know := func(n *node, port uint16) {
		key := slices.Concat(addressBytes(f.client), addressBytes(f.vip), be16(int(port)), be16(80), []byte{6, 0, 0, 0})
		if err := n.flows.Put(key, make([]byte, n.flows.ValueSize())); err != nil {
			t.Fatal(err)
		}
	}
	know(n2, 40001)
	old, name, err := w.dial(f.vip+":80", 40001)
	if err != nil || name != "n2" {
		t.Fatalf("%s, %v", name, err)
	}
	defer old.Close()
	check := func(what string, c *client, want string) {
		t.Helper()
		if got, err := c.ask(what); err != nil || got != want+" "+what {
			t.Errorf("%s: %q, %v, want %s", what, got, err, want)
		}
	}
	check("open", old, "n2")
	set(table(2, 1), n1)
	check("the owner changed", old, "n2")
	know(n3, 40002)
	young, name, err := w.dial(f.vip+":80", 40002)
	if err != nil || name != "n3" {
		t.Fatalf("a new connection: %s, %v", name, err)
	}
	defer young.Close()
	// Another node announces the address: it sends the flows to the same nodes.
	set(table(2, 1), n2)
	eventually(t, "the address moved", func() bool { return bytes.Equal(w.neighbour(f.vip), n2.mac()) })
	check("the announcer changed", old, "n2")
	check("the announcer changed", young, "n3")
	set(table(0, 2), n3)
	eventually(t, "the address moved again", func() bool { return bytes.Equal(w.neighbour(f.vip), n3.mac()) })
	check("both changed", young, "n3")
}

// TestRestart ends a process and starts another one, while requests for the address come all the time.
func TestRestart(t *testing.T) { eachFamily(t, testRestart) }

func testRestart(t *testing.T, f family) {
	w := newWorld(t, "n1", "n2")
	n1, n2 := w.nodes["n1"], w.nodes["n2"]
	table := &Table{Nodes: []string{"n1", "n2"}, Buckets: slices.Repeat([]Bucket{{Owner: 1, Second: None}}, MaxBuckets)}
	service := spreadAll(f, true, table)
	n1.apply("a", service)
	n1.apply("gone", announced(f.vip2, true))
	n2.apply("a", spreadAll(f, false, table))
	w.serve(n2, f.vip+":80")
	r := w.raw(w.lan, "br")
	vip, own := ip(f.vip).String(), n1.mac()
	asks := func(addr string) bool {
		if f.ipv6 {
			r.send(solicitation(r.mac, ip(f.client).String(), addr))
			return r.receive(time.Second, func(got []byte) bool {
				return len(got) > 78 && got[12] == 0x86 && got[54] == 136 && bytes.Equal(got[62:78], netip.MustParseAddr(addr).AsSlice())
			}) != nil
		}
		r.send(arpFrame(broadcast, r.mac, 1, r.mac, v4.client, noMAC, addr))
		want := arpFrame(r.mac, own, 2, own, addr, r.mac, v4.client)
		return r.receive(time.Second, func(got []byte) bool { return bytes.Equal(got, want) }) != nil
	}
	done, lost, asked := make(chan struct{}), 0, 0
	stop := make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				if asked++; !asks(vip) {
					lost++
				}
			}
		}
	}()
	tables := func() string {
		d, err := n1.Dump()
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("%+v %+v", d.Addresses, d.Ports)
	}
	before := tables()
	ids := fmt.Sprint(n1.spreads.have, n1.hosts.numbers)
	for range 3 {
		n1.close()
		if _, name, err := w.dial(f.vip+":80", 0); err != nil || name != "n2" {
			t.Errorf("while no process runs: %s, %v", name, err)
		}
		n1.open()
		if _, name, err := w.dial(f.vip+":80", 0); err != nil || name != "n2" {
			t.Errorf("before anything is applied: %s, %v", name, err)
		}
		if err := n1.SetPeers([]Peer{{Name: "n2", Addresses: n2.cfg.Addresses}}); err != nil {
			t.Fatal(err)
		}
		n1.apply("a", service)
		n1.apply("gone", announced(f.vip2, true))
		if after := tables(); after != before {
			t.Errorf("before %s\nafter %s", before, after)
		}
		if got := fmt.Sprint(n1.spreads.have, n1.hosts.numbers); got != ids {
			t.Errorf("numbers were %s\nand are %s", ids, got)
		}
	}
	close(stop)
	<-done
	if lost > 0 || asked < 10 {
		t.Errorf("%d of %d requests had no answer", lost, asked)
	}
	t.Logf("%d requests", asked)
	if !asks(ip(f.vip2).String()) {
		t.Error("the other address is not answered")
	}
	n1.close()
	n1.open()
	if err := errors.Join(n1.SetPeers(nil), n1.Apply("a", announced(f.vip, true)), n1.Sweep()); err != nil {
		t.Fatal(err)
	}
	if asks(ip(f.vip2).String()) {
		t.Error("an address that no Service has any more is answered after the sweep")
	}
	if !asks(vip) {
		t.Error("the address is not answered after the sweep")
	}
	if n, m := len(n1.spreads.have), len(n1.buckets.held); n+m > 0 || len(n1.hosts.numbers) > 0 {
		t.Errorf("after the sweep there are %d ports, %d tables and nodes %v", n, m, n1.hosts.numbers)
	}
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

// TestAnotherInterface replaces the uplink of a node while it announces an address.
func TestAnotherInterface(t *testing.T) { eachFamily(t, testAnotherInterface) }

func testAnotherInterface(t *testing.T, f family) {
	w := newWorld(t, "n1")
	n1 := w.nodes["n1"]
	n1.apply("a", announced(f.vip, true))
	before := n1.mac()
	eventually(t, "the address is at n1", w.found(f.vip, n1))
	w.replace(n1)
	eventually(t, "the address is at n1's new interface", func() bool {
		w.reach(f.vip)
		got := w.neighbour(f.vip)
		return bytes.Equal(got, n1.mac()) && !bytes.Equal(got, before)
	})
	w.inside(n1.ns, func(h *netlink.Handle) error {
		l, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		filters, err := h.FilterList(l, uint32(bpf.Inbound))
		if len(filters) != 2 || filters[0].Attrs().Priority != 1 || filters[1].Attrs().Priority != 2 {
			t.Errorf("classifiers: %v", filters)
		}
		return err
	})
}

// TestVLANsAreLeftAlone asks for an address in a VLAN, where it is not announced.
func TestVLANsAreLeftAlone(t *testing.T) {
	w := newWorld(t, "n1")
	n1 := w.nodes["n1"]
	n1.apply("a", announced(v4.vip, true))
	r := w.raw(w.lan, "n1") // the other end of the cable
	request := arpFrame(broadcast, r.mac, 1, r.mac, v4.client, noMAC, v4.vip)
	answer := arpFrame(r.mac, n1.mac(), 2, n1.mac(), v4.vip, r.mac, v4.client)
	r.send(slices.Concat(request[:12], []byte{0x81, 0, 0, 5}, request[12:]))
	if got := r.receive(200*time.Millisecond, func(got []byte) bool { return bytes.Contains(got, answer[22:]) }); got != nil {
		t.Errorf("answered with % x", got)
	}
	r.send(request)
	if r.receive(5*time.Second, func(got []byte) bool { return bytes.Equal(got, answer) }) == nil {
		t.Error("not answered without a tag")
	}
}

// TestManyGroups announces more IPv6 addresses than a socket can join groups for.
func TestManyGroups(t *testing.T) {
	w := newWorld(t, "n1")
	n1 := w.nodes["n1"]
	const n = 3000
	addr := ip(v6.vip)
	var s Service
	for range n {
		s.Addresses = append(s.Addresses, Address{Addr: addr, Answer: true})
		addr = addr.Next()
	}
	filtered := func() int {
		var list []byte
		err := n1.ns.Do(func() (err error) {
			list, err = os.ReadFile("/proc/thread-self/net/dev_mcast")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(list, []byte("3333ffc8"))
	}
	members := func() int {
		var list []byte
		err := n1.ns.Do(func() (err error) {
			list, err = os.ReadFile("/proc/thread-self/net/igmp6")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		return bytes.Count(list, []byte("ff0200000000000000000001ffc8"))
	}
	n1.apply("many", s)
	if a, b := filtered(), members(); a < n || b < n {
		t.Errorf("%d groups are received and %d joined", a, b)
	}
	n1.close()
	if a, b := filtered(), members(); a < n || b > 1 {
		t.Errorf("after the end of the process %d groups are received and %d joined", a, b)
	}
	n1.open()
	n1.apply("one", announced(v6.vip2, true))
	if err := n1.Sweep(); err != nil {
		t.Fatal(err)
	}
	if a, b := filtered(), members(); a > 3 || a < 1 || b > 3 || b < 1 {
		t.Errorf("after the sweep %d groups are received and %d joined", a, b)
	}
	n1.close()
	if err := Remove(n1.cfg); err != nil {
		t.Fatal(err)
	}
	if a := filtered(); a > 1 {
		t.Errorf("after the removal %d groups are received", a)
	}
	w.inside(n1.ns, func(h *netlink.Handle) error {
		left, err := classifiers[program4].Links(h, bpf.Inbound)
		if len(left) > 0 {
			t.Error("classifiers are left")
		}
		qdiscs, err2 := h.QdiscList(nil)
		if slices.ContainsFunc(qdiscs, func(q netlink.Qdisc) bool { return q.Type() == "clsact" }) {
			t.Error("a clsact qdisc is left")
		}
		return errors.Join(err, err2)
	})
	if _, err := os.Stat(n1.cfg.PinDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("pins: %v", err)
	}
	n1.open()
}
