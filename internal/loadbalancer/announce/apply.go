package announce

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/cilium/ebpf"
)

// heldService is what a Service has in the tables.
type heldService struct {
	addrs   map[netip.Addr]claim
	spreads map[spreadKey]bool
	// ids are the numbers of its tables of buckets.
	ids map[*Table]uint32
}

// claim is what one Service wants of an address.
type claim struct {
	answer, probe, spread bool
	links                 uint32
}

// Apply replaces what a Service has at this node; the zero Service removes it. The key is the caller's. Services may share
// an address, but no port of it: the last one that asks for a port has it. After an error the Service is to be applied
// again.
//
// Only what changes is written, and programs see either the old nodes of a port or the new ones.
func (a *Announcer) Apply(key string, s Service) error {
	if err := s.validate(); err != nil {
		return fmt.Errorf("announce %s: %w", key, err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return fmt.Errorf("announce %s at node %s: %w", key, a.cfg.NodeName, errClosed)
	}
	if err := a.apply(key, s); err != nil {
		return fmt.Errorf("announce %s at node %s: %w", key, a.cfg.NodeName, err)
	}
	return nil
}

func (s *Service) validate() error {
	for _, ad := range s.Addresses {
		if !usable(ad.Addr) {
			return fmt.Errorf("%s is no address that a Service can have", ad.Addr)
		}
	}
	for _, sp := range s.Spread {
		switch {
		case !usable(sp.Addr):
			return fmt.Errorf("%s is no address that a Service can have", sp.Addr)
		case sp.Protocol != TCP && sp.Protocol != UDP:
			return fmt.Errorf("flows of %s can't be handed on; leave port %d of %s out", sp.Protocol, sp.Port, sp.Addr)
		case sp.Table == nil || len(sp.Table.Buckets) == 0 || len(sp.Table.Buckets) > MaxBuckets:
			return fmt.Errorf("the table of %s port %d has no buckets or more than %d", sp.Addr, sp.Port, MaxBuckets)
		}
		for _, b := range sp.Table.Buckets {
			for _, i := range []uint16{b.Owner, b.Second} {
				if i != None && int(i) >= len(sp.Table.Nodes) {
					return fmt.Errorf("a bucket of %s port %d names node %d of %d", sp.Addr, sp.Port, i, len(sp.Table.Nodes))
				}
			}
		}
	}
	return nil
}

func (a *Announcer) apply(key string, s Service) error {
	before := a.services[key]
	if before == nil {
		before = &heldService{}
	}
	now := &heldService{addrs: a.claims(&s), spreads: map[spreadKey]bool{}, ids: map[*Table]uint32{}}
	var errs []error
	var replaced []uint32
	for _, sp := range s.Spread {
		k := spreadKeyOf(sp.Addr, sp.Port, sp.Protocol)
		now.spreads[k] = true
		old, err := a.setSpread(key, k, sp, before, now)
		errs, replaced = append(errs, err), append(replaced, old...)
	}
	a.services[key] = now
	if len(now.addrs) == 0 {
		delete(a.services, key)
	}
	for addr := range before.addrs {
		if _, stays := now.addrs[addr]; !stays {
			a.setClaim(key, addr, nil)
			errs = append(errs, a.settle(addr))
		}
	}
	for addr, c := range now.addrs {
		a.setClaim(key, addr, &c)
		errs = append(errs, a.settle(addr))
	}
	for k := range before.spreads {
		if now.spreads[k] || a.owners[k] != key {
			continue
		}
		old, err := a.removeSpread(k)
		errs, replaced = append(errs, err), append(replaced, old...)
	}
	if len(replaced) > 0 {
		errs = append(errs, a.buckets.tidy(replaced...))
	}
	err := errors.Join(errs...)
	if err != nil {
		now.adopt(before)
		clear(now.ids)
		a.services[key] = now
	}
	a.wakeUp()
	return err
}

// adopt takes over what an earlier state may still have in the tables, after a failure.
func (s *heldService) adopt(before *heldService) {
	for k := range before.spreads {
		s.spreads[k] = true
	}
	for addr := range before.addrs {
		if _, ok := s.addrs[addr]; !ok {
			s.addrs[addr] = claim{}
		}
	}
}

// claims are what a Service wants of its addresses.
func (a *Announcer) claims(s *Service) map[netip.Addr]claim {
	out := map[netip.Addr]claim{}
	for _, ad := range s.Addresses {
		c := out[ad.Addr]
		c.answer, c.probe = c.answer || ad.Answer, c.probe || ad.Probe
		if ad.Answer {
			c.links |= a.linkBits(ad.Links)
		}
		out[ad.Addr] = c
	}
	for _, sp := range s.Spread {
		c := out[sp.Addr]
		c.spread = true
		out[sp.Addr] = c
	}
	return out
}

// linkBits are the bits of uplinks. Names that are none of them are left out: an advertisement may be for several nodes.
func (a *Announcer) linkBits(names []string) (bits uint32) {
	for name, u := range a.uplinks {
		if len(names) == 0 || slices.Contains(names, name) {
			bits |= 1 << u.number
		}
	}
	return bits
}

// setSpread writes the nodes of one port. It returns the table that the port had before, if it was another.
func (a *Announcer) setSpread(key string, k spreadKey, sp Spread, before, now *heldService) (replaced []uint32, err error) {
	id, ok := now.ids[sp.Table]
	if !ok {
		if id, ok = before.ids[sp.Table]; !ok || a.buckets.held[id] == nil {
			if id, err = a.putTable(sp.Table); err != nil {
				return nil, err
			}
		}
		now.ids[sp.Table] = id
	}
	e := spreadEntry{Table: id, Check: k.check()}
	if sp.ByClient {
		e.Flags = spreadByClient
	}
	old, had := a.spreads.have[k]
	if err := a.spreads.set(k, e); err != nil {
		return []uint32{id}, err
	}
	a.owners[k] = key
	a.buckets.use(id, 1)
	if had {
		a.buckets.use(old.Table, -1)
		return []uint32{old.Table}, nil
	}
	return nil, nil
}

func (a *Announcer) removeSpread(k spreadKey) (replaced []uint32, err error) {
	old, had := a.spreads.have[k]
	if !had {
		return nil, nil
	}
	if err := a.spreads.remove(k); err != nil {
		return nil, err
	}
	delete(a.owners, k)
	a.buckets.use(old.Table, -1)
	return []uint32{old.Table}, nil
}

// putTable writes a table of buckets, unless an equal one is there.
func (a *Announcer) putTable(t *Table) (uint32, error) {
	numbers := make([]uint32, len(t.Nodes))
	for i, name := range t.Nodes {
		n, err := a.hosts.number(name)
		if err != nil {
			return 0, err
		}
		numbers[i] = n
	}
	e := &tableEntry{Count: uint32(len(t.Buckets))}
	for i, b := range t.Buckets {
		owner, second := uint32(selfNumber), uint32(nobody)
		if b.Owner != None {
			owner = numbers[b.Owner]
		}
		if b.Second != None {
			second = numbers[b.Second]
		}
		e.set(i, owner, second)
	}
	return a.buckets.put(e)
}

// SetPeers sets the other nodes of the cluster, all of them. This node is left out where it is named.
func (a *Announcer) SetPeers(peers []Peer) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return fmt.Errorf("set peers of node %s: %w", a.cfg.NodeName, errClosed)
	}
	peers = slices.DeleteFunc(slices.Clone(peers), func(p Peer) bool { return p.Name == a.cfg.NodeName })
	errs := []error{a.hosts.setPeers(peers, a.buckets.inUse())}
	want := map[address]peerEntry{}
	probed := map[netip.Addr]string{}
	for _, p := range peers {
		n, known := a.hosts.numbers[p.Name]
		if !known {
			continue // no number was left
		}
		for _, addr := range p.Addresses {
			want[addressOf(addr)] = peerEntry{Host: n}
		}
		if at := a.probeAddress(p); at.IsValid() {
			probed[at] = p.Name
		}
	}
	errs = append(errs, a.peerAddrs.replace(want), a.writeUplinks())
	a.probed = probed
	a.liveness.setPeers(slices.Collect(maps.Values(probed)))
	a.wakeUp()
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("set peers of node %s: %w", a.cfg.NodeName, err)
	}
	return nil
}

