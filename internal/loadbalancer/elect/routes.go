package elect

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/loadbalancer/config"
)

// Routes is what node tells each peer about an address of the Service: the routes, at most one for a peer and prefix,
// by peer and prefix; and for each peer that gets none, why. all are all nodes of the cluster, node among them.
//
// Whether the node is alive doesn't matter. It decides for itself, and peers know from the session.
func Routes(svc Service, addr netip.Addr, node Node, all []Node, ads []config.BGPAdvertisement, peers []config.Peer) ([]Route, []Withheld) {
	r := router{svc: &svc, addr: addr, node: &node, everyLabelled: allLabelled(all)}
	reason, message := r.advertisements(ads)
	if reason == "" {
		reason, message = r.eligible()
	}
	var routes []Route
	var withheld []Withheld
	for i := range peers {
		p := &peers[i]
		why := Withheld{Peer: p.Name, Reason: reason, Message: message}
		if reason == "" {
			var told []Route
			told, why = r.tell(p)
			routes = append(routes, told...)
		}
		if why.Reason != "" {
			withheld = append(withheld, why)
		}
	}
	slices.SortFunc(routes, func(a, b Route) int {
		return cmp.Or(strings.Compare(a.Peer, b.Peer), a.Prefix.Addr().Compare(b.Prefix.Addr()), cmp.Compare(a.Prefix.Bits(), b.Prefix.Bits()))
	})
	slices.SortFunc(withheld, func(a, b Withheld) int { return strings.Compare(a.Peer, b.Peer) })
	return routes, withheld
}

// router is one run of Routes.
type router struct {
	svc           *Service
	addr          netip.Addr
	node          *Node
	everyLabelled bool
	ads           []*config.BGPAdvertisement
}

// advertisements takes those that are for the Service on the node, in the order of their names.
func (r *router) advertisements(ads []config.BGPAdvertisement) (Reason, string) {
	named, here := false, false
	for i := range ads {
		ad := &ads[i]
		if !slices.Contains(ad.Pools, r.svc.Pool) {
			continue
		}
		named = true
		if !selects(ad.NodeSelectors, r.node.Labels) {
			continue
		}
		here = true
		if len(ad.ServiceSelectors) == 0 || matchesAny(ad.ServiceSelectors, r.svc.Labels) {
			r.ads = append(r.ads, ad)
		}
	}
	slices.SortFunc(r.ads, func(a, b *config.BGPAdvertisement) int { return strings.Compare(a.Name, b.Name) })
	switch {
	case !r.addr.IsValid():
		return NoAddress, "the Service has no address yet"
	case !named:
		return NoMatchingAdvertisement, "no BGPAdvertisement is for pool " + r.svc.Pool
	case !here:
		return NotOwner, fmt.Sprintf("no BGPAdvertisement for pool %s selects %s", r.svc.Pool, r.node.Name)
	case len(r.ads) == 0:
		return NoMatchingAdvertisement, "the serviceSelectors of the BGPAdvertisements for pool " + r.svc.Pool + " don't match the Service's labels"
	}
	return r.conflict()
}

// conflict finds two advertisements that want one route with different local preferences. Nothing is announced then,
// not even what is undisputed, so that the mistake is seen.
func (r *router) conflict() (Reason, string) {
	for i, a := range r.ads {
		for _, b := range r.ads[i+1:] {
			if a.LocalPref != b.LocalPref && r.bits(a) == r.bits(b) && sharePeer(a, b) {
				return ConflictingAdvertisements, fmt.Sprintf("BGPAdvertisements %s and %s want localPref %d and %d for the same prefix; make them equal, or give them different peers or nodes", a.Name, b.Name, a.LocalPref, b.LocalPref)
			}
		}
	}
	return "", ""
}

func sharePeer(a, b *config.BGPAdvertisement) bool {
	return len(a.Peers) == 0 || len(b.Peers) == 0 || slices.ContainsFunc(a.Peers, func(p string) bool { return slices.Contains(b.Peers, p) })
}

