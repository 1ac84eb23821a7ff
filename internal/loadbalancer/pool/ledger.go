package pool

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

// Ledger decides as Allocate does, about Services that come, change and go, and remembers who has what. As long as every
// Service has all that it may have, a change of one concerns no other, and costs the same however many there are. While some
// wait, or where one gives way to another, all are decided anew.
type Ledger struct {
	pools    []config.Pool
	services map[types.NamespacedName]Service
	// changed are the Services that are not decided about in their present state, or are gone.
	changed map[types.NamespacedName]struct{}

	book   *book // nil before the first decision
	claims map[types.NamespacedName]*claim
	// waiting are those who lack an address.
	waiting map[types.NamespacedName]struct{}
}

// NewLedger makes an empty one. The pools must not change any more.
func NewLedger(pools []config.Pool) *Ledger {
	return &Ledger{pools: pools, services: map[types.NamespacedName]Service{}, changed: map[types.NamespacedName]struct{}{}}
}

// Set notes a Service that is new or has changed. If there was a decision about it, its Current is to be what was decided.
func (l *Ledger) Set(s Service) {
	l.services[s.Key] = s
	l.changed[s.Key] = struct{}{}
}

// Remove notes that a Service is gone.
func (l *Ledger) Remove(key types.NamespacedName) {
	delete(l.services, key)
	l.changed[key] = struct{}{}
}

// Settle decides about what has changed since the last time, and returns the decisions that it made. Those about Services
// that are not among them stay as they are.
func (l *Ledger) Settle() map[types.NamespacedName]Decision {
	if l.book == nil || len(l.waiting) > 0 || !l.settleChanged() {
		l.settleAll()
	}
	out := make(map[types.NamespacedName]Decision, len(l.changed))
	for key := range l.changed {
		if c := l.claims[key]; c != nil {
			out[key] = c.decision()
		}
	}
	clear(l.changed)
	return out
}

// settleAll decides about all Services anew.
func (l *Ledger) settleAll() {
	services := make([]Service, 0, len(l.services))
	for key, s := range l.services {
		if _, changed := l.changed[key]; !changed {
			s.Current = l.claims[key].held
		}
		services = append(services, s)
	}
	var claims []*claim
	l.book, claims = allocate(l.pools, services)
	l.claims, l.waiting = make(map[types.NamespacedName]*claim, len(claims)), map[types.NamespacedName]struct{}{}
	for _, c := range claims {
		l.enter(c)
		l.changed[c.Key] = struct{}{}
	}
}

func (l *Ledger) enter(c *claim) {
	l.claims[c.Key] = c
	if len(c.held) == 0 || c.missing() != "" {
		l.waiting[c.Key] = struct{}{}
	}
}

// settleChanged decides about the Services that have changed, and about no others. It tells whether that is enough; if not,
// the claims still say who had what.
func (l *Ledger) settleChanged() bool {
	var claims []*claim
	for key := range l.changed {
		if s, here := l.services[key]; here {
			claims = append(claims, newClaim(&s))
		}
	}
	slices.SortFunc(claims, func(x, y *claim) int { return older(x.Service, y.Service) })
	had := map[types.NamespacedName][]netip.Addr{}
	for key := range l.changed {
		if c := l.claims[key]; c != nil {
			had[key] = c.held
			l.book.release(c)
		}
	}
	if !l.settleAmong(claims) {
		for key, held := range had {
			l.claims[key].held = held
		}
		return false
	}
	for key := range l.changed {
		delete(l.claims, key)
	}
	for _, c := range claims {
		l.enter(c)
	}
	return true
}

// settleAmong decides about Services that have nothing in the book. It gives up where one of them wants to keep what another
// Service has too: the older one of the two keeps it.
func (l *Ledger) settleAmong(claims []*claim) bool {
	for _, c := range claims {
		for _, a := range c.current {
			if l.book.used[a] != nil {
				return false
			}
		}
		l.book.hold(c)
		if c.move {
			return false
		}
	}
	l.book.seekAll(claims)
	return true
}

// Usage counts for every pool, by name, what the Services use of it.
func (l *Ledger) Usage() map[string]PoolUsage {
	if l.book == nil {
		return nil
	}
	out := make(map[string]PoolUsage, len(l.book.byName))
	for name, s := range l.book.byName {
		u := PoolUsage{
			Services: s.services, AssignedIPv4: s.v4.used, AssignedIPv6: s.v6.used, TotalIPv4: s.v4.size(), TotalIPv6: s.v6.size(),
		}
		u.AvailableIPv4, u.AvailableIPv6 = u.TotalIPv4-u.AssignedIPv4, u.TotalIPv6-u.AssignedIPv6
		out[name] = u
	}
	return out
}
