package loadbalancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/bgp"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

// toldRoutes is what was told of the routes of a Service.
type toldRoutes struct {
	service types.UID
	owner   types.UID // the node's
	peers   []string
	addrs   []netip.Addr
}

// tell tells of Services that this node announces to peers now, and reports to which. Those whose prefixes were advertised
// before the process started are no news.
func (p *peering) tell(s snapshot, state bgp.State, before map[netip.Prefix]bool) {
	here := map[types.NamespacedName]bool{}
	for i := range s.services {
		of := &s.services[i]
		key := of.elect.Key
		peers, old := p.peersOf(key, state, before)
		if len(peers) == 0 {
			continue
		}
		here[key] = true
		was := p.told[key]
		if (was == nil || was.service != of.object.UID) && !old {
			p.events.Event(SourceSpeaker, reference(of.object), corev1.EventTypeNormal, reasonAssigned, fmt.Sprintf("announcing from node %q with protocol %q", p.node, "bgp"))
		}
		if was == nil || was.service != of.object.UID || was.owner != s.scene.self || !slices.Equal(was.peers, peers) {
			p.report(s.scene, key, peers)
		}
		is := &toldRoutes{service: of.object.UID, owner: s.scene.self, peers: peers, addrs: of.elect.Addresses}
		p.mu.Lock()
		p.told[key] = is
		p.mu.Unlock()
	}
	for key := range p.told {
		if !here[key] {
			p.mu.Lock()
			delete(p.told, key)
			p.mu.Unlock()
			p.reports.want(metallb.KindServiceBGPStatus, p.node, key, nil)
		}
	}
}

// peersOf are the peers that are told of a Service, in order. A peer that Plan left out is told nothing.
func (p *peering) peersOf(key types.NamespacedName, state bgp.State, before map[netip.Prefix]bool) (peers []string, old bool) {
	made := p.made[key]
	if made == nil {
		return nil, false
	}
	for i := range made.routes {
		r := &made.routes[i]
		if !slices.Contains(peers, r.Peer) && slices.ContainsFunc(state.Peers, func(o bgp.Peer) bool { return o.Name == r.Peer }) {
			peers = append(peers, r.Peer)
			old = old || before[r.Prefix]
		}
	}
	slices.Sort(peers)
	return peers, old
}

func (p *peering) report(w *scene, key types.NamespacedName, peers []string) {
	names := make([]any, 0, len(peers))
	for _, name := range peers {
		names = append(names, name)
	}
	p.reports.want(metallb.KindServiceBGPStatus, p.node, key, &report{fields: map[string]any{"peers": names}, owner: w.self, alive: w.alive})
}

// complain tells of problems, once as long as they last. A node may not write the status of the configuration's objects, so
// an event about the object says it.
func (p *peering) complain(problems []config.Problem) {
	now := map[string]bool{}
	for _, problem := range problems {
		about, err := p.about(problem.Object)
		if err != nil {
			continue // it is gone
		}
		key := strings.Join([]string{string(about.UID), problem.String()}, " ")
		now[key] = true
		if p.problems[key] {
			continue
		}
		p.events.Event(SourceSpeaker, about, corev1.EventTypeWarning, metallb.ReasonConfigurationError, sentence(problem))
		p.log.Warn("A part of the BGP configuration can't be honoured", "node", p.node, "kind", problem.Object.Kind, "name", problem.Object.Name,
			"field", problem.Field, "problem", problem.Message)
	}
	p.problems = now
}

// announced are the addresses that peers are told of.
func (p *peering) announced() []announcement {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []announcement
	for key, of := range p.told {
		for _, addr := range of.addrs {
			out = append(out, announcement{key, addr})
		}
	}
	return out
}
