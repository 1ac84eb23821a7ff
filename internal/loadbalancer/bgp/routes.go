package bgp

import (
	"net/netip"
	"slices"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
)

// routes makes the routes that a peer is told, in order. Of several decisions for one prefix, which are of different
// addresses, the route has all communities and the highest local preference.
func (p *planner) routes(c *config.Peer, peer *Peer) []Route {
	made := map[netip.Prefix]*Route{}
	homeless := map[bool]bool{} // families that have no next hop, by Is4
	for i := range p.in.Routes {
		told := &p.in.Routes[i]
		if told.Peer != peer.Name || !told.Prefix.IsValid() || !peer.carries(told.Prefix) {
			continue
		}
		next, ok := p.nextHop(peer, told.Prefix)
		if !ok {
			homeless[told.Prefix.Addr().Is4()] = true
			continue
		}
		route := made[told.Prefix]
		if route == nil {
			route = &Route{Prefix: told.Prefix, NextHop: next}
			made[told.Prefix] = route
		}
		route.LocalPref = max(route.LocalPref, told.LocalPref)
		route.Communities = append(route.Communities, told.Communities...)
	}
	p.explainHomeless(c, homeless)
	return p.finish(c, peer, made)
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

// explainHomeless says why addresses of a family are not announced to a peer whose session carries them.
func (p *planner) explainHomeless(c *config.Peer, homeless map[bool]bool) {
	for _, v4 := range []bool{true, false} {
		family := "IPv6"
		if v4 {
			family = "IPv4"
		}
		if homeless[v4] {
			p.problem(c.Object, false, "spec.dualStackAddressFamily",
				"node %s has no %s address to be the next hop, so it does not announce %s addresses in this session; give it one, or leave the field out", p.in.Node, family, family)
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
	for i := range p.in.Advertisements {
		ad := &p.in.Advertisements[i]
		if ad.LocalPref == 0 || !slices.ContainsFunc(p.in.Routes, func(r elect.Route) bool { return slices.Contains(r.Advertisements, ad.Name) }) {
			continue
		}
		told, taken := false, false
		for j := range peers {
			if len(ad.Peers) == 0 || slices.Contains(ad.Peers, peers[j].Name) {
				// A peer of any AS but the node's own is external as well.
				told, taken = true, taken || peers[j].Internal()
			}
		}
		if told && !taken {
			p.problem(ad.Object, false, "spec.localPref", "a local preference is only told to peers of the node's own AS, and there is none; leave it out, or use communities")
		}
	}
}