// probeAddress is where a peer is probed: its first address of a family that this node has too.
func (a *Announcer) probeAddress(p Peer) netip.Addr {
	for _, addr := range p.Addresses {
		if a.cfg.address(addr.Is6()).IsValid() {
			return addr
		}
	}
	return netip.Addr{}
}

// Sweep deletes what an earlier process left and Apply did not take over. It is called once the peers are set and every
// Service was applied.
func (a *Announcer) Sweep() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection == nil {
		return fmt.Errorf("sweep tables of node %s: %w", a.cfg.NodeName, errClosed)
	}
	var errs []error
	for _, k := range slices.Collect(maps.Keys(a.addresses.have)) {
		if a.addrs[k.Addr()] == nil {
			errs = append(errs, a.settle(k.Addr()))
		}
	}
	for _, k := range slices.Collect(maps.Keys(a.spreads.have)) {
		if _, owned := a.owners[k]; !owned {
			_, err := a.removeSpread(k)
			errs = append(errs, err)
		}
	}
	errs = append(errs, a.buckets.tidy(), a.sweepCounters())
	if a.hosts.peers != nil { // those of an earlier process stay until the peers are known
		errs = append(errs, a.hosts.tidy(a.buckets.inUse()), a.writeUplinks())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep tables of node %s: %w", a.cfg.NodeName, err)
	}
	return nil
}

// sweepCounters deletes the counters of addresses that are gone.
func (a *Announcer) sweepCounters() error {
	var gone []address
	err := a.eachCounts(func(k address, _ countsEntry) {
		if a.addrs[k.Addr()] == nil {
			gone = append(gone, k)
		}
	})
	for _, k := range gone {
		if e := a.collection.Maps["counters"].Delete(k); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
			err = errors.Join(err, fmt.Errorf("delete counters: %w", e))
		}
	}
	return err
}

// Reannounce sends the gratuitous packets of addresses anew, as after somebody else claimed them.
func (a *Announcer) Reannounce(addrs ...netip.Addr) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, addr := range addrs {
		if s := a.addrs[addr]; s != nil && s.phase == answered {
			a.schedule.announce(addr, time.Now())
		}
	}
	a.wakeUp()
}
