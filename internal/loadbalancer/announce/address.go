package announce

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/cilium/ebpf"
	"golang.org/x/sys/unix"
)

// phase is how far an address has come at this node.
type phase uint8

const (
	// owned: another node announces it, or none.
	owned phase = iota
	// probing: the network is asked whether somebody has it.
	probing
	// held: somebody has it.
	held
	// tried: it is answered, since nobody has answered yet, and the network is still asked.
	tried
	// answered: it is announced.
	answered
)

// String is for people.
func (p phase) String() string {
	return [...]string{"not announced", "asked for", "held, because somebody else has it", "answered, and still asked for", "announced"}[p]
}

// answers tells whether requests for the address are answered.
func (p phase) answers() bool { return p == tried || p == answered }

// addressState is an address of a Service.
type addressState struct {
	claims map[string]claim // by Service
	phase  phase
	links  uint32 // where it is announced
	joined uint32 // where its multicast group is joined
	sent   uint64 // gratuitous packets, one for each time and uplink
}

// setClaim sets what a Service wants of an address; nil is nothing.
func (a *Announcer) setClaim(key string, addr netip.Addr, c *claim) {
	s := a.addrs[addr]
	switch {
	case c != nil && s == nil:
		a.addrs[addr] = &addressState{claims: map[string]claim{key: *c}}
	case c != nil:
		s.claims[key] = *c
	case s != nil:
		delete(s.claims, key)
	}
}

// settle brings an address to where its Services want it.
func (a *Announcer) settle(addr netip.Addr) error {
	s := a.addrs[addr]
	if s == nil || len(s.claims) == 0 {
		return a.forget(addr)
	}
	var want claim
	for _, c := range s.claims {
		want.answer, want.probe, want.spread = want.answer || c.answer, want.probe || c.probe, want.spread || c.spread
		want.links |= c.links
	}
	now := time.Now()
	before := a.addresses.have[addressOf(addr)]
	came := want.links &^ s.links
	s.links = want.links
	switch {
	case !want.answer:
		s.phase = owned
		a.schedule.remove(addr)
	case s.phase == owned && before.Flags&addressAnswer != 0:
		// An earlier process announced it.
		s.phase = answered
		a.schedule.refresh(addr, now)
		if want.links&^before.Links != 0 {
			a.schedule.announce(addr, now)
		}
	case s.phase == owned && want.probe:
		s.phase = probing
		a.schedule.probe(addr, now)
	case s.phase == owned, s.phase == answered && came != 0:
		s.phase = answered
		a.schedule.announce(addr, now)
	}
	a.joinGroups(addr)
	return a.writeAddress(addr, want.spread)
}

func (a *Announcer) writeAddress(addr netip.Addr, spread bool) error {
	s := a.addrs[addr]
	e := addressEntry{Flags: addressOwned | a.base(addr)}
	if s.phase.answers() {
		e.Flags, e.Links = e.Flags|addressAnswer, s.links
	}
	if spread {
		e.Flags |= addressSpread
	}
	return a.addresses.set(addressOf(addr), e)
}

// free is called when nobody answered the first questions for an address, and when nobody answered any.
func (a *Announcer) free(addr netip.Addr, step step) error {
	s := a.addrs[addr]
	switch {
	case s == nil || s.phase == owned || s.phase == answered:
		return nil
	case step == tryStep && s.phase == held:
		return nil // somebody had it before, and may be slow to answer
	case step == tryStep:
		return a.enter(addr, tried)
	}
	return a.enter(addr, answered)
}

// enter brings an address to another phase.
func (a *Announcer) enter(addr netip.Addr, phase phase) error {
	s := a.addrs[addr]
	before := s.phase
	if s.phase = phase; before.answers() == phase.answers() {
		return nil
	}
	return a.writeAddress(addr, a.addresses.have[addressOf(addr)].Flags&addressSpread != 0)
}

// forget removes an address that no Service has any more.
func (a *Announcer) forget(addr netip.Addr) error {
	a.schedule.remove(addr)
	before := a.addresses.have[addressOf(addr)]
	if s := a.addrs[addr]; s != nil {
		s.phase = owned
		a.joinGroups(addr)
		delete(a.addrs, addr)
	} else if addr.Is6() && before.Flags&addressAnswer != 0 {
		// An earlier process let its group through.
		for _, u := range a.uplinks {
			a.groups.drop(u, addr)
		}
	}
	var err error
	if base := a.base(addr); base != 0 {
		err = a.addresses.set(addressOf(addr), addressEntry{Flags: base})
	} else {
		err = a.addresses.remove(addressOf(addr))
	}
	if e := a.collection.Maps["counters"].Delete(addressOf(addr)); e != nil && !errors.Is(e, ebpf.ErrKeyNotExist) {
		err = errors.Join(err, fmt.Errorf("delete counters of %s: %w", addr, e))
	}
	return err
}

// joinGroups joins the multicast groups by which solicitations for an address come, and leaves them.
func (a *Announcer) joinGroups(addr netip.Addr) {
	s := a.addrs[addr]
	if !addr.Is6() || s == nil {
		return
	}
	for _, u := range a.uplinks {
		bit := uint32(1) << u.number
		want := s.phase != owned && s.links&bit != 0 && u.index != 0
		switch is := s.joined&bit != 0; {
		case want && !is:
			s.joined |= bit
			// Solicitations still come where nothing filters multicast packets, as between virtual interfaces.
			if err := a.groups.join(u, addr); err != nil && !errors.Is(err, unix.ENODEV) {
				a.log.Warn("A multicast group can't be joined; neighbours may not find the address", "address", addr, "interface", u.name, "error", err)
			}
		case !want && is:
			s.joined &^= bit
			a.groups.leave(u, addr)
		}
	}
}

// announceAll begins the announcements of all addresses anew.
func (a *Announcer) announceAll() {
	now := time.Now()
	for addr, s := range a.addrs {
		if s.phase == answered {
			a.schedule.announce(addr, now)
		}
	}
	a.wakeUp()
}
