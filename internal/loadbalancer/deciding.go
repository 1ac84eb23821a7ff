package loadbalancer

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
)

// reasonTaken is why nobody announces an address that a node or a gateway has.
const reasonTaken elect.Reason = "addressOfNode"

// decide decides who announces the addresses of a Service.
func (d *decider) decide(s *served, now time.Time) {
	s.outcomes = s.outcomes[:0]
	winners := make(map[netip.Addr]string, len(s.elect.Addresses))
	for _, addr := range s.elect.Addresses {
		v := d.outcome(s, addr, now)
		winners[addr] = v.winner
		s.outcomes = append(s.outcomes, v)
	}
	s.winners = winners
}

func (d *decider) outcome(s *served, addr netip.Addr, now time.Time) outcome {
	h := d.addrs[addr]
	if whose := d.scene.taken[addr]; whose != "" {
		return outcome{addr: addr, pool: d.pool(h).Name, reason: reasonTaken, message: fmt.Sprintf(
			"Nobody announces the address, because it is that of %s; take it out of the pool that it is from, and have the Service get another.", whose)}
	}
	a := d.election(s, h)
	v := outcome{addr: addr, winner: a.Node, pool: h.pool.Name, reason: a.Reason, message: a.Message}
	if a.Node != d.node {
		return v
	}
	if h.yield.until.After(now) {
		v.winner = h.yield.to
		v.message = fmt.Sprintf("%s announces the address: it is heard to do so, and comes before %s.", v.winner, d.node)
		return v
	}
	v.answer, v.links = true, a.Interfaces
	if len(a.Interfaces) > 0 && !slices.ContainsFunc(a.Interfaces, func(name string) bool { return slices.Contains(d.interfaces, name) }) {
		v.answer, v.missing = false, a.Interfaces
	}
	return v
}

// election elects who announces an address.
func (d *decider) election(s *served, h *held) elect.Announcement {
	p := d.pool(h)
	svc := h.seenBy(s.elect)
	svc.Pool = p.Name
	return elect.Announce(svc, h.addr, d.scene.nodes, d.scene.cfg.L2, p.Default)
}

// pool is what an address is from.
func (d *decider) pool(h *held) config.Pool {
	if h.inScene != d.scene {
		h.pool, h.inScene = poolOf(d.scene.cfg.Pools, h.addr), d.scene
	}
	return h.pool
}

// wanted are the addresses as the uplinks are to have them.
func (d *decider) wanted(s *served) []announce.Address {
	out := make([]announce.Address, 0, len(s.outcomes))
	for i := range s.outcomes {
		v := &s.outcomes[i]
		if v.reason == reasonTaken {
			continue
		}
		out = append(out, announce.Address{Addr: v.addr, Answer: v.answer, Links: v.links, Probe: !d.addrs[v.addr].known})
	}
	return out
}

// won are the addresses with those that this node has to answer for from now on; nil if there is none of these.
func (d *decider) won(s *served) []announce.Address {
	for i := range s.outcomes {
		if v := &s.outcomes[i]; v.answer && !answers(s.applied, v.addr) {
			return d.wanted(s)
		}
	}
	return nil
}

// stillSpread is how flows were handed on until now, without addresses that the Service has lost.
func (d *decider) stillSpread(s *served) []announce.Spread {
	return slices.DeleteFunc(slices.Clone(s.applied.Spread), func(sp announce.Spread) bool { return !slices.Contains(s.elect.Addresses, sp.Addr) })
}

// protocols are those whose flows are handed on.
var protocols = map[corev1.Protocol]announce.Protocol{"": announce.TCP, corev1.ProtocolTCP: announce.TCP, corev1.ProtocolUDP: announce.UDP}

// spread says who serves the flows to each port of a Service.
func (d *decider) spread(s *served) []announce.Spread {
	if len(s.elect.Addresses) == 0 {
		return nil
	}
	table := d.scene.table(s.input, s.elect)
	if table == nil {
		return nil
	}
	out := make([]announce.Spread, 0, len(s.elect.Addresses)*len(s.service.Spec.Ports))
	for _, addr := range s.elect.Addresses {
		if d.scene.taken[addr] != "" {
			continue
		}
		for _, p := range s.service.Spec.Ports {
			protocol, ok := protocols[p.Protocol]
			if !ok || p.Port < 1 || p.Port > 65535 {
				continue // the data plane doesn't serve it either
			}
			out = append(out, announce.Spread{Addr: addr, Port: uint16(p.Port), Protocol: protocol, ByClient: s.elect.Affinity, Table: table})
		}
	}
	return out
}

// conflict answers a claim of an address by somebody else: between nodes of the cluster, the one that is behind in the
// election yields, and the other one announces anew.
func (d *decider) conflict(c announce.Conflict, now time.Time, look map[*served]struct{}) {
	h := d.addrs[c.Addr]
	if h == nil || d.scene.taken[c.Addr] != "" {
		return
	}
	if c.Peer == "" {
		d.tellConflict(h, c, now)
		return
	}
	for _, s := range h.holders {
		a := d.election(s, h)
		switch {
		case a.Node != d.node || h.yield.until.After(now):
			continue // it stops announcing anyway
		case elect.Yields(a, d.node, c.Peer):
			h.yield.claimed(c.Peer, now)
			d.yielding[c.Addr] = h
			h.addTo(look)
		default:
			d.uplinks.reannounce(c.Addr)
		}
		return
	}
}
