package config

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/labels"
)

// exact compares models.
var exact = cmp.Options{
	cmp.Comparer(func(a, b labels.Selector) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b Range) bool { return a == b }),
	cmpopts.EquateComparable(Peer{}.Address),
}

func selector(t testing.TB, text string) labels.Selector {
	t.Helper()
	s, err := labels.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func ranges(t testing.TB, texts ...string) []Range {
	t.Helper()
	var all []Range
	for _, text := range texts {
		r, err := ParseRange(text)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, r)
	}
	return all
}

func TestReadPools(t *testing.T) {
	c := Read(objects(t, join2(
		objectText("IPAddressPool", "z", "{addresses: [192.0.2.0/28, 2001:db8::-2001:db8::ff]}"),
		`kind: IPAddressPool
metadata: {name: a, namespace: metallb-system, labels: {zone: east}}
spec:
  addresses: [198.51.100.20 - 198.51.100.30, 198.51.100.0/28]
  autoAssign: false
  avoidBuggyIPs: true
  serviceAllocation:
    priority: 7
    namespaces: [shop, blog, shop]
    namespaceSelectors: [{matchLabels: {team: x}}]
    serviceSelectors: [{matchExpressions: [{key: app, operator: In, values: [web, api]}]}, {}]`,
		objectText("IPAddressPool", "empty-allocation", "{addresses: [203.0.113.0/24], serviceAllocation: {}}"),
	)))
	expectProblems(t, c.Problems)
	want := []Pool{
		{
			Name: "a", Labels: labels.Set{"zone": "east"}, Object: Object{"IPAddressPool", Namespace, "a"},
			Ranges: ranges(t, "198.51.100.20-198.51.100.30", "198.51.100.0/28"), AvoidBuggyIPs: true,
			Allocation: &Allocation{
				Priority: 7, Namespaces: []string{"blog", "shop"},
				NamespaceSelectors: []labels.Selector{selector(t, "team=x")},
				ServiceSelectors:   []labels.Selector{selector(t, "app in (api,web)"), labels.Everything()},
			},
		},
		{Name: "empty-allocation", Object: Object{"IPAddressPool", Namespace, "empty-allocation"}, Ranges: ranges(t, "203.0.113.0/24"), AutoAssign: true, Allocation: &Allocation{}},
		{Name: "z", Object: Object{"IPAddressPool", Namespace, "z"}, Ranges: ranges(t, "192.0.2.0/28", "2001:db8::-2001:db8::ff"), AutoAssign: true},
	}
	if diff := cmp.Diff(want, c.Pools, exact); diff != "" {
		t.Error(diff)
	}
}

func TestDefaultPool(t *testing.T) {
	o := objects(t, join2(
		objectText("IPAddressPool", "mine", "{addresses: [172.30.200.0/28]}"), // overlaps and wins
		objectText("L2Advertisement", "all", "{}"),
		objectText("BGPAdvertisement", "both", "{ipAddressPools: [mine, minato-default]}")))
	o.DefaultRanges = ranges(t, "172.30.200.1-172.30.200.250")
	c := Read(o)
	expectProblems(t, c.Problems)
	if names := namesOf(c.Pools); !slices.Equal(names, []string{DefaultPool, "mine"}) {
		t.Errorf("pools are %v", names)
	}
	want := Pool{Name: DefaultPool, Ranges: o.DefaultRanges, AutoAssign: true, Default: true}
	if diff := cmp.Diff(want, c.Pools[0], exact); diff != "" {
		t.Error(diff)
	}
	if !slices.Equal(c.L2[0].Pools, []string{"mine"}) || !slices.Equal(c.BGP[0].Pools, []string{DefaultPool, "mine"}) {
		t.Errorf("announced are %v in L2 and %v by BGP", c.L2[0].Pools, c.BGP[0].Pools)
	}

	o = objects(t, objectText("IPAddressPool", DefaultPool, "{addresses: [192.0.2.0/28]}"))
	o.DefaultRanges = ranges(t, "172.30.200.1-172.30.200.250")
	c = Read(o)
	expectProblems(t, c.Problems, "kept|metadata.name|use another name")
	if len(c.Pools) != 1 || c.Pools[0].Default {
		t.Errorf("pools are %+v", c.Pools)
	}
}

