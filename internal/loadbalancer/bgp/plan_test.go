package bgp

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/labels"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
)

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func configPeer(change func(*config.Peer)) config.Peer {
	p := config.Peer{
		Name: "tor", Object: config.Object{Kind: "BGPPeer", Name: "tor"}, MyASN: 64500, PeerASN: 64501, Address: ip("10.0.0.1"), Port: 179,
		HoldTime: 90 * time.Second,
	}
	if change != nil {
		change(&p)
	}
	return p
}

func input(peers ...config.Peer) Input {
	return Input{Node: "node-1", Labels: labels.Set{"rack": "a"}, Addresses: []netip.Addr{ip("10.0.0.11"), ip("fd00::11")}, Peers: peers}
}

func selector(t *testing.T, s string) labels.Selector {
	t.Helper()
	sel, err := labels.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return sel
}

func TestPlanPeer(t *testing.T) {
	in := input(configPeer(func(p *config.Peer) {
		p.LocalASN, p.SourceAddress, p.Port, p.HoldTime, p.KeepaliveTime, p.ConnectTime = 4200000000, ip("10.0.0.11"), 1790, 30*time.Second, 10*time.Second, 7*time.Second
		p.PasswordSecret, p.BFDProfile, p.GracefulRestart, p.MultiHop, p.DualStack = "bgp", "fast", true, true, true
	}))
	in.Passwords = map[string]string{"bgp": "secret"}
	in.Profiles = []config.BFDProfile{{Name: "fast", ReceiveInterval: 50 * time.Millisecond, DetectMultiplier: 5, Passive: true, MinimumTTL: 250}}
	got, problems := Plan(in)
	want := State{RouterID: ip("10.0.0.11"), Peers: []Peer{{
		Name: "tor", LocalASN: 4200000000, PeerASN: 64501, Address: ip("10.0.0.1"), Source: ip("10.0.0.11"), Port: 1790,
		HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second, ConnectTime: 7 * time.Second, Password: "secret",
		BFD: &BFD{Receive: 50 * time.Millisecond, Transmit: 300 * time.Millisecond, Multiplier: 5, Passive: true, MinimumTTL: 250}, GracefulRestart: true, MultiHop: true, DualStack: true,
	}}}
	if d := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" || len(problems) != 0 {
		t.Errorf("state differs (-want +got):\n%s\nproblems: %+v", d, problems)
	}
	if err := got.Validate(); err != nil {
		t.Error(err)
	}
}

func TestPlanDynamicASN(t *testing.T) {
	for kind, want := range map[string]uint32{"internal": 64500, "external": 0} {
		got, problems := Plan(input(configPeer(func(p *config.Peer) { p.PeerASN, p.DynamicASN = 0, kind })))
		if len(problems) != 0 || len(got.Peers) != 1 || got.Peers[0].PeerASN != want {
			t.Errorf("%s: %+v, %+v", kind, got, problems)
		}
	}
}

