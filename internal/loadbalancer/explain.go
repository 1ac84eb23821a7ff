package loadbalancer

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
	"minato/internal/loadbalancer/show"
)

// errNotReady is what a node says that has not decided anything yet.
var errNotReady = errors.New("it does not know the cluster's Services yet; try again in a moment")

// Explain describes Services of type LoadBalancer with the reasons of every decision: those of the Controller, which state
// has, and this node's own about who announces and who gets flows. sessions are the nodes' with BGP peers, as far as they
// are known.
func (n *Node) Explain(state State, sessions ...show.Session) ([]show.Service, error) {
	d := n.decider
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.settled {
		return nil, fmt.Errorf("node %s: %w", n.cfg.Name, errNotReady)
	}
	out := []show.Service{}
	for _, s := range state.Services {
		key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
		service := elect.Service{Key: key}
		known := d.services[key]
		if known != nil && known.service != nil {
			service = known.elect
		}
		decisions := show.Decide(service, d.sharers(key, s.Decision.Addresses), s.Decision, d.scene.nodes, d.scene.cfg, defaultPool(d.scene.cfg.Pools))
		if known != nil {
			known.overrule(decisions.Announcements)
		}
		decisions.Node, decisions.Sessions = n.cfg.Name, sessions
		out = append(out, show.Describe(decisions))
	}
	return out, nil
}

// Sessions are the node's with BGP peers.
func (n *Node) Sessions() []show.Session {
	if n.cfg.Speaker == nil {
		return nil
	}
	var out []show.Session
	for _, s := range n.cfg.Speaker.Sessions() {
		out = append(out, show.Session{Node: n.cfg.Name, Peer: s.Peer, State: s.State, Error: s.Error})
	}
	return out
}

// sharers are the other Services that have one of the addresses.
func (d *decider) sharers(key types.NamespacedName, addresses []netip.Addr) []elect.Service {
	var out []elect.Service
	for _, addr := range addresses {
		h := d.addrs[addr]
		if h == nil {
			continue
		}
		for _, sharer := range h.sharers(key) {
			if !slices.ContainsFunc(out, func(o elect.Service) bool { return o.Key == sharer.Key }) {
				out = append(out, sharer)
			}
		}
	}
	return out
}

// overrule puts in what the node decided beyond an election: that it leaves an address to another node, or that the
// address is none for a Service.
func (s *served) overrule(announcements []show.Announced) {
	for i := range announcements {
		a := &announcements[i]
		for j := range s.outcomes {
			if v := &s.outcomes[j]; v.addr == a.Address && v.winner != a.Node && v.message != "" {
				a.Node, a.Reason, a.Message, a.Interfaces = v.winner, v.reason, v.message, nil
			}
		}
	}
}

// defaultPool is the name of the cluster's own pool, empty if there is none.
func defaultPool(pools []config.Pool) string {
	for _, p := range pools {
		if p.Default {
			return p.Name
		}
	}
	return ""
}

// listNodes are the nodes that an informer knows.
func (n *Node) listNodes() []*corev1.Node {
	var out []*corev1.Node
	for _, o := range n.cfg.Nodes.Informer().GetStore().List() {
		if node, ok := o.(*corev1.Node); ok {
			out = append(out, node)
		}
	}
	return out
}
