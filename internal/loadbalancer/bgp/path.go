package bgp

import (
	"context"
	"net"
	"net/netip"

	"github.com/osrg/gobgp/v4/api"

	"minato/internal/loadbalancer/bgp/bfd"
)

// probe begins to probe the path to a peer, if that is wanted. The session does without if it can't be.
func (r *router) probe(m *member) {
	b := m.peer.BFD
	if b == nil {
		return
	}
	err := r.prober.Add(bfd.Peer{
		Address: m.address, Source: m.peer.Source, Interface: m.peer.Interface, MultiHop: m.peer.behindRouters(m.address),
		Passive: b.Passive, MinimumTTL: b.MinimumTTL,
		Timing: bfd.Timing{Receive: b.Receive, Transmit: b.Transmit, Multiplier: b.Multiplier},
	})
	if err != nil {
		r.board.unprobed(m.peer.Name, err)
		r.log.Warn("The path to a BGP peer is not probed", "peer", m.peer.Name, "error", err)
	}
}

// behindRouters tells whether there are other routers on the way to a peer, for which BFD has another port. A peer of the
// node's own AS may be anywhere, one of another is on the link unless it is said to be not.
func (p *Peer) behindRouters(address netip.Addr) bool {
	if !p.Internal() {
		return p.MultiHop
	}
	if address.IsLinkLocalUnicast() {
		return false
	}
	addresses, err := net.InterfaceAddrs()
	for _, a := range addresses {
		if prefix, err := netip.ParsePrefix(a.String()); err == nil && prefix.Contains(address) {
			return false
		}
	}
	return err == nil
}

// pathChanged is called by the prober. A router that can't be reached gets no routes: it has none to send packets by.
func (r *router) pathChanged(e bfd.Event) {
	if e.Failure == "" || r.stopping.Load() {
		return
	}
	r.board.complain(e.Address, e.Failure)
	reset := &api.ResetPeerRequest{Address: e.Address.String(), Communication: "BFD: the path is down"}
	if err := r.server.ResetPeer(context.Background(), reset); err != nil {
		r.log.Warn("A BGP session could not be ended although its path is down", "address", e.Address, "error", err)
	}
}