// Whatever can't be honoured is told with the object and the field, and what helps.
func TestPlanProblems(t *testing.T) {
	for _, c := range []struct {
		field, text string
		unused      bool
		change      func(*config.Peer)
	}{
		{"spec.vrf", "leave vrf out", true, func(p *config.Peer) { p.VRF = "red" }},
		{"spec.peerAddress", "give it one of them", true, func(p *config.Peer) { p.Address = netip.Addr{} }},
		{"spec.interface", "leave one of them out", true, func(p *config.Peer) { p.Interface = "eth0" }},
		{"spec.myASN", "64512 to 65534", true, func(p *config.Peer) { p.MyASN = 0 }},
		{"spec.peerASN", "give peerASN or dynamicASN", true, func(p *config.Peer) { p.PeerASN = 0 }},
		{"spec.dynamicASN", "give internal or external", true, func(p *config.Peer) { p.DynamicASN = "both" }},
		{"spec.passwordSecret", "metallb-system/bgp is missing", true, func(p *config.Peer) { p.PasswordSecret = "bgp" }},
		{"spec.password", "80 at most", true, func(p *config.Peer) { p.Password = strings.Repeat("x", 81) }},
		{"spec.sourceAddress", "same family", false, func(p *config.Peer) { p.SourceAddress = ip("fd00::1") }},
		{"spec.holdTime", "without a hold time", false, func(p *config.Peer) { p.HoldTime = 0 }},
		{"spec.holdTime", "3 s to 65535 s", false, func(p *config.Peer) { p.HoldTime = time.Second }},
		{"spec.holdTime", "whole seconds", false, func(p *config.Peer) { p.HoldTime = 3500 * time.Millisecond }},
		{"spec.keepaliveTime", "less than the hold time, 1m30s", false, func(p *config.Peer) { p.KeepaliveTime = 2 * time.Minute }},
		{"spec.connectTime", "1 s to 65535 s", false, func(p *config.Peer) { p.ConnectTime = 100 * time.Hour }},
		{"spec.bfdProfile", "create it", false, func(p *config.Peer) { p.BFDProfile = "gone" }},
		{"spec.routerID", "as an IPv4 address", false, func(p *config.Peer) { p.RouterID = ip("::1") }},
		{"spec", "no address of a router", true, func(p *config.Peer) { p.Address = ip("224.0.0.1") }},
	} {
		got, problems := Plan(input(configPeer(c.change)))
		if len(problems) != 1 || problems[0].Field != c.field || problems[0].Unused != c.unused || problems[0].Object.Name != "tor" || !strings.Contains(problems[0].Message, c.text) {
			t.Errorf("%s: problems are %+v, want one with %q", c.field, problems, c.text)
		}
		if (len(got.Peers) == 0) != c.unused {
			t.Errorf("%s: peers are %+v", c.field, got.Peers)
		}
		if err := got.Validate(); err != nil {
			t.Errorf("%s: %v", c.field, err)
		}
	}
}

func TestPlanSelectsAndOrders(t *testing.T) {
	other := configPeer(func(p *config.Peer) {
		p.Name, p.Address, p.RouterID = "b", ip("10.0.0.2"), ip("1.1.1.1")
	})
	elsewhere := configPeer(func(p *config.Peer) {
		p.Name, p.Address, p.RouterID = "a", ip("10.0.0.3"), ip("2.2.2.2")
		p.NodeSelectors = []labels.Selector{selector(t, "rack=b"), selector(t, "rack=c")}
	})
	twin := configPeer(func(p *config.Peer) { p.Name, p.Object.Name, p.RouterID = "twin", "twin", ip("3.3.3.3") })
	got, problems := Plan(input(twin, configPeer(nil), elsewhere, other))
	var names []string
	for _, p := range got.Peers {
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"b", "tor"}) || got.RouterID != ip("1.1.1.1") {
		t.Errorf("peers are %v, router ID %v", names, got.RouterID)
	}
	if len(problems) != 2 || problems[0].Field != "spec.routerID" || problems[1].Field != "spec.peerAddress" || !problems[1].Unused || problems[1].Object.Name != "twin" {
		t.Errorf("problems are %+v", problems)
	}
}

func TestRouterIDWithoutIPv4(t *testing.T) {
	in := input(configPeer(nil))
	in.Addresses = []netip.Addr{ip("fd00::11")}
	one, _ := Plan(in)
	in.Node = "node-2"
	two, _ := Plan(in)
	if !one.RouterID.Is4() || one.RouterID == two.RouterID {
		t.Errorf("router IDs are %v and %v", one.RouterID, two.RouterID)
	}
}

