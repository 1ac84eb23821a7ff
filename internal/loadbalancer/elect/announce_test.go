package elect

import (
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"minato/internal/loadbalancer/config"
)

// The hashes of n1 to n4 for 192.0.2.1 order them like this; it is MetalLB's order too.
func byHash(names ...string) []string {
	slices.SortFunc(names, func(a, b string) int {
		x, y := sha256.Sum256([]byte(a+"#192.0.2.1")), sha256.Sum256([]byte(b+"#192.0.2.1"))
		return strings.Compare(fmt.Sprintf("%x", x), fmt.Sprintf("%x", y))
	})
	return names
}

func TestHashOrderIsFixed(t *testing.T) {
	// Written down, because a change of the order moves every address of every cluster.
	got := strings.Join(order(Announce(service("n1"), address, cluster("n1", "n2", "n3", "n4"), lan(), false)), " ")
	if want := strings.Join(byHash("n1", "n2", "n3", "n4"), " "); got != want || got != "n4 n2 n1 n3" {
		t.Errorf("order is %s, want %s", got, want)
	}
}

// order lists those that may announce.
func order(a Announcement) []string {
	var out []string
	for _, c := range a.Candidates {
		if c.Rank > 0 {
			out = append(out, c.Node)
		}
	}
	return out
}

func TestAnnounce(t *testing.T) {
	all := cluster("n1", "n2", "n3", "n4")
	for _, c := range []struct {
		name   string
		svc    Service
		nodes  []Node
		ads    []config.L2Advertisement
		def    bool
		order  string
		reason Reason
	}{
		{name: "cluster policy: every node, wherever the endpoints are", svc: service("n1"), ads: lan(), order: "n4 n2 n1 n3"},
		{name: "a dead node", svc: service("n1"), nodes: cluster("n1", "n2", "n3", "n4 dead"), ads: lan(), order: "n2 n1 n3"},
		{name: "NetworkUnavailable", svc: service("n1"), nodes: cluster("n1", "n2", "n3", "n4 unavailable"), ads: lan(), order: "n2 n1 n3"},
		{name: "the exclude label, whatever its value", svc: service("n1"), nodes: cluster("n1", "n2", "n3 labelled", "n4 labelled"), ads: lan(), order: "n2 n1"},
		{name: "the exclude label on every node", svc: service("n1"), nodes: cluster("n1 labelled", "n2 labelled"), ads: lan(), order: "n2 n1"},
		{name: "the exclude label on the only node", svc: service("n1"), nodes: cluster("n1 labelled"), def: true, order: "n1"},
		{name: "the exclude label on all that live", svc: service("n1"), nodes: cluster("n1 labelled", "n2 dead"), ads: lan(), reason: NoEligibleNode},
		{name: "nodeSelectors are ORed", svc: service("n1"), ads: lan(onNodes("name=n1", "name=n2")), order: "n2 n1"},
		{name: "nodeSelectors of several advertisements", svc: service("n1"), ads: append(lan(onNodes("name=n1")), lan(onNodes("name=n3"))...), order: "n1 n3"},
		{name: "nodeSelectors that select nobody", svc: service("n1"), ads: lan(onNodes("name=n9")), reason: NoMatchingAdvertisement},
		{name: "local policy", svc: local(service("n1", "n2")), ads: lan(), order: "n2 n1"},
		{name: "local policy: terminating ones that serve count", svc: local(service("n1", "-n3")), ads: lan(), order: "n1 n3"},
		{name: "local policy: endpoints on the dead only", svc: local(service("n1")), nodes: cluster("n1 dead", "n2"), ads: lan(), reason: NoEligibleNode},
		{name: "local policy: endpoints without a node", svc: local(service("")), ads: lan(), reason: NoLocalEndpoints},
		{name: "cluster policy: endpoints without a node", svc: service(""), ads: lan(), order: "n4 n2 n1 n3"},
		{name: "no endpoints", svc: service(), ads: lan(), reason: NoEndpoints},
		{name: "no endpoints, local policy", svc: local(service()), ads: lan(), reason: NoEndpoints},
		{name: "all dead", svc: service("n1"), nodes: cluster("n1 dead", "n2 dead"), ads: lan(), reason: NodeNotAlive},
		{name: "no nodes", svc: service("n1"), nodes: []Node{}, ads: lan(), reason: NoEligibleNode},
		{name: "no advertisement", svc: service("n1"), reason: NoMatchingAdvertisement},
		{name: "advertisements of other pools", svc: service("n1"), ads: []config.L2Advertisement{{Name: "other", Pools: []string{"other"}}}, reason: NoMatchingAdvertisement},
		{name: "the default pool needs none", svc: service("n1"), def: true, order: "n4 n2 n1 n3"},
		{name: "the default pool stays on every node", svc: service("n1"), ads: lan(onNodes("name=n1"), forServices("app=x")), def: true, order: "n4 n2 n1 n3"},
		{name: "the default pool and preferences", svc: service("n1"), ads: lan(preferring(1, "name=n2")), def: true, order: "n2 n4 n1 n3"},
		{name: "serviceSelectors that match", svc: service("n1"), ads: lan(forServices("app=x", "app=web")), order: "n4 n2 n1 n3"},
		{name: "serviceSelectors that don't", svc: service("n1"), ads: lan(forServices("app=x")), reason: NoMatchingAdvertisement},
		{name: "serviceSelectors and a shared address", svc: shared(service("n1")), ads: append(lan(), lan(forServices("app=web"))...), reason: SharedIPWithServiceSelector},
		{name: "a shared address and serviceSelectors for others", svc: shared(service("n1")), ads: append(lan(), lan(forServices("app=x"))...), order: "n4 n2 n1 n3"},
		{name: "preference", svc: service("n1"), ads: lan(preferring(10, "name=n1"), preferring(20, "name=n2")), order: "n2 n1 n4 n3"},
		{name: "preferences add up", svc: service("n1"), ads: append(lan(preferring(30, "name=n1"), preferring(30, "name in (n1,n2)")), lan(preferring(50, "name=n2"))...), order: "n2 n1 n4 n3"},
		{name: "preference of an advertisement that doesn't select the node", svc: service("n1"), ads: append(lan(), lan(onNodes("name=n1"), preferring(50, "name=n2"))...), order: "n4 n2 n1 n3"},
		{name: "preference doesn't make a node eligible", svc: local(service("n1")), ads: lan(preferring(10, "name=n2")), order: "n1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			nodes := all
			if c.nodes != nil {
				nodes = c.nodes
			}
			a := Announce(c.svc, address, nodes, c.ads, c.def)
			got := order(a)
			if strings.Join(got, " ") != c.order {
				t.Errorf("order is %v, want %s", got, c.order)
			}
			want := c.reason
			if want == "" {
				want = Elected
			}
			if a.Reason != want || a.Message == "" || len(a.Candidates) != len(nodes) {
				t.Errorf("reason %s, want %s; message %q; %d candidates", a.Reason, want, a.Message, len(a.Candidates))
			}
			next := ""
			if len(got) > 1 {
				next = got[1]
			}
			if a.Next() != next || (a.Node != "") != (len(got) > 0) || len(got) > 0 && a.Node != got[0] {
				t.Errorf("announced by %q, then %q", a.Node, a.Next())
			}
		})
	}
}