func TestReadAdvertisements(t *testing.T) {
	c := Read(objects(t, join2(
		objectText("IPAddressPool", "a", "{addresses: [192.0.2.0/24]}"),
		"kind: IPAddressPool\nmetadata: {name: b, namespace: metallb-system, labels: {zone: east}}\nspec: {addresses: [198.51.100.0/24]}",
		objectText("L2Advertisement", "all", "{}"),
		objectText("L2Advertisement", "chosen", `{ipAddressPools: [a, gone], ipAddressPoolSelectors: [{matchLabels: {zone: east}}], nodeSelectors: [{matchLabels: {rack: r1}}],
  interfaces: [eth1, eth0], serviceSelectors: [{matchLabels: {app: web}}], preferredNodeSelectors: [{weight: 20, preference: {matchLabels: {fast: "true"}}}]}`),
		objectText("L2Advertisement", "none", "{ipAddressPools: [gone]}"),
		objectText("BGPAdvertisement", "bgp", `{ipAddressPoolSelectors: [{matchLabels: {zone: east}}], aggregationLength: 25, aggregationLengthV6: 64, localPref: 4294967295,
  communities: [cheap, "large:1:2:3", "64500:7", "64500:7"], peers: [p2, p1], nodeSelectors: [{}], asPathPrepend: 2}`),
		objectText("Community", "names", `{communities: [{name: cheap, value: "64500:100"}]}`),
		objectText("BGPPeer", "p1", "{myASN: 1, peerASN: 2, peerAddress: 192.0.2.1}"),
	)))
	expectProblems(t, c.Problems,
		"kept|BGPAdvertisement bgp: spec.asPathPrepend|not supported",
		`kept|BGPAdvertisement bgp: spec.peers[0]: peer "p2" doesn't exist`,
		`kept|L2Advertisement chosen: spec.ipAddressPools[1]: pool "gone" doesn't exist`,
		`kept|L2Advertisement none: spec.ipAddressPools[0]: pool "gone"`)
	wantL2 := []L2Advertisement{
		{Name: "all", Object: Object{"L2Advertisement", Namespace, "all"}, Pools: []string{"a", "b"}},
		{
			Name: "chosen", Object: Object{"L2Advertisement", Namespace, "chosen"}, Pools: []string{"a", "b"},
			NodeSelectors: []labels.Selector{selector(t, "rack=r1")}, Interfaces: []string{"eth0", "eth1"},
			ServiceSelectors: []labels.Selector{selector(t, "app=web")}, Preferred: []Preference{{20, selector(t, "fast=true")}},
		},
		{Name: "none", Object: Object{"L2Advertisement", Namespace, "none"}},
	}
	if diff := cmp.Diff(wantL2, c.L2, exact); diff != "" {
		t.Error(diff)
	}
	wantBGP := []BGPAdvertisement{{
		Name: "bgp", Object: Object{"BGPAdvertisement", Namespace, "bgp"}, Pools: []string{"b"}, AggregationLength: 25, AggregationLengthV6: 64,
		LocalPref: 4294967295, Communities: []Community{{Parts: [3]uint32{64500, 7}}, {Parts: [3]uint32{64500, 100}}, {true, [3]uint32{1, 2, 3}}},
		NodeSelectors: []labels.Selector{labels.Everything()}, Peers: []string{"p1", "p2"},
	}}
	if diff := cmp.Diff(wantBGP, c.BGP, exact); diff != "" {
		t.Error(diff)
	}
}

