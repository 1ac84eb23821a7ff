package bgp

import (
	"net/netip"
	"slices"
	"strings"

	"minato/internal/loadbalancer/config"
)

// routes makes the routes that a peer is told, in order. Addresses of one prefix become one route, which has the
// communities of all the advertisements that it is for.
func (p *planner) routes(c *config.Peer, peer *Peer) []Route {
	made := map[netip.Prefix]*Route{}
	from := map[netip.Prefix]*config.BGPAdvertisement{} // whose local preference the route has
	skipped := map[bool]bool{}                          // families that the session does not carry, by Is4
	for _, a := range p.announced(c) {
		prefix := aggregate(a)
		if !peer.carries(prefix) {
			skipped[prefix.Addr().Is4()] = true
			continue
		}
		route, known := made[prefix]
		if !known {
			next, ok := p.nextHop(peer, prefix)
			if !ok {
				skipped[prefix.Addr().Is4()] = true
				continue
			}
			route = &Route{Prefix: prefix, NextHop: next, LocalPref: a.Advertisement.LocalPref}
			made[prefix], from[prefix] = route, a.Advertisement
		}
		if a.Advertisement.LocalPref != route.LocalPref && peer.Internal() {
			p.conflict(peer, route, from, a.Advertisement)
		}
		route.Communities = append(route.Communities, a.Advertisement.Communities...)
	}
	p.explainSkipped(c, peer, skipped)
	return p.finish(c, peer, made)
}

// announced are the announcements for a peer, in an order that does not depend on the input's.
func (p *planner) announced(c *config.Peer) []Announcement {
	var list []Announcement
	for _, a := range p.in.Announcements {
		if ad := a.Advertisement; ad != nil && a.Address.IsValid() && tells(ad, c.Name) && selects(ad.NodeSelectors, p.in.Labels) {
			a.Address = a.Address.Unmap()
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b Announcement) int {
		if n := a.Address.Compare(b.Address); n != 0 {
			return n
		}
		return strings.Compare(a.Advertisement.Name, b.Advertisement.Name)
	})
	return list
}

func tells(ad *config.BGPAdvertisement, peer string) bool {
	return len(ad.Peers) == 0 || slices.Contains(ad.Peers, peer)
}

// aggregate is the prefix that an address is announced by.
func aggregate(a Announcement) netip.Prefix {
	length := a.Advertisement.AggregationLengthV6
	if a.Address.Is4() {
		length = a.Advertisement.AggregationLength
	}
	prefix, err := a.Address.Prefix(length)
	if err != nil { // out of range: the address alone
		return netip.PrefixFrom(a.Address, a.Address.BitLen())
	}
	return prefix
}

// nextHop is where the peer shall send packets. Routes of the session's own family have the node's address in the
// session, which is right on a node with several networks.
func (p *planner) nextHop(peer *Peer, prefix netip.Prefix) (netip.Addr, bool) {
	if peer.Interface != "" || prefix.Addr().Is4() == peer.Address.Is4() {
		return netip.Addr{}, true
	}
	for _, a := range p.in.Addresses {
		if a.Is4() == prefix.Addr().Is4() {
			return a, true
		}
	}
	return netip.Addr{}, false
}

// conflict has the higher local preference win, which is what peers would do.
func (p *planner) conflict(peer *Peer, route *Route, from map[netip.Prefix]*config.BGPAdvertisement, other *config.BGPAdvertisement) {
	loser, winner := other, from[route.Prefix]
	if other.LocalPref > route.LocalPref {
		loser, winner = winner, other
		route.LocalPref = other.LocalPref
		from[route.Prefix] = other
	}
	p.once(config.Problem{Object: loser.Object, Field: "spec.localPref", Message: "advertisement " + winner.Name + " announces " + route.Prefix.String() + " to peer " + peer.Name + " with a higher preference, which is used; give both the same"})
}

// explainSkipped says why addresses of a family are not announced to a peer.
func (p *planner) explainSkipped(c *config.Peer, peer *Peer, skipped map[bool]bool) {
	for _, v4 := range []bool{true, false} {
		if !skipped[v4] {
			continue
		}
		family, other := "IPv6", "IPv4"
		if v4 {
			family, other = other, family
		}
		if peer.DualStack {
			p.problem(c.Object, false, "spec.dualStackAddressFamily", "node %s has no %s address to be the next hop, so %s addresses are not announced by it", p.in.Node, family, family)
		} else {
			p.problem(c.Object, false, "spec.dualStackAddressFamily", "%s addresses are not announced in this %s session; set dualStackAddressFamily, or add a peer with an %s address", family, other, family)
		}
	}
}

func (p *planner) finish(c *config.Peer, peer *Peer, made map[netip.Prefix]*Route) []Route {
	routes := make([]Route, 0, len(made))
	for _, r := range made {
		slices.SortFunc(r.Communities, compareCommunities)
		r.Communities = slices.Compact(r.Communities)
		if len(r.Communities) > maxCommunities {
			p.problem(c.Object, false, "spec", "route %v has %d communities, of which %d are told; leave some out", r.Prefix, len(r.Communities), maxCommunities)
			r.Communities = r.Communities[:maxCommunities]
		}
		if peer.PeerASN != 0 && !peer.Internal() {
			r.LocalPref = 0 // it is a matter of one AS
		}
		routes = append(routes, *r)
	}
	slices.SortFunc(routes, func(a, b Route) int { return comparePrefixes(a.Prefix, b.Prefix) })
	if len(routes) > maxRoutes {
		p.problem(c.Object, false, "spec", "the peer would be told %d routes, of which it is told %d; announce prefixes, by aggregationLength", len(routes), maxRoutes)
		routes = routes[:maxRoutes]
	}
	return routes
}

func compareCommunities(a, b config.Community) int {
	if a.Large != b.Large {
		if b.Large {
			return -1
		}
		return 1
	}
	return slices.Compare(a.Parts[:], b.Parts[:])
}

// localPrefs tells of preferences that no peer of the node takes.
func (p *planner) localPrefs(peers []Peer) {
	for _, a := range p.in.Announcements {
		ad := a.Advertisement
		if ad == nil || ad.LocalPref == 0 || !selects(ad.NodeSelectors, p.in.Labels) {
			continue
		}
		told, taken := false, false
		for i := range peers {
			if tells(ad, peers[i].Name) {
				told, taken = true, taken || peers[i].Internal()
			}
		}
		if told && !taken {
			p.once(config.Problem{Object: ad.Object, Field: "spec.localPref", Message: "a local preference is only told to peers of the node's own AS, and there is none; leave it out, or use communities"})
		}
	}
}

// once adds a problem unless it is there.
func (p *planner) once(n config.Problem) {
	if !slices.Contains(p.problems, n) {
		p.problems = append(p.problems, n)
	}
}
