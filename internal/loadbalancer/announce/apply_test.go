package announce

import (
	"fmt"
	"maps"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
)

// quiet is an Announcer of a node with two uplinks, which is not run.
func quiet(t testing.TB) *Announcer {
	t.Helper()
	requireRoot(t)
	ns := netnsFor(t, "quiet")
	h, err := ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	for _, name := range []string{"eth0", "eth1"} {
		if err := h.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "far-" + name}); err != nil {
			t.Fatal(err)
		}
	}
	cfg := Config{
		NodeName: "n1", Netns: ns, Links: []string{"eth0", "eth1"}, PinDir: filepath.Join(mountBPF(t), "n1"),
		Addresses: []netip.Addr{ip(v4.self), ip(v6.self)}, Gateways: []netip.Addr{ip(v4.client)},
	}
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Open(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		a.Close()
		if err := Remove(cfg); err != nil {
			t.Error(err)
		}
	})
	return a
}

func apply(t testing.TB, a *Announcer, key string, s Service) {
	t.Helper()
	if err := a.Apply(key, s); err != nil {
		t.Fatal(err)
	}
}

// kernel is what the kernel's table has for an address.
func (a *Announcer) kernel(t testing.TB, addr string) (e addressEntry) {
	t.Helper()
	_ = a.collection.Maps["addresses"].Lookup(addressOf(ip(addr)), &e)
	return e
}

func TestServicesShareAnAddress(t *testing.T) {
	a := quiet(t)
	flags := func(what string, want uint32) {
		t.Helper()
		if got := a.kernel(t, v4.vip).Flags; got != want {
			t.Errorf("%s: flags %b, want %b", what, got, want)
		}
	}
	apply(t, a, "a", announced(v4.vip, true))
	apply(t, a, "b", announced(v4.vip, false))
	flags("one announces it", addressOwned|addressAnswer)
	apply(t, a, "a", Service{})
	flags("the other one does not", addressOwned)
	apply(t, a, "b", spreadAll(v4, false, oneNode("n1")))
	flags("it is spread", addressOwned|addressSpread)
	apply(t, a, "c", announced(v4.vip, true))
	flags("a third one announces it", addressOwned|addressSpread|addressAnswer)
	apply(t, a, "b", announced(v4.vip, false))
	flags("it is spread no more", addressOwned|addressAnswer)
	apply(t, a, "b", Service{})
	apply(t, a, "c", Service{})
	apply(t, a, "never there", Service{})
	flags("all are gone", 0)
	apply(t, a, "self", announced(v4.self, true))
	flags("nothing changed", 0)
	if got := a.kernel(t, v4.self).Flags; got != addressSelf|addressOwned|addressAnswer {
		t.Errorf("a node's own address: %b", got)
	}
	apply(t, a, "self", Service{})
	if got := a.kernel(t, v4.self).Flags; got != addressSelf {
		t.Errorf("a node's own address again: %b", got)
	}
}

// oneNode is a table with all buckets at one node.
func oneNode(name string) *Table {
	return &Table{Nodes: []string{name}, Buckets: slices.Repeat([]Bucket{{Owner: 0, Second: None}}, MaxBuckets)}
}

func TestAnswersOnlyWhereAsked(t *testing.T) {
	a := quiet(t)
	bit := func(name string) uint32 { return 1 << a.uplinks[name].number }
	for what, c := range map[string]struct {
		links []string
		want  uint32
	}{
		"everywhere":                 {nil, bit("eth0") | bit("eth1")},
		"at one uplink":              {[]string{"eth1"}, bit("eth1")},
		"at one that is not there":   {[]string{"eth7"}, 0},
		"at one that is, and others": {[]string{"eth7", "eth0"}, bit("eth0")},
	} {
		apply(t, a, "a", Service{Addresses: []Address{{Addr: ip(v4.vip), Answer: true, Links: c.links}}})
		if got := a.kernel(t, v4.vip).Links; got != c.want {
			t.Errorf("%s: %b, want %b", what, got, c.want)
		}
	}
	// Another Service announces it elsewhere.
	apply(t, a, "a", Service{Addresses: []Address{{Addr: ip(v4.vip), Answer: true, Links: []string{"eth0"}}}})
	apply(t, a, "b", Service{Addresses: []Address{{Addr: ip(v4.vip), Answer: true, Links: []string{"eth1"}}}})
	if got := a.kernel(t, v4.vip).Links; got != bit("eth0")|bit("eth1") {
		t.Errorf("two Services: %b", got)
	}
}

