package loadbalancer

import (
	"crypto/sha256"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/config"
)

var threeNodes = []string{"node-1", "node-2", "node-3"}

// ranking is the order in which nodes announce an address.
func ranking(addr string, nodes ...string) []string {
	hash := func(n string) string { return fmt.Sprintf("%x", sha256.Sum256([]byte(n+"#"+addr))) }
	return slices.SortedFunc(slices.Values(nodes), func(a, b string) int { return strings.Compare(hash(a), hash(b)) })
}

// addressFor finds an address of the default pool that the nodes rank in this order, at least as far as it goes. The nth
// one, so that there can be several.
func addressFor(nth int, order []string, nodes ...string) string {
	for i := range 1000 {
		addr := fmt.Sprintf("172.30.%d.%d", 200+i/250, i%250+1)
		if slices.Equal(ranking(addr, nodes...)[:len(order)], order) {
			if nth--; nth < 0 {
				return addr
			}
		}
	}
	panic("no such address")
}

func TestTheWinnerAnswersAndAllNodesSpread(t *testing.T) {
	addr := addressFor(0, []string{"node-2", "node-3"}, threeNodes...)
	for _, self := range threeNodes {
		s := newStage(t, self, threeNodes...)
		s.set("web", addr, []string{"node-1", "node-3", "-node-2"})
		s.must(s.all())
		want := addr + ">node-1,node-2,node-3"
		if self == "node-2" {
			want = addr + "!>node-1,node-2,node-3"
		}
		s.wants("web", want)
	}
}

func TestNothingInTheKernelWithoutAService(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	s.set("pending", "", []string{"node-1"})
	s.set("internal", "172.30.200.1", nil, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	s.set("foreign", "172.30.200.2", nil, func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr.To("example.com/other") })
	s.must(s.all())
	s.wantOps()
	s.set("ours", addressFor(0, []string{"node-1"}, threeNodes...), []string{"node-1"}, func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr.To(Class) })
	s.must(s.changed())
	if ops := s.announcer.took(); len(ops) != 4 || !slices.Equal(ops[:3], []string{"open", "answered", "peers node-2,node-3"}) {
		t.Errorf("calls %q", ops)
	}
}

func TestWhatAnEarlierProcessLeftIsSwept(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	s.uplinks.pins = t.TempDir() // it is there
	s.begin()
	s.wantOps("open", "answered", "peers node-2,node-3")
	s.must(s.all())
	s.wantOps("sweep")
	s.must(s.all())
	s.wantOps()
}

func TestAServiceThatGoes(t *testing.T) {
	for what, goes := range map[string]func(*stage, string){
		"deleted": func(s *stage, _ string) { s.remove("web") },
		"of a type": func(s *stage, a string) {
			s.set("web", a, nil, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
		},
		"of a class": func(s *stage, a string) {
			s.set("web", a, nil, func(s *corev1.Service) { s.Spec.LoadBalancerClass = ptr.To("x") })
		},
		"unaddressed": func(s *stage, _ string) { s.set("web", "", threeNodes) },
	} {
		s := newStage(t, "node-1", threeNodes...)
		addr := addressFor(0, []string{"node-1"}, threeNodes...)
		s.set("web", addr, []string{"node-1"})
		s.must(s.all())
		s.wants("web", addr+"!>node-1")
		if s.reports.names() != "node-1/web" {
			t.Errorf("%s: reports %q", what, s.reports.names())
		}
		goes(s, addr)
		s.must(s.changed())
		s.wants("web", "")
		if s.reports.names() != "" || len(s.addrs) != 0 {
			t.Errorf("%s: reports %q, addresses %v", what, s.reports.names(), s.addrs)
		}
		s.set("web", addr, []string{"node-1"})
		s.must(s.changed())
		s.wants("web", addr+"?!>node-1")
	}
}

func TestPolicyLocal(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	addr := addressFor(0, threeNodes[:2], threeNodes...)
	local := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	s.set("web", addr, []string{"node-2"}, local)
	s.must(s.all())
	s.wants("web", addr+">node-2")
	s.set("web", addr, []string{"node-2", "node-1"}, local)
	s.must(s.changed())
	s.wants("web", addr+"!>node-1,node-2")
	s.set("web", addr, nil, local)
	s.must(s.changed())
	s.wants("web", addr)
	if got := s.winners("web"); got != "" {
		t.Errorf("%s announces an address without endpoints", got)
	}
}

// winners are the nodes that announce a Service, joined.
func (s *stage) winners(name string) string {
	var out []string
	for _, w := range s.services[key(name)].winners {
		out = append(out, w)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " ")
}

func TestSharedAddresses(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	addr := addressFor(0, threeNodes, threeNodes...)
	shared := annotated("metallb.io/allow-shared-ip", "key")
	local := func(s *corev1.Service) { s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal }
	s.set("a", addr, []string{"node-2"}, shared, local)
	s.must(s.all())
	s.wants("a", addr+">node-2")
	// Now node-1 has endpoints of one of the two, and announces for both.
	s.set("b", addr, []string{"node-1"}, shared, local, func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	s.must(s.changed())
	s.wants("a", addr+"!>node-2")
	s.wants("b", addr+"!>node-1")
	if s.reports.names() != "node-1/a node-1/b" {
		t.Errorf("reports %q", s.reports.names())
	}
	// Only the one that changed was touched, as nothing is different for the other.
	s.announcer.took()
	s.set("b", addr, []string{"node-1", "node-3"}, shared, local, func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	s.must(s.changed())
	s.wantOps("apply default/b " + addr + "!>node-1,node-3")
	s.remove("b")
	s.must(s.changed())
	s.wants("a", addr+">node-2")
	s.wants("b", "")
}

func TestServicesShareTables(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	s.set("a", "172.30.200.1", []string{"node-2", "node-3"})
	s.set("b", "172.30.200.2", []string{"node-3", "node-2"}, func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP},
			corev1.ServicePort{Name: "sctp", Port: 99, Protocol: corev1.ProtocolSCTP})
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
	})
	s.set("c", "172.30.200.3", []string{"node-2"})
	s.must(s.all())
	table := func(name string) *announce.Table { return s.announcer.services["default/"+name].Spread[0].Table }
	if table("a") != table("b") || table("a") == table("c") {
		t.Error("Services with the same nodes, and only these, are to have one table")
	}
	spread := s.announcer.services["default/b"].Spread
	if len(spread) != 2 || spread[1].Protocol != announce.UDP || spread[1].Port != 53 || !spread[1].ByClient || spread[1].Table != table("a") {
		t.Errorf("spread %+v", spread)
	}
	// A change that leaves the nodes of a table as they are leaves the table.
	before := table("a")
	s.list = append(s.list, fakeNode("node-4", 3))
	s.announcer.took()
	s.must(s.all())
	s.wantOps("peers node-2,node-3,node-4")
	s.set("d", "172.30.200.4", []string{"node-2", "node-3"})
	s.must(s.changed())
	if table("d") != before {
		t.Error("a new Service has a table of its own")
	}
}

