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

func advertisement(name string, change func(*config.BGPAdvertisement)) *config.BGPAdvertisement {
	a := &config.BGPAdvertisement{Name: name, Object: config.Object{Kind: "BGPAdvertisement", Name: name}, AggregationLength: 32, AggregationLengthV6: 128}
	if change != nil {
		change(a)
	}
	return a
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
	in.Profiles = []config.BFDProfile{{Name: "fast", ReceiveInterval: 50 * time.Millisecond, DetectMultiplier: 5}}
	got, problems := Plan(in)
	want := State{RouterID: ip("10.0.0.11"), Peers: []Peer{{
		Name: "tor", LocalASN: 4200000000, PeerASN: 64501, Address: ip("10.0.0.1"), Source: ip("10.0.0.11"), Port: 1790,
		HoldTime: 30 * time.Second, KeepaliveTime: 10 * time.Second, ConnectTime: 7 * time.Second, Password: "secret",
		BFD: &BFD{Receive: 50 * time.Millisecond, Transmit: 300 * time.Millisecond, Multiplier: 5}, GracefulRestart: true, MultiHop: true, DualStack: true,
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
	wide := advertisement("wide", func(a *config.BGPAdvertisement) {
		a.AggregationLength, a.AggregationLengthV6, a.Communities = 24, 64, []config.Community{large, std(1)}
	})
	again := advertisement("again", func(a *config.BGPAdvertisement) {
		a.AggregationLength, a.Communities = 24, []config.Community{std(1), std(0)}
	})
	exact := advertisement("exact", func(a *config.BGPAdvertisement) { a.LocalPref = 200 })
	elsewhere := advertisement("elsewhere", func(a *config.BGPAdvertisement) { a.Peers = []string{"nobody"} })
	otherNode := advertisement("other-node", func(a *config.BGPAdvertisement) { a.NodeSelectors = []labels.Selector{selector(t, "rack=b")} })
	in := input(configPeer(func(p *config.Peer) { p.PeerASN, p.DualStack = 64500, true }))
	in.Announcements = []Announcement{
		{ip("192.0.2.9"), wide}, {ip("192.0.2.1"), wide}, {ip("192.0.2.1"), exact}, {ip("192.0.2.1"), again}, {ip("2001:db8::5"), wide},
		{ip("198.51.100.1"), elsewhere}, {ip("198.51.100.1"), otherNode},
	}
	want := []Route{
		{Prefix: netip.MustParsePrefix("192.0.2.0/24"), Communities: []config.Community{std(0), std(1), large}},
		{Prefix: netip.MustParsePrefix("192.0.2.1/32"), LocalPref: 200},
		{Prefix: netip.MustParsePrefix("2001:db8::/64"), NextHop: ip("fd00::11"), Communities: []config.Community{std(1), large}},
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
		in.Announcements = append(in.Announcements[1:], in.Announcements[0])
	}
}

func TestPlanRouteProblems(t *testing.T) {
	low := advertisement("low", func(a *config.BGPAdvertisement) { a.LocalPref = 100 })
	high := advertisement("high", func(a *config.BGPAdvertisement) { a.LocalPref = 200 })
	check := func(name string, in Input, field, object, text string, routes int) State {
		t.Helper()
		got, problems := Plan(in)
		if len(problems) != 1 || problems[0].Field != field || problems[0].Object.Name != object || problems[0].Unused || !strings.Contains(problems[0].Message, text) {
			t.Errorf("%s: problems are %+v, want one of %s with %q", name, problems, object, text)
		}
		if len(got.Peers[0].Routes) != routes {
			t.Errorf("%s: routes are %+v", name, got.Peers[0].Routes)
		}
		return got
	}

	in := input(configPeer(nil))
	in.Announcements = []Announcement{{ip("192.0.2.1"), high}, {ip("192.0.2.2"), high}}
	if got := check("external", in, "spec.localPref", "high", "own AS", 2); got.Peers[0].Routes[0].LocalPref != 0 {
		t.Errorf("an external peer is told a local preference")
	}
	in = input(configPeer(func(p *config.Peer) { p.PeerASN = 64500 }))
	in.Announcements = []Announcement{{ip("192.0.2.1"), low}, {ip("192.0.2.1"), high}}
	if got := check("conflict", in, "spec.localPref", "low", "higher preference", 1); got.Peers[0].Routes[0].LocalPref != 200 {
		t.Errorf("routes are %+v", got.Peers[0].Routes)
	}
	plain := advertisement("plain", nil)
	in = input(configPeer(nil))
	in.Announcements = []Announcement{{ip("192.0.2.1"), plain}, {ip("2001:db8::1"), plain}, {ip("2001:db8::2"), plain}}
	check("one family", in, "spec.dualStackAddressFamily", "tor", "set dualStackAddressFamily", 1)
	in.Peers[0].DualStack = true
	in.Addresses = in.Addresses[:1]
	check("no next hop", in, "spec.dualStackAddressFamily", "tor", "no IPv6 address to be the next hop", 1)
}