func TestPlanRoutes(t *testing.T) {
	std := func(low uint32) config.Community { return config.Community{Parts: [3]uint32{64500, low}} }
	large := config.Community{Large: true, Parts: [3]uint32{1, 2, 3}}
	prefix := netip.MustParsePrefix
	in := input(configPeer(func(p *config.Peer) { p.PeerASN, p.DualStack = 64500, true }))
	in.Routes = []elect.Route{
		{Peer: "tor", Prefix: prefix("192.0.2.0/24"), Communities: []config.Community{large, std(1)}, LocalPref: 100},  // of one address
		{Peer: "tor", Prefix: prefix("192.0.2.0/24"), Communities: []config.Community{std(1), std(0)}, LocalPref: 200}, // of another
		{Peer: "tor", Prefix: prefix("192.0.2.1/32")},
		{Peer: "tor", Prefix: prefix("2001:db8::/64"), Communities: []config.Community{std(1)}},
		{Peer: "other", Prefix: prefix("198.51.100.0/24")},
	}
	want := []Route{
		{Prefix: prefix("192.0.2.0/24"), LocalPref: 200, Communities: []config.Community{std(0), std(1), large}},
		{Prefix: prefix("192.0.2.1/32")},
		{Prefix: prefix("2001:db8::/64"), NextHop: ip("fd00::11"), Communities: []config.Community{std(1)}},
	}
	for range 5 {
		got, problems := Plan(in)
		if d := cmp.Diff(want, got.Peers[0].Routes, cmpopts.EquateEmpty(), cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})); d != "" || len(problems) != 0 {
			t.Fatalf("routes differ (-want +got):\n%s\nproblems: %+v", d, problems)
		}
		if err := got.Validate(); err != nil {
			t.Fatal(err)
		}
		// The order of the input is nothing.
		in.Routes = append(slices.Clone(in.Routes[1:]), in.Routes[0])
	}
}

// What is decided for an address reaches the State.
func TestPlanFromElection(t *testing.T) {
	in := input(configPeer(func(p *config.Peer) { p.PeerASN = 64500 }))
	in.Advertisements = []config.BGPAdvertisement{
		{Name: "wide", Pools: []string{"pool"}, AggregationLength: 26, AggregationLengthV6: 128, LocalPref: 150},
		{Name: "exact", Pools: []string{"pool"}, AggregationLength: 32, AggregationLengthV6: 128},
	}
	node := elect.Node{Name: "node-1", Labels: in.Labels}
	svc := elect.Service{Pool: "pool", Serving: map[string]bool{"node-1": true}}
	for _, a := range []string{"192.0.2.65", "192.0.2.66"} {
		routes, withheld := elect.Routes(svc, ip(a), node, []elect.Node{node}, in.Advertisements, in.Peers)
		if len(withheld) != 0 {
			t.Fatalf("withheld: %+v", withheld)
		}
		in.Routes = append(in.Routes, routes...)
	}
	got, problems := Plan(in)
	var prefixes []string
	for _, r := range got.Peers[0].Routes {
		prefixes = append(prefixes, r.Prefix.String())
	}
	if want := []string{"192.0.2.64/26", "192.0.2.65/32", "192.0.2.66/32"}; !slices.Equal(prefixes, want) || got.Peers[0].Routes[0].LocalPref != 150 || len(problems) != 0 {
		t.Errorf("routes are %+v, problems %+v", got.Peers[0].Routes, problems)
	}
	// To an external peer the preference is not told.
	in.Peers[0].PeerASN = 64501
	_, problems = Plan(in)
	if len(problems) != 1 || problems[0].Field != "spec.localPref" || problems[0].Unused || !strings.Contains(problems[0].Message, "own AS") {
		t.Errorf("problems are %+v", problems)
	}
}

func TestPlanNoNextHop(t *testing.T) {
	in := input(configPeer(func(p *config.Peer) { p.DualStack = true }))
	in.Addresses = in.Addresses[:1]
	in.Routes = []elect.Route{
		{Peer: "tor", Prefix: netip.MustParsePrefix("2001:db8::1/128")}, {Peer: "tor", Prefix: netip.MustParsePrefix("2001:db8::2/128")},
		{Peer: "tor", Prefix: netip.MustParsePrefix("192.0.2.1/32")},
	}
	got, problems := Plan(in)
	if len(problems) != 1 || problems[0].Field != "spec.dualStackAddressFamily" || !strings.Contains(problems[0].Message, "no IPv6 address to be the next hop") {
		t.Errorf("problems are %+v", problems)
	}
	if len(got.Peers[0].Routes) != 1 {
		t.Errorf("routes are %+v", got.Peers[0].Routes)
	}
	in.Peers[0].DualStack = false
	if _, problems := Plan(in); len(problems) != 0 {
		t.Errorf("problems are %+v", problems)
	}
}