func TestPoolsAndAdvertisements(t *testing.T) {
	own := config.Pool{Name: "own", Ranges: []config.Range{{First: netip.MustParseAddr("192.0.2.1"), Last: netip.MustParseAddr("192.0.2.9")}}}
	overlapping := config.Pool{Name: "lan", Ranges: defaultPoolOfTests.Ranges}
	for _, c := range []struct {
		name, addr string
		pools      []config.Pool
		ads        []config.L2Advertisement
		announced  bool
	}{
		{"the default pool needs no advertisement", "172.30.200.1", []config.Pool{defaultPoolOfTests}, nil, true},
		{"another pool does", "192.0.2.1", []config.Pool{defaultPoolOfTests, own}, nil, false},
		{"and has one", "192.0.2.1", []config.Pool{defaultPoolOfTests, own}, []config.L2Advertisement{{Name: "a", Pools: []string{"own"}}}, true},
		{"the advertisement is for another", "192.0.2.1", []config.Pool{own}, []config.L2Advertisement{{Name: "a", Pools: []string{"x"}}}, false},
		{"an address in two pools is the other's", "172.30.200.1", []config.Pool{defaultPoolOfTests, overlapping}, nil, false},
		{"an address of no pool", "198.51.100.1", []config.Pool{defaultPoolOfTests}, nil, false},
	} {
		s := newStage(t, "node-1", "node-1")
		s.cfg = config.Config{Pools: c.pools, L2: c.ads}
		s.set("web", c.addr, []string{"node-1"})
		s.must(s.all())
		if got := strings.Contains(s.announcer.has("web"), "!"); got != c.announced {
			t.Errorf("%s: %q", c.name, s.announcer.has("web"))
		}
	}
}

// An advertisement is changed, and then gone: answers follow.
func TestConfigurationChanges(t *testing.T) {
	s := newStage(t, "node-1", "node-1", "node-2")
	s.interfaces = []string{"eth0", "eth1"}
	s.cfg.Pools = append(s.cfg.Pools, config.Pool{Name: "own", Ranges: []config.Range{{First: netip.MustParseAddr("192.0.2.1"), Last: netip.MustParseAddr("192.0.2.9")}}})
	selector := func(text string) []labels.Selector { l, _ := labels.Parse(text); return []labels.Selector{l} }
	s.cfg.L2 = []config.L2Advertisement{{Name: "a", Pools: []string{"own"}, Interfaces: []string{"eth1"}, NodeSelectors: selector("name=node-1")}}
	s.set("web", "192.0.2.1", []string{"node-1"})
	s.must(s.all())
	s.wants("web", "192.0.2.1!eth1>node-1")
	s.cfg.L2 = []config.L2Advertisement{{Name: "a", Pools: []string{"own"}, NodeSelectors: selector("name=node-1")}}
	s.must(s.all())
	s.wants("web", "192.0.2.1!>node-1")
	s.cfg.L2 = []config.L2Advertisement{{Name: "a", Pools: []string{"own"}, NodeSelectors: selector("name=node-2")}}
	s.must(s.all())
	s.wants("web", "192.0.2.1>node-1")
	s.cfg.L2 = nil
	s.must(s.all())
	s.wants("web", "192.0.2.1>node-1")
	if s.winners("web") != "" {
		t.Errorf("%s announces", s.winners("web"))
	}
}