func TestExcludedSaysWhy(t *testing.T) {
	nodes := cluster("n1", "n2 dead", "n3 unavailable", "n4 labelled", "n5", "n6 rack=b")
	a := Announce(local(service("n1", "n2", "n3", "n4", "n6")), address, nodes, lan(onNodes("rack!=b")), false)
	got := map[string]Reason{}
	for _, c := range a.Candidates {
		got[c.Node] = c.Excluded
		if c.Why == "" || len(c.Hash) != 64 {
			t.Errorf("%s: no reason, or hash %q", c.Node, c.Hash)
		}
	}
	want := map[string]Reason{
		"n1": "", "n2": NodeNotAlive, "n3": NodeNetworkUnavailable, "n4": NodeLabeledExcludeBalancers, "n5": NoLocalEndpoints, "n6": NoMatchingAdvertisement,
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("excluded: %v, want %v", got, want)
	}
}

func TestMessages(t *testing.T) {
	for _, c := range []struct {
		a    Announcement
		want string
	}{
		{Announce(service("n1"), address, cluster("n1 labelled"), lan(), false), "Every node has the label node.kubernetes.io/exclude-from-external-load-balancers, so it is ignored"},
		{Announce(service("n1"), address, cluster("n1 labelled", "n2 dead"), lan(), false), "n1: it has the label node.kubernetes.io/exclude-from-external-load-balancers; n2: it isn't heard"},
		{Announce(service("n1"), address, cluster("n1 dead", "n2 dead", "n3 dead", "n4 dead", "n5 dead", "n6 dead", "n7 dead"), lan(), false), "n5: it isn't heard; and 2 more."},
		{Announce(service("n1"), address, cluster("n1"), nil, false), "create one in namespace metallb-system"},
		{Announce(service("n1"), address, cluster("n1", "n2"), lan(preferring(7, "name=n2")), false), "n2 announces the address: it has the highest preference, 7"},
		{Announce(service("n1"), netip.Addr{}, cluster("n1"), lan(), false), "no address yet"},
	} {
		if !strings.Contains(c.a.Message, c.want) {
			t.Errorf("message %q lacks %q", c.a.Message, c.want)
		}
	}
}

