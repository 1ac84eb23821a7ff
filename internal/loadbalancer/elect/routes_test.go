package elect

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"

	"minato/internal/loadbalancer/config"
)

func advertise(name string, options ...func(*config.BGPAdvertisement)) config.BGPAdvertisement {
	ad := config.BGPAdvertisement{Name: name, Pools: []string{"lan"}, AggregationLength: 32, AggregationLengthV6: 128}
	for _, o := range options {
		o(&ad)
	}
	return ad
}

func toPeers(names ...string) func(*config.BGPAdvertisement) {
	return func(ad *config.BGPAdvertisement) { ad.Peers = names }
}

func localPref(v uint32) func(*config.BGPAdvertisement) {
	return func(ad *config.BGPAdvertisement) { ad.LocalPref = v }
}

func aggregate(v4, v6 int) func(*config.BGPAdvertisement) {
	return func(ad *config.BGPAdvertisement) { ad.AggregationLength, ad.AggregationLengthV6 = v4, v6 }
}

func community(low uint32) config.Community { return config.Community{Parts: [3]uint32{65000, low}} }

func communities(all ...config.Community) func(*config.BGPAdvertisement) {
	return func(ad *config.BGPAdvertisement) { ad.Communities = all }
}

func fromNodes(texts ...string) func(*config.BGPAdvertisement) {
	return func(ad *config.BGPAdvertisement) { ad.NodeSelectors = selectors(texts...) }
}

func ofServices(texts ...string) func(*config.BGPAdvertisement) {
	return func(ad *config.BGPAdvertisement) { ad.ServiceSelectors = selectors(texts...) }
}

// The routers: one in our system, one in another, one that speaks IPv6, one reached over a link.
var routers = []config.Peer{
	{Name: "in", MyASN: 64512, PeerASN: 64512, Address: netip.MustParseAddr("172.30.0.2")},
	{Name: "out", MyASN: 64512, PeerASN: 64513, Address: netip.MustParseAddr("172.30.0.3")},
	{Name: "six", MyASN: 64512, PeerASN: 64513, Address: netip.MustParseAddr("fd00::3")},
	{Name: "link", MyASN: 64512, DynamicASN: "internal", Interface: "eth1"},
}

// brief writes routes as peer=prefix, and those that are withheld as peer!reason.
func brief(routes []Route, withheld []Withheld) string {
	var out []string
	for _, r := range routes {
		text := r.Peer + "=" + r.Prefix.String()
		if r.LocalPref > 0 {
			text += fmt.Sprintf("@%d", r.LocalPref)
		}
		out = append(out, text)
	}
	for _, w := range withheld {
		out = append(out, w.Peer+"!"+string(w.Reason))
	}
	return strings.Join(out, " ")
}

func every(r Reason) string {
	return fmt.Sprintf("in!%s link!%s out!%s six!%s", r, r, r, r)
}