func TestReadPeers(t *testing.T) {
	c := Read(objects(t, join2(
		objectText("BFDProfile", "fast", "{receiveInterval: 100, transmitInterval: 50, detectMultiplier: 5}"),
		objectText("BFDProfile", "usual", "{}"),
		objectText("BGPPeer", "plain", "{myASN: 64500, peerASN: 64501, peerAddress: 192.0.2.1}"),
		objectText("BGPPeer", "full", `{myASN: 64500, peerASN: 64501, localASN: 64502, peerAddress: "2001:db8::1", sourceAddress: "2001:db8::2", peerPort: 1179,
  holdTime: 9s, keepaliveTime: 3s, connectTime: 5s, routerID: 192.0.2.9, nodeSelectors: [{matchLabels: {rack: r1}}], passwordSecret: {name: s},
  bfdProfile: fast, enableGracefulRestart: true, dualStackAddressFamily: true}`),
		objectText("BGPPeer", "unnumbered", "{myASN: 64500, dynamicASN: external, interface: eth0, keepaliveTime: 10s, password: secret, ebgpMultiHop: true}"),
	)))
	expectProblems(t, c.Problems)
	want := []Peer{
		{
			Name: "full", Object: Object{"BGPPeer", Namespace, "full"}, MyASN: 64500, PeerASN: 64501, LocalASN: 64502,
			Address: addr(t, "2001:db8::1"), SourceAddress: addr(t, "2001:db8::2"), Port: 1179, HoldTime: 9 * time.Second,
			KeepaliveTime: 3 * time.Second, ConnectTime: 5 * time.Second, RouterID: addr(t, "192.0.2.9"),
			NodeSelectors: []labels.Selector{selector(t, "rack=r1")}, PasswordSecret: "s", BFDProfile: "fast", GracefulRestart: true, DualStack: true,
		},
		{
			Name: "plain", Object: Object{"BGPPeer", Namespace, "plain"}, MyASN: 64500, PeerASN: 64501, Address: addr(t, "192.0.2.1"),
			Port: 179, HoldTime: 90 * time.Second,
		},
		{
			Name: "unnumbered", Object: Object{"BGPPeer", Namespace, "unnumbered"}, MyASN: 64500, DynamicASN: "external", Interface: "eth0",
			Port: 179, HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second, Password: "secret", MultiHop: true,
		},
	}
	if diff := cmp.Diff(want, c.Peers, exact); diff != "" {
		t.Error(diff)
	}
	wantBFD := []BFDProfile{
		{"fast", Object{"BFDProfile", Namespace, "fast"}, 100 * time.Millisecond, 50 * time.Millisecond, 5, false, 0},
		{"usual", Object{"BFDProfile", Namespace, "usual"}, 300 * time.Millisecond, 300 * time.Millisecond, 3, false, 0},
	}
	if diff := cmp.Diff(wantBFD, c.BFDProfiles, exact); diff != "" {
		t.Error(diff)
	}
}

// What is left out of several that exclude each other depends on their age, then on their names, and on nothing else.
func TestOrderOfObjects(t *testing.T) {
	pool := func(name, created, addresses string) string {
		return "kind: IPAddressPool\nmetadata: {name: " + name + ", namespace: metallb-system, creationTimestamp: " + created + "}\nspec: {addresses: [" + addresses + "]}"
	}
	o := objects(t, join2(
		pool("a", `"2026-01-03T00:00:00Z"`, "192.0.2.0/28"),
		pool("b", `"2026-01-02T00:00:00Z"`, "192.0.2.0/24"),
		pool("c", `"2026-01-02T00:00:00Z"`, "192.0.2.255/32"),
		pool("d", `"2026-01-01T00:00:00Z"`, "192.0.2.5-192.0.2.1"), // bad, so it is in nobody's way
		pool("e", "null", "198.51.100.0/24"),
		pool("f", `"2026-01-09T00:00:00Z"`, "198.51.100.0/24"),
		configMapText("address-pools: [{name: old, protocol: layer2, addresses: [203.0.113.0/24]}]"),
		pool("g", `"2026-02-01T00:00:00Z"`, "203.0.113.7/32"), // objects win over the ConfigMap
	))
	want := Read(o)
	expectProblems(t, want.Problems,
		`kept|ConfigMap config: address-pools[0].addresses[0]|pool "g"|pool "old" of the ConfigMap is left out`,
		`left|IPAddressPool a: spec.addresses[0]|pool "b"|192.0.2.0/24`,
		`left|IPAddressPool c: spec.addresses[0]|pool "b"`,
		`left|IPAddressPool d: spec.addresses[0]|ends before it starts`,
		`left|IPAddressPool e: spec.addresses[0]|pool "f"`)
	if names := namesOf(want.Pools); !slices.Equal(names, []string{"b", "f", "g"}) {
		t.Errorf("pools are %v", names)
	}
	r := rand.New(rand.NewPCG(1, 2))
	for range 50 {
		r.Shuffle(len(o.Pools), func(i, j int) { o.Pools[i], o.Pools[j] = o.Pools[j], o.Pools[i] })
		before := slices.Clone(o.Pools)
		if diff := cmp.Diff(want, Read(o), exact); diff != "" {
			t.Fatal(diff)
		}
		if diff := cmp.Diff(before, o.Pools); diff != "" {
			t.Fatalf("Read changed its argument: %s", diff)
		}
	}
}

func TestNothing(t *testing.T) {
	if diff := cmp.Diff(Config{}, Read(Objects{}), exact); diff != "" {
		t.Error(diff)
	}
	empty := ""
	if diff := cmp.Diff(Config{}, Read(Objects{ConfigMap: &empty}), exact); diff != "" {
		t.Error(diff)
	}
}
