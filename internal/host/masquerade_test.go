package host

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"
)

// Packets that leave have the machine's address, those that stay inside keep
// their own, in both families.
func TestMasqueradeHidesSources(t *testing.T) {
	requireRoot(t)
	inside, machine, outside := testNetns(t, "mt-nat-in"), testNetns(t, "mt-nat-m"), testNetns(t, "mt-nat-out")
	for _, ns := range []Netns{inside, machine, outside} {
		if err := errors.Join(ns.EnableIPv6(), ns.Sysctls(map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"})); err != nil {
			t.Fatal(err)
		}
	}
	hub := testNet(t, machine)
	for _, side := range []struct {
		ns        Netns
		port      string
		addresses []string // of the machine and of the other, in turn
		elsewhere []string // is behind the machine
	}{
		{inside, "in0", []string{"10.244.0.1/16", "10.244.0.2/16", "fd00:10:244::1/64", "fd00:10:244::2/64"}, []string{"192.0.2.0/24", "10.96.0.0/16", "2001:db8::/64", "fd00:10:96::/112"}},
		{outside, "out0", []string{"192.0.2.1/24", "192.0.2.2/24", "2001:db8::1/64", "2001:db8::2/64", "10.96.0.1/16", "10.96.0.2/16", "fd00:10:96::1/112", "fd00:10:96::2/112"}, []string{"10.244.0.0/16", "fd00:10:244::/64"}},
	} {
		if err := hub.AddVeth(side.port, "", nil, VethEnd{Netns: side.ns, Name: "eth0"}, 1400); err != nil {
			t.Fatal(err)
		}
		n := testNet(t, side.ns)
		if err := n.SetUp("eth0", ""); err != nil {
			t.Fatal(err)
		}
		gateways := map[bool]netip.Addr{}
		for i, text := range side.addresses {
			p := netip.MustParsePrefix(text)
			on, link := hub, side.port
			if i%2 == 1 {
				on, link = n, "eth0"
			} else if !gateways[p.Addr().Is6()].IsValid() {
				gateways[p.Addr().Is6()] = p.Addr()
			}
			if err := on.AddAddress(link, p); err != nil {
				t.Fatal(err)
			}
		}
		for _, text := range side.elsewhere {
			p := netip.MustParsePrefix(text)
			if err := n.ReplaceRoute(Route{Dst: p, Via: gateways[p.Addr().Is6()], Link: "eth0"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	m := Masquerade{Table: "mt-host"}
	for _, text := range []string{"10.244.0.0/16", "fd00:10:244::/64"} {
		m.Sources = append(m.Sources, netip.MustParsePrefix(text))
	}
	for _, text := range []string{"10.96.0.0/16", "fd00:10:96::/112"} {
		m.Internal = append(m.Internal, netip.MustParsePrefix(text))
	}
	if err := machine.Do(m.Ensure); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ to, want string }{
		{"192.0.2.2", "192.0.2.1"},
		{"2001:db8::2", "2001:db8::1"},
		{"10.96.0.2", "10.244.0.2"},
		{"fd00:10:96::2", "fd00:10:244::2"},
	} {
		if got := clientSeenAt(t, outside, inside, net.JoinHostPort(test.to, "80")); got != test.want {
			t.Errorf("%s sees %s, want %s", test.to, got, test.want)
		}
	}
	for range 2 {
		if err := machine.Do(m.Delete); err != nil {
			t.Fatal(err)
		}
	}
	if got := clientSeenAt(t, outside, inside, "[2001:db8::2]:80"); got != "fd00:10:244::2" {
		t.Errorf("without the tables %s is seen", got)
	}
}

// Hosts on the LAN that send to each other have their own addresses, of whichever
// range, and so has the machine; what the machine routes back to the LAN has its
// address.
func TestMasqueradeOnTheLAN(t *testing.T) {
	requireRoot(t)
	machine, node, host := testNetns(t, "mt-nat-lm"), testNetns(t, "mt-nat-ln"), testNetns(t, "mt-nat-lh")
	if err := machine.Sysctls(map[string]string{"net/ipv4/ip_forward": "1", "net/ipv4/conf/all/send_redirects": "0"}); err != nil {
		t.Fatal(err)
	}
	hub := testNet(t, machine)
	prefix := netip.MustParsePrefix
	if err := hub.EnsureBridge("lan", 1400, prefix("10.244.0.1/16"), prefix("192.0.2.1/24")); err != nil {
		t.Fatal(err)
	}
	for _, side := range []struct {
		ns                      Netns
		port, address, neighbor string
	}{{node, "n1", "10.244.0.2/16", "192.0.2.0/24"}, {host, "h1", "192.0.2.2/24", "10.244.0.0/16"}} {
		n := testNet(t, side.ns)
		if err := errors.Join(hub.AddVeth(side.port, "lan", nil, VethEnd{Netns: side.ns, Name: "eth0"}, 1400), hub.SetUp(side.port, "lan"), n.SetUp("eth0", "")); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(n.AddAddress("eth0", prefix(side.address)), n.ReplaceRoute(Route{Dst: prefix(side.neighbor), Link: "eth0"})); err != nil {
			t.Fatal(err)
		}
	}
	m := Masquerade{Table: "mt-host", Sources: []netip.Prefix{prefix("10.244.0.0/16")}, LAN: "lan"}
	if err := machine.Do(m.Ensure); err != nil {
		t.Fatal(err)
	}
	if got := clientSeenAt(t, host, node, "192.0.2.2:80"); got != "10.244.0.2" {
		t.Errorf("from another host on the LAN: %s is seen", got)
	}
	if err := hub.ReplaceRoute(Route{Dst: prefix("192.0.2.2/32"), Link: "lan", Src: netip.MustParseAddr("10.244.0.1")}); err != nil {
		t.Fatal(err)
	}
	if got := clientSeenAt(t, host, machine, "192.0.2.2:80"); got != "10.244.0.1" {
		t.Errorf("from the machine: %s is seen", got)
	}
	if err := testNet(t, node).ReplaceRoute(Route{Dst: prefix("192.0.2.2/32"), Via: netip.MustParseAddr("10.244.0.1"), Link: "eth0"}); err != nil {
		t.Fatal(err)
	}
	if got := clientSeenAt(t, host, node, "192.0.2.2:80"); got == "10.244.0.2" {
		t.Errorf("routed back to the LAN: %s is seen", got)
	}
}

// clientSeenAt connects and returns which address the server has seen.
func clientSeenAt(t *testing.T, server, client Netns, address string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	l, err := server.Listen(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			seen, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			io.WriteString(c, seen)
			c.Close()
		}
	}()
	c, err := client.DialContext(ctx, "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	got, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	return string(got)
}
