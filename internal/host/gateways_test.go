package host

import (
	"net/netip"
	"slices"
	"testing"
)

func TestGateways(t *testing.T) {
	requireRoot(t)
	node, other := testNetns(t, "mt-gateways"), testNetns(t, "mt-gateways-other")
	for _, ns := range []Netns{node, other} {
		if err := ns.EnableIPv6(); err != nil {
			t.Fatal(err)
		}
	}
	n, far := testNet(t, node), testNet(t, other)
	for i, link := range []string{"up", "side"} {
		if err := n.AddVeth(link, "", nil, VethEnd{Netns: other, Name: link}, 1500); err != nil {
			t.Fatal(err)
		}
		if err := far.SetUp(link, ""); err != nil {
			t.Fatal(err)
		}
		for _, a := range []string{[]string{"10.1.0.2/16", "10.2.0.2/16"}[i], []string{"fd00:1::2/64", "fd00:2::2/64"}[i]} {
			if err := n.AddAddress(link, netip.MustParsePrefix(a)); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(when string, links []string, want ...string) {
		t.Helper()
		all, err := n.Gateways(links...)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range all {
			got = append(got, a.String())
		}
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s: gateways of %v: %v, want %v", when, links, got, want)
		}
	}
	want("without routes", []string{"up"})
	for _, r := range []Route{
		{Dst: netip.MustParsePrefix("0.0.0.0/0"), Link: "up", Via: netip.MustParseAddr("10.1.0.1")},
		{Dst: netip.MustParsePrefix("::/0"), Link: "side", Via: netip.MustParseAddr("fd00:2::1")},
		{Dst: netip.MustParsePrefix("10.9.0.0/16"), Link: "up", Via: netip.MustParseAddr("10.1.0.9")},
	} {
		if err := n.ReplaceRoute(r); err != nil {
			t.Fatal(err)
		}
	}
	want("with routes", []string{"up"}, "10.1.0.1")
	want("with routes", []string{"up", "side"}, "10.1.0.1", "fd00:2::1")
	want("with routes", nil)
}
