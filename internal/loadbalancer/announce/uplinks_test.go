package announce

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"

	"minato/internal/host/bpf"
)

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

// inProc counts what is in a file of the node's network namespace.
func (n *node) inProc(file, what string) int {
	n.w.t.Helper()
	var list []byte
	err := n.ns.Do(func() (err error) {
		list, err = os.ReadFile("/proc/thread-self/net/" + file)
		return err
	})
	if err != nil {
		n.w.t.Fatal(err)
	}
	return bytes.Count(list, []byte(what))
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
	filtered := func() int { return n1.inProc("dev_mcast", "3333ffc8") }
	members := func() int { return n1.inProc("igmp6", "ff0200000000000000000001ffc8") }
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