func TestInterfaces(t *testing.T) {
	for _, c := range []struct {
		name string
		ads  []config.L2Advertisement
		def  bool
		want []string
	}{
		{"none named: all", lan(), false, nil},
		{"named", lan(at("eth1", "eth0")), false, []string{"eth0", "eth1"}},
		{"united, each once", append(lan(at("eth1")), lan(at("eth2", "eth1"))...), false, []string{"eth1", "eth2"}},
		{"one with all is for all", append(lan(at("eth1")), lan()...), false, nil},
		{"an advertisement for other nodes", append(lan(at("eth1")), lan(onNodes("name=n9"))...), false, []string{"eth1"}},
		{"an advertisement for other Services", append(lan(at("eth1")), lan(forServices("app=x"))...), false, []string{"eth1"}},
		{"the default pool", lan(at("eth1")), true, nil},
	} {
		if got := Announce(service("n1"), address, cluster("n1"), c.ads, c.def).Interfaces; !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
}

func TestBothFamiliesAreAtOnePlace(t *testing.T) {
	moved := false
	for i := range 50 {
		svc := service("n1")
		v6 := netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i))
		svc.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{192, 0, 2, byte(i)}), v6}
		nodes := cluster("n1", "n2", "n3")
		if a, b := Announce(svc, svc.Addresses[0], nodes, lan(), false), Announce(svc, v6, nodes, lan(), false); a.Node != b.Node {
			t.Errorf("%v: announced from %s and %s", svc.Addresses, a.Node, b.Node)
		}
		// Who shares only the second address must come to the same node for it.
		other := named(svc, "other")
		other.Addresses = svc.Addresses[1:]
		if a, b := Announce(shared(svc), v6, nodes, lan(), false), Announce(shared(other), v6, nodes, lan(), false); a.Node != b.Node {
			t.Errorf("%s is shared, and announced from %s and %s", v6, a.Node, b.Node)
		}
		moved = moved || Announce(svc, v6, nodes, lan(), false).Node != Announce(other, v6, nodes, lan(), false).Node
	}
	if !moved {
		t.Error("the address has no influence at all, so the test proves nothing")
	}
}

func TestSharersComeToOneNode(t *testing.T) {
	nodes := cluster("n1", "n2", "n3", "n4")
	a, b := local(service("n1")), named(local(service("n2", "-n1")), "other")
	if Announce(a, address, nodes, lan(), false).Node == Announce(b, address, nodes, lan(), false).Node {
		t.Fatal("the endpoints have no influence, so the test proves nothing")
	}
	x, y := Announce(a.WithSharers(b), address, nodes, lan(), false), Announce(b.WithSharers(a), address, nodes, lan(), false)
	if x.Node != y.Node || x.Node == "" {
		t.Errorf("one address, announced from %q and %q", x.Node, y.Node)
	}
	if len(a.Serving) != 1 || len(b.Draining) != 1 {
		t.Error("the Services themselves were changed")
	}
	if got := service("n1").WithSharers(); got.Shared {
		t.Error("a Service alone shares nothing")
	}
}

func TestYields(t *testing.T) {
	a := Announce(service("n1"), address, cluster("n1", "n2", "n3", "n4 labelled", "n5 dead"), lan(), false)
	for _, c := range []struct {
		me, other string
		want      bool
	}{
		{"n2", "n1", false}, {"n1", "n2", true}, {"n3", "n2", true}, // the order is n2 n1 n3
		{"n1", "n4", false}, {"n4", "n1", true}, // n4 would be first, but may not
		{"n1", "n1", false},
		{"n1", "stranger", false}, {"stranger", "n1", true},
		{"alien", "stranger", false}, {"stranger", "alien", true},
	} {
		if got := Yields(a, c.me, c.other); got != c.want {
			t.Errorf("%s yields to %s: %v", c.me, c.other, got)
		}
	}
}