func TestRoutes(t *testing.T) {
	const plain = "in=192.0.2.1/32 link=192.0.2.1/32 out=192.0.2.1/32 six!otherIPFamily"
	v6 := netip.MustParseAddr("2001:db8::1")
	for _, c := range []struct {
		name string
		svc  Service
		addr netip.Addr
		all  []Node // the first one decides
		ads  []config.BGPAdvertisement
		want string
	}{
		{name: "plain", svc: service("n2"), ads: []config.BGPAdvertisement{advertise("a")}, want: plain},
		{name: "IPv6", svc: service("n1"), addr: v6, ads: []config.BGPAdvertisement{advertise("a")}, want: "link=2001:db8::1/128 six=2001:db8::1/128 in!otherIPFamily out!otherIPFamily"},
		{name: "aggregation", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", aggregate(24, 64))}, want: "in=192.0.2.0/24 link=192.0.2.0/24 out=192.0.2.0/24 six!otherIPFamily"},
		{name: "aggregation of IPv6", svc: service("n1"), addr: v6, ads: []config.BGPAdvertisement{advertise("a", aggregate(24, 64), toPeers("six"))}, want: "six=2001:db8::/64 in!otherIPFamily link!peerNotSelected out!otherIPFamily"},
		{name: "two lengths", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", localPref(100)), advertise("b", aggregate(24, 64), localPref(50), toPeers("in"))}, want: "in=192.0.2.0/24@50 in=192.0.2.1/32@100 link=192.0.2.1/32@100 out=192.0.2.1/32 six!otherIPFamily"},
		{name: "localPref goes to our own system only", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", localPref(100))}, want: "in=192.0.2.1/32@100 link=192.0.2.1/32@100 out=192.0.2.1/32 six!otherIPFamily"},
		{name: "peers", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", toPeers("out", "gone"))}, want: "out=192.0.2.1/32 in!peerNotSelected link!peerNotSelected six!otherIPFamily"},
		{name: "no advertisement", svc: service("n1"), want: every(NoMatchingAdvertisement)},
		{name: "of another pool", svc: service("n1"), ads: []config.BGPAdvertisement{{Name: "a", Pools: []string{"x"}}}, want: every(NoMatchingAdvertisement)},
		{name: "nodeSelectors", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", fromNodes("name=n2"))}, want: every(NotOwner)},
		{name: "serviceSelectors", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", ofServices("app=x"))}, want: every(NoMatchingAdvertisement)},
		{name: "serviceSelectors that match", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", ofServices("app=x", "app=web"))}, want: plain},
		{name: "conflict", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", localPref(1)), advertise("b", localPref(2))}, want: every(ConflictingAdvertisements)},
		{name: "conflict at one peer", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", localPref(1), toPeers("in")), advertise("b", localPref(2), toPeers("out", "in"))}, want: every(ConflictingAdvertisements)},
		{name: "no conflict: other peers", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", localPref(1), toPeers("in")), advertise("b", localPref(2), toPeers("link"))}, want: "in=192.0.2.1/32@1 link=192.0.2.1/32@2 out!peerNotSelected six!otherIPFamily"},
		{name: "no conflict: other nodes", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", localPref(1), toPeers("in")), advertise("b", localPref(2), fromNodes("name=n2"))}, want: "in=192.0.2.1/32@1 link!peerNotSelected out!peerNotSelected six!otherIPFamily"},
		{name: "no conflict: other lengths in this family", svc: service("n1"), ads: []config.BGPAdvertisement{advertise("a", localPref(1), aggregate(24, 64), toPeers("in")), advertise("b", localPref(2), aggregate(25, 64), toPeers("in"))}, want: "in=192.0.2.0/24@1 in=192.0.2.0/25@2 link!peerNotSelected out!peerNotSelected six!otherIPFamily"},
		{name: "unavailable", svc: service("n1"), all: cluster("n1 unavailable"), ads: []config.BGPAdvertisement{advertise("a")}, want: every(NodeNetworkUnavailable)},
		{name: "labelled", svc: service("n1"), all: cluster("n1 labelled", "n2"), ads: []config.BGPAdvertisement{advertise("a")}, want: every(NodeLabeledExcludeBalancers)},
		{name: "all labelled", svc: service("n1"), all: cluster("n1 labelled", "n2 labelled"), ads: []config.BGPAdvertisement{advertise("a")}, want: plain},
		{name: "local policy", svc: local(service("n2")), ads: []config.BGPAdvertisement{advertise("a")}, want: every(NoLocalEndpoints)},
		{name: "local policy with endpoints", svc: local(service("n1")), ads: []config.BGPAdvertisement{advertise("a")}, want: plain},
		{name: "local policy, terminating ones", svc: local(service("-n1")), ads: []config.BGPAdvertisement{advertise("a")}, want: plain},
		{name: "no endpoints", svc: service(), ads: []config.BGPAdvertisement{advertise("a")}, want: every(NoEndpoints)},
		{name: "local policy without any", svc: local(service()), ads: []config.BGPAdvertisement{advertise("a")}, want: every(NoLocalEndpoints)},
	} {
		t.Run(c.name, func(t *testing.T) {
			if !c.addr.IsValid() {
				c.addr = address
			}
			if c.all == nil {
				c.all = cluster("n1", "n2")
			}
			routes, withheld := Routes(c.svc, c.addr, c.all[0], c.all, c.ads, routers)
			if got := brief(routes, withheld); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			for _, r := range routes {
				if r.Reason != Announced || r.Message == "" || len(r.Advertisements) == 0 || !r.Prefix.Contains(c.addr) {
					t.Errorf("route %+v", r)
				}
			}
			for _, w := range withheld {
				if w.Message == "" {
					t.Errorf("no message: %+v", w)
				}
			}
			// The order of the configuration must not matter.
			ads, peers := slices.Clone(c.ads), slices.Clone(routers)
			slices.Reverse(ads)
			slices.Reverse(peers)
			slices.Reverse(c.all)
			again, why := Routes(c.svc, c.addr, c.all[len(c.all)-1], c.all, ads, peers)
			if !reflect.DeepEqual(again, routes) || !reflect.DeepEqual(why, withheld) {
				t.Errorf("depends on the order: %s", brief(again, why))
			}
		})
	}
}

func TestRoutesToPeersOfSomeNodes(t *testing.T) {
	peer := routers[0]
	peer.NodeSelectors = selectors("name=n2", "name=n3")
	all := cluster("n1", "n2")
	ads := []config.BGPAdvertisement{advertise("a")}
	for i, want := range []string{"in!peerNotOnNode", "in=192.0.2.1/32"} {
		if got := brief(Routes(service("n1"), address, all[i], all, ads, []config.Peer{peer})); got != want {
			t.Errorf("%s: %s, want %s", all[i].Name, got, want)
		}
	}
	peer.NodeSelectors, peer.DualStack = nil, true
	v6 := netip.MustParseAddr("2001:db8::1")
	if got := brief(Routes(service("n1"), v6, all[0], all, ads, []config.Peer{peer})); got != "in=2001:db8::1/128" {
		t.Errorf("with dualStackAddressFamily: %s", got)
	}
	if got := brief(Routes(service("n1"), netip.Addr{}, all[0], all, ads, []config.Peer{peer})); got != "in!noAddress" {
		t.Errorf("without an address: %s", got)
	}
	if got := brief(Routes(service("n1"), address, all[0], all, ads, nil)); got != "" {
		t.Errorf("without a peer: %s", got)
	}
}

func TestInternal(t *testing.T) {
	for _, c := range []struct {
		peer config.Peer
		want bool
	}{
		{config.Peer{MyASN: 1, PeerASN: 1}, true},
		{config.Peer{MyASN: 1, PeerASN: 2}, false},
		{config.Peer{MyASN: 1, PeerASN: 2, LocalASN: 2}, true},
		{config.Peer{MyASN: 1, PeerASN: 1, LocalASN: 2}, false},
		{config.Peer{MyASN: 1, DynamicASN: "internal"}, true},
		{config.Peer{MyASN: 1, DynamicASN: "external"}, false},
	} {
		if got := internal(&c.peer); got != c.want {
			t.Errorf("%+v: %v", c.peer, got)
		}
	}
}

func TestCommunitiesAreUnited(t *testing.T) {
	large := config.Community{Large: true, Parts: [3]uint32{1, 2, 3}}
	mine := []config.Community{large, community(2)}
	ads := []config.BGPAdvertisement{advertise("b", communities(mine...)), advertise("a", communities(community(1), community(2)))}
	routes, _ := Routes(service("n1"), address, cluster("n1")[0], cluster("n1"), ads, routers[:1])
	want := []config.Community{community(1), community(2), large}
	if len(routes) != 1 || !reflect.DeepEqual(routes[0].Communities, want) || !slices.Equal(routes[0].Advertisements, []string{"a", "b"}) {
		t.Errorf("routes %+v", routes)
	}
	if routes[0].Message != "told because of BGPAdvertisements a, b" || !slices.Equal(mine, []config.Community{large, community(2)}) {
		t.Errorf("message %q, advertisement changed to %v", routes[0].Message, mine)
	}
}

func TestConflictNamesBoth(t *testing.T) {
	ads := []config.BGPAdvertisement{advertise("b", localPref(2)), advertise("a", localPref(1))}
	_, withheld := Routes(service("n1"), address, cluster("n1")[0], cluster("n1"), ads, routers[:1])
	if m := withheld[0].Message; !strings.Contains(m, "BGPAdvertisements a and b want localPref 1 and 2") {
		t.Errorf("message %q", m)
	}
}
