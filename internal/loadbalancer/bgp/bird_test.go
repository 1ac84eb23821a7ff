package bgp

import (
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
	s := newTestLocal(t, false)
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