func TestTablesAreShared(t *testing.T) {
	a := quiet(t)
	if err := a.SetPeers([]Peer{{Name: "n1"}, {Name: "n2", Addresses: []netip.Addr{ip(v4.peer), ip(v6.peer)}}}); err != nil {
		t.Fatal(err)
	}
	mixed := func() *Table {
		tb := oneNode("n1")
		tb.Nodes = []string{"n1", "n2"}
		tb.Buckets[5] = Bucket{Owner: 1, Second: 0}
		return tb
	}
	port := func(p uint16, tb *Table) Service {
		return Service{Spread: []Spread{{Addr: ip(v4.vip), Port: p, Protocol: TCP, Table: tb}, {Addr: ip(v6.vip), Port: p, Protocol: UDP, ByClient: true, Table: tb}}}
	}
	apply(t, a, "a", port(80, mixed()))
	apply(t, a, "b", port(81, mixed()))
	if n := len(a.buckets.held); n != 1 {
		t.Errorf("%d tables for equal content", n)
	}
	one := slices.Collect(maps.Keys(a.buckets.held))[0]
	table, err := a.table(one)
	if err != nil {
		t.Fatal(err)
	}
	if o, s := table.get(5); a.hosts.name(o) != "n2" || a.hosts.name(s) != "n1" {
		t.Errorf("bucket 5 has %s and %s", a.hosts.name(o), a.hosts.name(s))
	}
	if o, s := table.get(4); o != selfNumber || s != nobody {
		t.Errorf("bucket 4 has %d and %d", o, s)
	}
	apply(t, a, "a", port(80, oneNode("n1")))
	apply(t, a, "b", port(80, oneNode("n2"))) // takes the port
	if d, err := a.Dump(); err != nil || len(d.Ports) != 2 || d.Ports[0].Service != "b" || d.Ports[0].Shares["n2"] != MaxBuckets {
		t.Errorf("dump %+v, %v", d, err)
	}
	apply(t, a, "a", Service{})
	if d, err := a.Dump(); err != nil || len(d.Ports) != 2 {
		t.Errorf("the port went with its former owner: %+v, %v", d, err)
	}
	if n := len(a.buckets.held); n != 1 {
		t.Errorf("%d tables, want that of b", n)
	}
	// A node that is gone stays in the buckets, and packets for it stay here.
	if err := a.SetPeers(nil); err != nil {
		t.Fatal(err)
	}
	n := a.hosts.numbers["n2"]
	if e := a.hosts.table.have[n]; n == 0 || e.Addr4 != (address{}) || e.name() != "n2" {
		t.Errorf("node that is gone: %d %+v", n, e.Addr4)
	}
	apply(t, a, "b", Service{})
	if err := a.Sweep(); err != nil {
		t.Fatal(err)
	}
	var id uint32
	var left tableEntry
	if it := a.collection.Maps["tables"].Iterate(); len(a.buckets.held)+len(a.hosts.numbers) > 0 || it.Next(&id, &left) {
		t.Errorf("tables %v and nodes %v are left", a.buckets.held, a.hosts.numbers)
	}
}

func TestNumbersOfNodes(t *testing.T) {
	a := quiet(t)
	var peers []Peer
	for i := range nobody - 1 {
		peers = append(peers, Peer{Name: fmt.Sprintf("node-%d", i), Addresses: []netip.Addr{ip(v4.peer)}})
	}
	if err := a.SetPeers(peers); err != nil {
		t.Fatal(err)
	}
	if err := a.SetPeers(append(peers, Peer{Name: "one-more"})); err == nil || !strings.Contains(err.Error(), "one-more") {
		t.Errorf("one node too many: %v", err)
	}
	before := maps.Clone(a.hosts.numbers)
	if err := a.SetPeers(append(peers[1:], Peer{Name: "one-more"})); err != nil {
		// The number of the node that is gone is free only once it is gone.
		if err := a.SetPeers(append(peers[1:], Peer{Name: "one-more"})); err != nil {
			t.Error(err)
		}
	}
	for name, n := range a.hosts.numbers {
		if was, ok := before[name]; ok && was != n {
			t.Errorf("node %s had number %d and has %d", name, was, n)
		}
	}
}

func TestBadServicesAreRefused(t *testing.T) {
	a := quiet(t)
	with := func(edit func(*Spread)) Service {
		sp := Spread{Addr: ip(v4.vip), Port: 80, Protocol: TCP, Table: oneNode("n1")}
		edit(&sp)
		return Service{Spread: []Spread{sp}}
	}
	for want, s := range map[string]Service{
		"no address that a Service can have": announced("0.0.0.0", true),
		"invalid IP":                         {Addresses: []Address{{}}},
		"224.0.0.1 is no address":            with(func(s *Spread) { s.Addr = netip.MustParseAddr("224.0.0.1") }),
		"protocol 132":                       with(func(s *Spread) { s.Protocol = 132 }),
		"has no buckets":                     with(func(s *Spread) { s.Table = nil }),
		"or more than 1021":                  with(func(s *Spread) { s.Table.Buckets = make([]Bucket, MaxBuckets+1) }),
		"names node 7 of 1":                  with(func(s *Spread) { s.Table.Buckets[9].Second = 7 }),
		"is no name of a node":               with(func(s *Spread) { s.Table.Nodes[0] = "" }),
	} {
		if err := a.Apply("a", s); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), "a") {
			t.Errorf("%v, want %q", err, want)
		}
	}
	// After an error the next try has all.
	apply(t, a, "a", with(func(*Spread) {}))
	if d, err := a.Dump(); err != nil || len(d.Ports) != 1 || len(d.Addresses) != 1 {
		t.Errorf("dump %+v, %v", d, err)
	}
	a.Close()
	if err := a.Apply("a", Service{}); err == nil {
		t.Error("applied to a closed one")
	}
	if err := a.Run(t.Context()); err == nil {
		t.Error("ran a closed one")
	}
	if v := a.View(); !v.Self || v.Active {
		t.Errorf("view of a closed one: %+v", v)
	}
}