// Two nodes that believe each other dead both win in their own eyes. Still exactly one must yield.
func TestOneOfTwoYieldsWhateverTheyHear(t *testing.T) {
	worlds(t, func(t *testing.T, r *rand.Rand, w world) {
		mine, theirs := w, w
		mine.nodes, theirs.nodes = slices.Clone(w.nodes), slices.Clone(w.nodes)
		for i := range w.nodes {
			mine.nodes[i].Alive, theirs.nodes[i].Alive = r.IntN(2) == 0, r.IntN(2) == 0
		}
		a, b := mine.announce(), theirs.announce()
		for _, m := range w.nodes {
			for _, o := range w.nodes {
				if m.Name != o.Name && Yields(a, m.Name, o.Name) == Yields(b, o.Name, m.Name) {
					t.Errorf("%s and %s: both yield or none does", m.Name, o.Name)
				}
			}
		}
		// And who wins with both alive doesn't yield to any that is elected elsewhere.
		if all := w.announce(); all.Node != "" && b.Node != "" && b.Node != all.Node && has(w.nodes, b.Node) && Yields(all, all.Node, b.Node) {
			t.Errorf("%s is elected and yields to %s", all.Node, b.Node)
		}
	})
}

func has(nodes []Node, alive string) bool {
	return slices.ContainsFunc(nodes, func(n Node) bool { return n.Name == alive && n.Alive })
}

func TestOneWinnerOrAReason(t *testing.T) {
	won, reasons := 0, map[Reason]int{}
	worlds(t, func(t *testing.T, _ *rand.Rand, w world) {
		a := w.announce()
		first := 0
		for i, c := range a.Candidates {
			if c.Rank == 1 {
				first++
			}
			if c.Why == "" || c.Rank > 0 && (c.Excluded != "" || c.Rank != i+1) {
				t.Errorf("candidate %+v at place %d", c, i)
			}
		}
		switch {
		case a.Message == "" || a.Reason == "":
			t.Error("no reason")
		case a.Node != "" && (first != 1 || a.Candidates[0].Node != a.Node || a.Reason != Elected || !has(w.nodes, a.Node)):
			t.Errorf("announced by %s: %+v", a.Node, a)
		case a.Node == "" && (first != 0 || a.Reason == Elected):
			t.Errorf("announced by nobody: %+v", a)
		}
		reasons[a.Reason]++
		if a.Node != "" {
			won++
		}
	})
	if won < 500 || len(reasons) < 6 {
		t.Errorf("the worlds are too much alike: %d winners, reasons %v", won, reasons)
	}
}

func TestOrderOfInputDoesNotMatter(t *testing.T) {
	worlds(t, func(t *testing.T, r *rand.Rand, w world) {
		a := w.announce()
		nodes, ads := slices.Clone(w.nodes), slices.Clone(w.ads)
		r.Shuffle(len(nodes), func(i, j int) { nodes[i], nodes[j] = nodes[j], nodes[i] })
		r.Shuffle(len(ads), func(i, j int) { ads[i], ads[j] = ads[j], ads[i] })
		if b := Announce(w.svc, w.svc.Addresses[0], nodes, ads, w.def); !reflect.DeepEqual(a, b) {
			t.Errorf("announcement depends on the order:\n%+v\n%+v", a, b)
		}
		if x, y := Spread(w.svc, w.nodes), Spread(w.svc, nodes); !reflect.DeepEqual(x, y) {
			t.Error("spreading depends on the order")
		}
		again := w
		if again.announce(); !reflect.DeepEqual(again.nodes, w.nodes) {
			t.Error("the input was changed")
		}
	})
}

// When a node dies its addresses go to who was next, and nothing else moves.
func TestOnlyTheDeadNodesAddressesMove(t *testing.T) {
	worlds(t, func(t *testing.T, r *rand.Rand, w world) {
		if len(w.nodes) == 0 {
			return
		}
		before := w.announce()
		i := r.IntN(len(w.nodes))
		w.nodes = slices.Clone(w.nodes)
		w.nodes[i].Alive = false
		after, want := w.announce(), before.Node
		if before.Node == w.nodes[i].Name {
			want = before.Next()
		}
		if after.Node != want {
			t.Errorf("%s died: announced by %q before, %q after, want %q", w.nodes[i].Name, before.Node, after.Node, want)
		}
	})
}

func TestAddressesAreSpreadOverNodes(t *testing.T) {
	got := map[string]int{}
	for i := range 1000 {
		addr := netip.AddrFrom4([4]byte{10, 0, byte(i / 250), byte(i % 250)})
		svc := service("n1")
		svc.Addresses = []netip.Addr{addr}
		got[Announce(svc, addr, cluster("n1", "n2", "n3"), lan(), false).Node]++
	}
	for n, c := range got {
		if c < 270 || c > 400 {
			t.Errorf("%s has %d of 1000 addresses", n, c)
		}
	}
}
