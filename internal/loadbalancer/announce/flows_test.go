package announce

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

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

// Placement is where the packets of a flow go.
type Placement struct {
	Bucket int    `json:"bucket"`
	Owner  string `json:"owner"`
	// Second gets packets of a TCP connection that the owner does not know; empty if nobody does.
	Second string `json:"second,omitempty"`
}

// Place tells where a flow goes. It is false for one that is not handed on: the node where its packets arrive serves it.
func (a *Announcer) Place(client, service netip.AddrPort, p Protocol) (Placement, bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return Placement{}, false, fmt.Errorf("place flow at node %s: %w", a.cfg.NodeName, errClosed)
	}
	e, ok := a.spreads.have[spreadKeyOf(service.Addr(), service.Port(), p)]
	if !ok {
		return Placement{}, false, nil
	}
	t, err := a.table(e.Table)
	if err != nil {
		return Placement{}, false, err
	}
	out := Placement{Bucket: BucketOf(client, service, p, e.Flags&spreadByClient != 0, int(t.Count))}
	owner, second := t.get(out.Bucket)
	out.Owner = a.hosts.name(owner)
	if second != nobody {
		out.Second = a.hosts.name(second)
	}
	return out, true, nil
}