func TestBadConfigurationsAreRefused(t *testing.T) {
	good := Config{NodeName: "n1", Links: []string{"eth0"}, PinDir: "/sys/fs/bpf/x"}
	for want, edit := range map[string]func(*Config){
		"NodeName":                     func(c *Config) { c.NodeName = "" },
		"not an absolute path":         func(c *Config) { c.PinDir = "x" },
		"0 uplinks given":              func(c *Config) { c.Links = nil },
		"33 uplinks given":             func(c *Config) { c.Links = make([]string, 33) },
		"one twice":                    func(c *Config) { c.Links = []string{"eth0", "eth0"} },
		"127.0.0.1 is no address":      func(c *Config) { c.Addresses = []netip.Addr{netip.MustParseAddr("127.0.0.1")} },
		"::ffff:10.0.0.1 is no addres": func(c *Config) { c.Gateways = []netip.Addr{netip.MustParseAddr("::ffff:10.0.0.1")} },
	} {
		cfg := good
		edit(&cfg)
		if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	requireRoot(t)
	cfg := good
	cfg.Netns, cfg.PinDir = netnsFor(t, "bare"), filepath.Join(mountBPF(t), "x")
	a, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Open(t.Context()); err == nil || !strings.Contains(err.Error(), "eth0") {
		t.Errorf("without its uplink: %v", err)
	}
}

// BenchmarkApply changes the table of one of 2,000 Services.
func BenchmarkApply(b *testing.B) {
	a := quiet(b)
	addr := ip(v4.vip)
	tables := [2]*Table{}
	services := make([]Service, 2000)
	for i := range services {
		tb := &Table{Nodes: []string{"n1", "n2", "n3"}, Buckets: make([]Bucket, MaxBuckets)}
		for j := range tb.Buckets {
			tb.Buckets[j] = Bucket{Owner: uint16((i + j*j) % 3), Second: uint16((i + j*j + 1) % 3)}
			if j < 11 && i>>j&1 == 1 {
				tb.Buckets[j] = Bucket{Owner: uint16(i % 3), Second: None}
			}
		}
		services[i] = Service{Addresses: []Address{{Addr: addr, Answer: true}}, Spread: []Spread{
			{Addr: addr, Port: 80, Protocol: TCP, Table: tb}, {Addr: addr, Port: 443, Protocol: TCP, Table: tb},
		}}
		addr = addr.Next()
		apply(b, a, fmt.Sprint(i), services[i])
		tables[i%2] = tb
	}
	b.Logf("%d tables", len(a.buckets.held))
	one := services[1000]
	i := 0
	for b.Loop() {
		i++
		tb := *tables[i%2]
		one.Spread = []Spread{{Addr: one.Addresses[0].Addr, Port: 80, Protocol: TCP, Table: &tb}, {Addr: one.Addresses[0].Addr, Port: 443, Protocol: TCP, Table: &tb}}
		tb.Buckets = slices.Clone(tb.Buckets)
		tb.Buckets[1020].Owner = uint16(i % 3)
		apply(b, a, "1000", one)
	}
}

// BenchmarkPacket shows what the programs cost per packet.
func BenchmarkPacket(b *testing.B) {
	r := newRig(b)
	r.address(v4.vip2, addressOwned|addressAnswer, 1<<3)
	r.spreadBoth(v4, 0, to(selfNumber, nobody))
	// Without a context the kernel takes the loopback interface, whose hardware address is zero.
	for name, frame := range map[string][]byte{
		"others":        etherIP(noMAC, clientMAC, tcpPacket(v4.client+":4000", v4.foreign+":80", ack).bytes()),
		"the node's":    etherIP(noMAC, clientMAC, tcpPacket(v4.client+":4000", v4.self+":80", ack).bytes()),
		"a flow of its": etherIP(noMAC, clientMAC, udpPacket(v4.client+":4000", v4.vip+":80", nil).bytes()),
	} {
		b.Run(name, func(b *testing.B) {
			err := r.ns.Do(func() error {
				_, took, err := r.collection.Programs[program4].Benchmark(frame, 1_000_000, b.ResetTimer)
				b.ReportMetric(float64(took.Nanoseconds()), "ns/packet")
				return err
			})
			if err != nil {
				b.Fatal(err)
			}
		})
	}
}
