package show

import (
	"net/netip"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
	"minato/internal/loadbalancer/pool"
)

// Decisions are all that is decided about one Service.
type Decisions struct {
	// Node is the node that decided, since each knows for itself which nodes are alive; empty if none was asked.
	Node    string
	Service elect.Service
	Pool    pool.Decision
	// Announcements and Told are about each address of the Service, in its order.
	Announcements []Announced
	Told          []Told
	Spreading     elect.Spreading
	// Sessions are those of nodes with BGP peers, as far as they are known.
	Sessions []Session
}

// Session is how a node's session with a BGP peer stands.
type Session struct {
	Node, Peer string
	// State is BGP's word for it, such as Established, and Error why it isn't that.
	State, Error string
}

// Announced is who announces an address in layer 2.
type Announced struct {
	Address netip.Addr
	elect.Announcement
}

// Told is what one node tells the BGP peers about an address.
type Told struct {
	Address netip.Addr
	Node    string
	// Unheard says that the node isn't heard, so that nobody knows whether it says what it should.
	Unheard  bool
	Routes   []elect.Route
	Withheld []elect.Withheld
}

// Decide asks package elect for all that it decides about a Service. allocation is the decision about its addresses, which
// are those that are asked about; others are the Services that share them, as they are known to package elect.
func Decide(svc elect.Service, others []elect.Service, allocation pool.Decision, nodes []elect.Node, c config.Config, defaultPool string) Decisions {
	svc.Addresses, svc.Pool = allocation.Addresses, allocation.Pool
	out := Decisions{Service: svc, Pool: allocation, Spreading: elect.Spread(svc, nodes)}
	for _, addr := range svc.Addresses {
		a := elect.Announce(svc.WithSharers(others...), addr, nodes, c.L2, defaultPool != "" && svc.Pool == defaultPool)
		out.Announcements = append(out.Announcements, Announced{addr, a})
		if len(c.Peers) == 0 {
			continue
		}
		for _, n := range nodes {
			routes, withheld := elect.Routes(svc, addr, n, nodes, c.BGP, c.Peers)
			out.Told = append(out.Told, Told{Address: addr, Node: n.Name, Unheard: !n.Alive, Routes: routes, Withheld: withheld})
		}
	}
	return out
}
