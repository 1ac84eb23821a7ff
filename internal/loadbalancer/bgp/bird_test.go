package bgp

import (
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"minato/internal/loadbalancer/config"
)

func (l *lab) peer4Of(name string, routes ...Route) Peer {
	return Peer{Name: name, LocalASN: 64500, PeerASN: 64500, Address: l.peer4, Port: 179, Routes: routes}
}

func TestRoutesWithAttributes(t *testing.T) {
	l := newLab(t, "bird")
	b := l.bird(`
protocol bgp node { local as 64500; neighbor {node4} as 64500; ipv4 { import all; export all; }; ipv6 { import all; export all; }; }
`)
	s := newTestLocal(t)
	runSpeaker(t, s)
	p := l.peer4Of("bird")
	p.DualStack = true
	p.Routes = []Route{
		{Prefix: route("192.0.2.1/32").Prefix, LocalPref: 250, Communities: []config.Community{
			{Parts: [3]uint32{64500, 7}}, {Large: true, Parts: [3]uint32{4200000000, 1, 2}},
		}},
		route("198.51.100.0/24"),
		{Prefix: route("2001:db8::/64").Prefix, NextHop: l.node6},
	}
	apply(t, s, p)
	session(t, s, "bird", 15*time.Second, "up", isUp)
	b.hasRoute("192.0.2.1/32", "BGP.local_pref: 250", "BGP.community: (64500,7)", "BGP.large_community: (4200000000, 1, 2)", "BGP.next_hop: "+l.node4.String())
	b.hasRoute("198.51.100.0/24", "BGP.local_pref: 100")
	b.hasRoute("2001:db8::/64", "BGP.next_hop: "+l.node6.String())
}

// Two peers are told different things of one prefix, and a change to one of them leaves the other's session alone.
func TestPeersAreApart(t *testing.T) {
	t.Parallel()
	one, two := newLab(t, "bird"), newLab(t, "bird")
	const conf = "protocol bgp node { local as 65010; neighbor {node4} as 64500; ipv4 { import all; export all; }; }\n"
	b1, b2 := one.bird(conf), two.bird(conf)
	s := one.process()
	peer := func(l *lab, name string, low uint32) Peer {
		p := l.peer4Of(name)
		p.PeerASN = 65010
		p.Routes = []Route{{Prefix: route("192.0.2.0/24").Prefix, LocalPref: 300, Communities: []config.Community{{Parts: [3]uint32{64500, low}}}}}
		return p
	}
	p1, p2 := peer(one, "one", 1), peer(two, "two", 2)
	p1.Routes = append(p1.Routes, route("198.51.100.1/32"))
	apply(t, s, p1, p2)
	session(t, s, "one", 15*time.Second, "up", isUp)
	since := session(t, s, "two", 15*time.Second, "up", isUp).Since
	b1.hasRoute("192.0.2.0/24", "BGP.community: (64500,1)", "BGP.as_path: 64500", "BGP.next_hop: "+one.node4.String())
	b2.hasRoute("192.0.2.0/24", "BGP.community: (64500,2)", "BGP.as_path: 64500", "BGP.next_hop: "+two.node4.String())
	b1.hasRoute("198.51.100.1/32")
	b2.lacksRoute("198.51.100.1/32")
	// The local preference is the own AS's matter: BIRD puts in its default.
	b1.hasRoute("192.0.2.0/24", "BGP.local_pref: 100")

	// Other routes: the same session.
	p2.Routes = []Route{route("203.0.113.0/24"), {Prefix: route("192.0.2.0/24").Prefix, Communities: []config.Community{{Parts: [3]uint32{64500, 3}}}}}
	updates := session(t, s, "one", time.Second, "up", isUp).Updates
	apply(t, s, p1, p2)
	b2.hasRoute("203.0.113.0/24")
	b2.hasRoute("192.0.2.0/24", "BGP.community: (64500,3)")
	if got := session(t, s, "two", time.Second, "up", isUp).Since; !got.Equal(since) {
		t.Errorf("a change of routes has reset the session")
	}
	if got := session(t, s, "one", time.Second, "up", isUp).Updates; got != updates {
		t.Errorf("the other peer was sent %d messages", got-updates)
	}

	// Another hold time: a new session, and the other peer's stays.
	p1.HoldTime = 30 * time.Second
	first := session(t, s, "one", time.Second, "up", isUp).Since
	apply(t, s, p1, p2)
	session(t, s, "one", 15*time.Second, "up again", func(x Session) bool { return isUp(x) && x.Since.After(first) })
	b1.hasRoute("198.51.100.1/32")
	if got := session(t, s, "two", time.Second, "up", isUp).Since; !got.Equal(since) {
		t.Errorf("a change of one peer has reset the other's session")
	}

	// A route and a peer less.
	p1.Routes = p1.Routes[:1]
	apply(t, s, p1)
	b1.lacksRoute("198.51.100.1/32")
	b2.lacksRoute("203.0.113.0/24")
	b1.hasRoute("192.0.2.0/24")
	if got := s.Sessions(); len(got) != 1 || len(got[0].Advertised) != 1 {
		t.Errorf("sessions are %+v, want one with one prefix", got)
	}
	apply(t, s)
	b1.lacksRoute("192.0.2.0/24")
	if got := s.Sessions(); len(got) != 0 {
		t.Errorf("sessions are %+v, want none", got)
	}
}