// eligible asks about the node and the endpoints.
func (r *router) eligible() (Reason, string) {
	switch {
	case r.node.NetworkUnavailable:
		return NodeNetworkUnavailable, r.node.Name + " has the condition NetworkUnavailable"
	case r.node.labelled() && !r.everyLabelled:
		return NodeLabeledExcludeBalancers, r.node.Name + " has the label " + corev1.LabelNodeExcludeBalancers
	case r.svc.Local && !r.svc.on(r.node.Name):
		return NoLocalEndpoints, r.node.Name + " has no endpoint that is ready or serving, and the external traffic policy is Local"
	case !r.svc.anywhere():
		return NoEndpoints, "the Service has no endpoint that is ready or serving"
	}
	return "", ""
}

// tell makes the routes for one peer, or says why there are none.
func (r *router) tell(p *config.Peer) ([]Route, Withheld) {
	switch {
	case !selects(p.NodeSelectors, r.node.Labels):
		return nil, Withheld{p.Name, PeerNotOnNode, "the peer's nodeSelectors leave out " + r.node.Name}
	case !carries(p, r.addr):
		return nil, Withheld{p.Name, OtherIPFamily, fmt.Sprintf("the session with %s carries the addresses of its own IP family; set dualStackAddressFamily on the BGPPeer for both", p.Address)}
	}
	var out []Route
	for _, ad := range r.ads {
		if len(ad.Peers) > 0 && !slices.Contains(ad.Peers, p.Name) {
			continue
		}
		prefix, err := r.addr.Prefix(r.bits(ad))
		if err != nil {
			// The configuration is checked, so this can only be a length that is not of this IP family.
			prefix = netip.PrefixFrom(r.addr, r.addr.BitLen())
		}
		i := slices.IndexFunc(out, func(o Route) bool { return o.Prefix == prefix })
		if i < 0 {
			i, out = len(out), append(out, Route{Peer: p.Name, Prefix: prefix, Reason: Announced})
			if internal(p) {
				out[i].LocalPref = ad.LocalPref
			}
		}
		out[i].Advertisements = append(out[i].Advertisements, ad.Name)
		out[i].Communities = append(out[i].Communities, ad.Communities...)
	}
	if len(out) == 0 {
		return nil, Withheld{p.Name, PeerNotSelected, "the BGPAdvertisements for the Service name other peers"}
	}
	for i := range out {
		out[i].finish()
	}
	return out, Withheld{}
}

func (r *Route) finish() {
	slices.SortFunc(r.Communities, func(a, b config.Community) int {
		if a.Large != b.Large {
			if b.Large {
				return -1
			}
			return 1
		}
		return slices.Compare(a.Parts[:], b.Parts[:])
	})
	r.Communities = slices.Compact(r.Communities)
	noun := "BGPAdvertisement "
	if len(r.Advertisements) > 1 {
		noun = "BGPAdvertisements "
	}
	r.Message = "told because of " + noun + strings.Join(r.Advertisements, ", ")
}

func (r *router) bits(ad *config.BGPAdvertisement) int {
	if r.addr.Is6() {
		return ad.AggregationLengthV6
	}
	return ad.AggregationLength
}

// carries tells whether a session carries addresses of the IP family: both if it is told to or if it goes over a
// link-local address, else the one that it goes over.
func carries(p *config.Peer, addr netip.Addr) bool {
	return p.DualStack || !p.Address.IsValid() || p.Address.Unmap().Is6() == addr.Is6()
}

// internal tells whether the peer is in the same autonomous system, as the session sees it.
func internal(p *config.Peer) bool {
	if p.DynamicASN != "" {
		return p.DynamicASN == "internal"
	}
	return p.PeerASN == cmp.Or(p.LocalASN, p.MyASN)
}
