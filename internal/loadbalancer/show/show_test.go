package show

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
	"minato/internal/loadbalancer/pool"
)

var update = flag.Bool("update", false, "write what is shown to testdata")

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, text := range texts {
		out = append(out, netip.MustParseAddr(text))
	}
	return out
}

func named(name string, serving ...string) elect.Service {
	s := elect.Service{Key: types.NamespacedName{Namespace: "shop", Name: name}, Serving: map[string]bool{}, Draining: map[string]bool{}}
	for _, n := range serving {
		s.Serving[n] = true
	}
	return s
}

// Four nodes: one is dead, and one is left out by its label.
var nodes = []elect.Node{
	{Name: "node-1", Alive: true},
	{Name: "node-2", Alive: true, Labels: labels.Set{"rack": "a"}},
	{Name: "node-3"},
	{Name: "node-4", Alive: true, Labels: labels.Set{corev1.LabelNodeExcludeBalancers: ""}},
}

// web is in two families, announced in layer 2 at one interface with a preference, and told to one peer of two.
func web() Service {
	rackA := labels.SelectorFromSet(labels.Set{"rack": "a"})
	svc := named("web", "node-1", "node-2", "node-3")
	svc.Draining["node-4"] = true
	svc.Local, svc.Affinity = true, true
	allocation := pool.Decision{
		Addresses: addrs("192.0.2.1", "2001:db8::1"), Pool: "lan", Reason: pool.Kept,
		Why: []string{"Pool first is full.", "192.0.2.1 is the first free address of pool lan."},
	}
	d := Decide(svc, nil, allocation, nodes, config.Config{
		L2: []config.L2Advertisement{{Name: "lan", Pools: []string{"lan"}, Interfaces: []string{"eth1"}, Preferred: []config.Preference{{Weight: 50, Selector: rackA}}}},
		BGP: []config.BGPAdvertisement{{
			Name: "tor", Pools: []string{"lan"}, AggregationLength: 24, AggregationLengthV6: 128, LocalPref: 100,
			Communities: []config.Community{{Parts: [3]uint32{64512, 7}}, {Large: true, Parts: [3]uint32{1, 2, 3}}},
			Peers:       []string{"tor-1"},
		}},
		Peers: []config.Peer{
			{Name: "tor-1", MyASN: 64512, PeerASN: 64512, Address: netip.MustParseAddr("172.30.0.2")},
			{Name: "tor-2", MyASN: 64512, PeerASN: 64513, Address: netip.MustParseAddr("172.30.0.3"), DualStack: true},
		},
	}, "default")
	d.Node = "node-1"
	return Describe(d)
}

// pending has no address.
func pending() Service {
	return Describe(Decide(named("pending", "node-1"), nil, pool.Decision{
		Reason: pool.Failed, Cause: pool.NoAvailableIPs, Message: `Failed to allocate IP for "shop/pending": no available IPs`,
		Help: "Add addresses to pool \"lan\".", Why: []string{"Pool lan is full.", "It gets no address: no available IPs."},
	}, nodes, config.Config{}, "default"))
}

// idle has an address of the default pool, and no endpoints.
func idle() Service {
	return Describe(Decide(named("idle"), nil, pool.Decision{
		Addresses: addrs("172.30.200.1"), Pool: "default", Reason: pool.Kept, PendingFamily: corev1.IPv6Protocol,
		PendingMessage: "cannot assign additional IP in PreferDualStack: no available IPs in pool default for ipv6 IPFamily",
	}, nodes, config.Config{}, "default"))
}

// simple is what one sees without any configuration.
func simple() Service {
	return Describe(Decide(named("simple", "node-2"), nil, pool.Decision{
		Addresses: addrs("172.30.200.2"), Pool: "default", Reason: pool.Allocated, Why: []string{"172.30.200.2 is the first free address of pool default."},
	}, nodes, config.Config{}, "default"))
}

// routed is told to a peer, and not announced in layer 2.
func routed() Service {
	return Describe(Decide(named("routed", "node-2"), nil, pool.Decision{Addresses: addrs("198.51.100.1"), Pool: "bgp", Reason: pool.Kept}, nodes, config.Config{
		BGP:   []config.BGPAdvertisement{{Name: "all", Pools: []string{"bgp"}, AggregationLength: 32}},
		Peers: []config.Peer{{Name: "tor-2", MyASN: 64512, PeerASN: 64513, Address: netip.MustParseAddr("172.30.0.3")}},
	}, ""))
}

func TestGolden(t *testing.T) {
	all := []Service{web(), pending(), idle(), simple(), routed()}
	for _, s := range all {
		var text bytes.Buffer
		if err := s.Write(&text); err != nil {
			t.Fatal(err)
		}
		golden(t, s.Name+".txt", text.Bytes())
		for i, line := range strings.Split(text.String(), "\n") {
			if line != strings.TrimRight(line, " ") {
				t.Errorf("%s: line %d ends in a blank: %q", s.Name, i+1, line)
			}
		}
		data, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), "null") {
			t.Errorf("%s: a list is null in JSON", s.Name)
		}
		golden(t, s.Name+".json", append(data, '\n'))
	}
	var list bytes.Buffer
	if err := List(&list, all); err != nil {
		t.Fatal(err)
	}
	golden(t, "list.txt", list.Bytes())
}

func TestDecideWithSharers(t *testing.T) {
	// Without the other one nobody would announce the address.
	d := Decide(named("web"), []elect.Service{named("other", "node-1")}, pool.Decision{Addresses: addrs("192.0.2.1"), Pool: "default"}, nodes, config.Config{}, "default")
	if s := Describe(d); s.Addresses[0].AnnouncedBy == "" {
		t.Errorf("address %+v", s.Addresses[0])
	}
	// A pool without a name isn't the default pool of a cluster that has none.
	d = Decide(named("web", "node-1"), nil, pool.Decision{Addresses: addrs("192.0.2.1")}, nodes, config.Config{}, "")
	if s := Describe(d); s.Addresses[0].AnnouncedBy != "" {
		t.Errorf("address %+v", s.Addresses[0])
	}
}

func TestManyNodesAreCounted(t *testing.T) {
	f := Flows{Nodes: []Share{{Node: "a", Buckets: 1}, {Node: "b", Buckets: 1}, {Node: "c", Buckets: 1}, {Node: "d"}}}
	if got := f.brief(); got != "a, b, c" {
		t.Errorf("got %q", got)
	}
	f.Nodes[3].Buckets = 1
	if got := f.brief(); got != "4 nodes" {
		t.Errorf("got %q", got)
	}
}