func TestPassword(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bird")
	b := l.bird(`protocol bgp node { local as 65010; neighbor {node4} as 64500; password "right"; ipv4 { import all; export none; }; }` + "\n")
	s := l.process()
	p := l.peer4Of("bird", route("192.0.2.1/32"))
	p.PeerASN, p.Password, p.ConnectTime = 65010, "wrong", 2*time.Second
	apply(t, s, p)
	session(t, s, "bird", 20*time.Second, "told that passwords may differ", func(x Session) bool {
		return !isUp(x) && strings.Contains(x.Error, "passwords")
	})
	p.Password = "right"
	apply(t, s, p)
	session(t, s, "bird", 15*time.Second, "up", isUp)
	b.hasRoute("192.0.2.1/32")
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, bird string
		peer       uint32
		want       string
	}{
		{"the router wants another AS", "local as 65010; neighbor {node4} as 64999;", 65010, "compare its AS numbers"},
		{"the router is of another AS", "local as 65011; neighbor {node4} as 64500;", 65010, "another AS number"},
		{"external is not internal", "local as 64500; neighbor {node4} as 64500;", 0, "dynamicASN is external"},
		{"nobody is there", "local as 65010; neighbor {node4} as 64500; disabled;", 65010, "connection refused"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t, "bird")
			b := l.bird("protocol bgp node { " + c.bird + " ipv4 { import all; export none; }; }\n")
			s := l.process()
			p := l.peer4Of("bird", route("192.0.2.1/32"))
			p.PeerASN = c.peer
			apply(t, s, p)
			session(t, s, "bird", 20*time.Second, c.want, func(x Session) bool { return !isUp(x) && strings.Contains(x.Error, c.want) })
			b.lacksRoute("192.0.2.1/32")
		})
	}
}

func TestAnyExternalAS(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bird")
	b := l.bird("protocol bgp node { local as 4200000010; neighbor {node6} as 4200000001; ipv4 { import all; export none; extended next hop; }; ipv6 { import all; export none; }; }\n")
	s := l.process()
	p := Peer{Name: "bird", LocalASN: 4200000001, Address: l.peer6, Source: l.node6, Port: 179, DualStack: true}
	p.Routes = []Route{{Prefix: route("192.0.2.1/32").Prefix, NextHop: l.node4}, route("2001:db8::1/128")}
	apply(t, s, p)
	x := session(t, s, "bird", 15*time.Second, "up", isUp)
	if x.PeerASN != 4200000010 || len(x.Advertised) != 2 {
		t.Errorf("session is %+v, want one with AS 4200000010 and two prefixes", x)
	}
	b.hasRoute("192.0.2.1/32", "BGP.next_hop: "+l.node4.String(), "BGP.as_path: 4200000001")
	b.hasRoute("2001:db8::1/128", "BGP.next_hop: "+l.node6.String())
}

func TestManyRoutes(t *testing.T) {
	t.Parallel()
	l := newLab(t, "bird")
	b := l.bird("protocol bgp node { local as 65010; neighbor {node4} as 64500; ipv4 { import all; export none; }; }\n")
	s := l.process()
	p := l.peer4Of("bird")
	p.PeerASN = 65010
	for i := range 2000 {
		p.Routes = append(p.Routes, Route{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{172, 16, byte(i >> 8), byte(i)}), 32)})
	}
	apply(t, s, p)
	session(t, s, "bird", 15*time.Second, "up", isUp)
	count := func(want string) time.Duration {
		return b.until(15*time.Second, want, func() error {
			if out, _ := b.try("show route count"); !strings.Contains(out, want) {
				return errors.New(out)
			}
			return nil
		})
	}
	count("2001 of 2001 routes") // and that of the link
	p.Routes = append(slices.Clone(p.Routes[1:]), route("203.0.113.1/32"))
	apply(t, s, p)
	took := b.until(5*time.Second, "one change among 2,000", func() error {
		if out, _ := b.try("show route 203.0.113.1/32"); !strings.Contains(out, "203.0.113.1") {
			return errors.New(out)
		}
		return nil
	})
	t.Logf("one change took %v", took)
	b.lacksRoute("172.16.0.0/32")
	p.Routes = nil
	apply(t, s, p)
	count("1 of 1 routes")
}
