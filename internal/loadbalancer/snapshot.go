package loadbalancer

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/loadbalancer/elect"
)

// snapshot is what a node's routes are made from, at one moment. Nothing in it changes any more.
type snapshot struct {
	scene    *scene
	services []seen
}

// seen is a Service in a snapshot.
type seen struct {
	object *corev1.Service
	elect  elect.Service
	// number is another one for each state of the Service.
	number uint64
}

// snapshot copies what routes are made from; Services only where there are peers that could be told of them. It is not
// known before what existed at the start was decided.
func (d *decider) snapshot() (s snapshot, known bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	s.scene = d.scene
	if !d.settled || len(d.scene.cfg.Peers) == 0 {
		return s, d.settled
	}
	s.services = make([]seen, 0, len(d.services))
	for _, of := range d.services {
		if of.service != nil && len(of.elect.Addresses) > 0 {
			s.services = append(s.services, seen{object: of.service, elect: of.elect, number: of.number})
		}
	}
	return s, true
}

// node is the deciding node, nil if the cluster doesn't have it.
func (w *scene) node(name string) *elect.Node {
	for i := range w.nodes {
		if w.nodes[i].Name == name {
			return &w.nodes[i]
		}
	}
	return nil
}

// routes are what node tells its peers about a Service. An address that a node or a gateway has is nobody's to announce.
func (w *scene) routes(s elect.Service, node elect.Node) []elect.Route {
	var out []elect.Route
	for _, addr := range s.Addresses {
		if w.taken[addr] != "" {
			continue
		}
		out = append(out, w.routesTo(s, addr, node)...)
	}
	return out
}

func (w *scene) routesTo(s elect.Service, addr netip.Addr, node elect.Node) []elect.Route {
	s.Pool = poolOf(w.cfg.Pools, addr).Name
	routes, _ := elect.Routes(s, addr, node, w.nodes, w.cfg.BGP, w.cfg.Peers)
	return routes
}