func TestLiveness(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	addr := addressFor(0, []string{"node-2", "node-1"}, threeNodes...)
	s.set("web", addr, threeNodes)
	s.must(s.all())
	s.wants("web", addr+">node-1,node-2,node-3")
	s.view = announce.View{Active: true, Self: true, Peers: map[string]bool{"node-3": true}}
	s.must(s.all())
	s.wants("web", addr+">node-1,node-2,node-3") // node-2 isn't known yet
	s.hears("node-3")
	s.must(s.all())
	s.wants("web", addr+"!>node-1,node-3")
	s.hears("node-2", "node-3")
	s.must(s.all())
	s.wants("web", addr+">node-1,node-2,node-3")
	s.hears()
	s.view.Self = false
	s.must(s.all())
	s.wants("web", addr+">node-1,node-2,node-3") // it announces nothing, and does with flows what it does when it is back
	s.hears("node-3")
	s.list = slices.DeleteFunc(s.list, func(n *corev1.Node) bool { return n.Name == "node-2" })
	s.must(s.all())
	s.wants("web", addr+"!>node-1,node-3")
	if got := s.announcer.peers; len(got) != 1 || got[0].Name != "node-3" {
		t.Errorf("peers %+v", got)
	}
}

// When a node dies, its addresses are answered for before any flow is led elsewhere.
func TestAnswersGoFirst(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	theirs := []string{addressFor(0, []string{"node-3", "node-1"}, threeNodes...), addressFor(1, []string{"node-3", "node-1"}, threeNodes...)}
	mine := addressFor(0, []string{"node-1"}, threeNodes...)
	s.set("a", mine, threeNodes)
	s.set("b", theirs[0], threeNodes)
	s.set("c", theirs[1], threeNodes)
	s.must(s.all())
	s.announcer.took()
	s.hears("node-2")
	s.must(s.all())
	s.wantOps(
		"apply default/b "+theirs[0]+"!>node-1,node-2,node-3",
		"apply default/c "+theirs[1]+"!>node-1,node-2,node-3",
		"apply default/b "+theirs[0]+"!>node-1,node-2",
		"apply default/c "+theirs[1]+"!>node-1,node-2",
		"apply default/a "+mine+"!>node-1,node-2",
	)
}

// An address that comes later is new to the network, and is asked for before the first node announces it.
func TestNewAddressesAreAskedFor(t *testing.T) {
	s := newStage(t, "node-1", threeNodes...)
	old, fresh := addressFor(0, []string{"node-1"}, threeNodes...), addressFor(1, []string{"node-1"}, threeNodes...)
	s.set("old", old, []string{"node-1"})
	s.must(s.all())
	s.wants("old", old+"!>node-1")
	// Without endpoints at first nobody announces it, so it is still new when it has some.
	s.set("fresh", fresh, nil)
	s.must(s.changed())
	s.set("fresh", fresh, []string{"node-1"})
	s.must(s.changed())
	s.wants("fresh", fresh+"?!>node-1")
	// One that another node has announced is not asked for.
	theirs := addressFor(0, []string{"node-2", "node-1"}, threeNodes...)
	s.set("moving", theirs, threeNodes)
	s.must(s.changed())
	s.hears("node-3")
	s.must(s.all())
	s.wants("moving", theirs+"!>node-1,node-3")
	s.wants("fresh", fresh+"?!>node-1") // not applied anew
}

// Addresses that no machine may take over, or that nobody can have.
func TestAddressesThatAreNotForServices(t *testing.T) {
	s := newStage(t, "node-1", "node-1", "node-2")
	s.cfg.Pools[0].Ranges = []config.Range{{First: netip.MustParseAddr("0.0.0.0"), Last: netip.MustParseAddr("255.255.255.255")}}
	for name, addr := range map[string]string{"node": "172.30.0.12", "gateway": "172.30.0.1", "loop": "127.0.0.1", "all": "0.0.0.0", "group": "224.0.0.1"} {
		s.set(name, addr, []string{"node-1"})
	}
	s.must(s.all())
	for _, name := range []string{"node", "gateway", "loop", "all", "group"} {
		s.wants(name, "")
	}
	s.passTo()
	s.must(s.changed())
	s.wantEvents("node", "Warning/metallb-speaker/notAnnounced/172.30.0.12: Nobody announces the address, because it is that of node node-2; take it out")
	s.wantEvents("gateway", "172.30.0.1: Nobody announces the address, because it is that of a gateway")
}
