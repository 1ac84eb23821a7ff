package pool

import (
	"cmp"
	"math"
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"minato/internal/loadbalancer/config"
)

// space is a pool with the addresses that are its alone.
type space struct {
	pool   *config.Pool
	v4, v6 shelf
	notes  notes
	// services is how many have an address of it.
	services int64
}

// notes are the sentences about a pool that don't depend on the Service. They are made once, since each of thousands of
// Services may need them.
type notes struct {
	manual, reserved, namespace, labels string
	lacksV4, lacksV6, fullV4, fullV6    string
	admitted, requested                 string
}

// segment is a range of addresses and the space that owns it.
type segment struct {
	config.Range
	space *space
	at    int // index in the shelf's ranges
}

// spaces are all pools of a decision.
type spaces struct {
	byName map[string]*space
	// pinned have a serviceAllocation, in order of priority; general are the others, by name, the default pool last.
	pinned, general []*space
	segments        []segment // sorted by address, disjoint
	// only tells that the default pool is the only pool.
	only bool
}

func (s *space) shelf(f corev1.IPFamily) *shelf {
	if f == corev1.IPv6Protocol {
		return &s.v6
	}
	return &s.v4
}

// newSpaces gives every address to one pool: to the first one that has it, in order of names, the default pool last.
// The configuration refuses pools that overlap, but for the default pool, which gives way to the others.
func newSpaces(pools []config.Pool) *spaces {
	t := &spaces{byName: make(map[string]*space, len(pools)), only: true}
	all := make([]*space, 0, len(pools))
	for i := range pools {
		all = append(all, &space{pool: &pools[i]})
	}
	slices.SortStableFunc(all, func(a, b *space) int {
		return cmp.Or(order(a.pool.Default, b.pool.Default), cmp.Compare(a.pool.Name, b.pool.Name))
	})
	cut := overlapping(pools)
	var taken []config.Range
	for _, s := range all {
		taken = t.add(s, taken, cut)
	}
	slices.SortFunc(t.segments, func(a, b segment) int { return a.First.Compare(b.First) })
	slices.SortStableFunc(t.pinned, func(a, b *space) int {
		return cmp.Compare(priority(a.pool), priority(b.pool))
	})
	return t
}

// priority is a number that is low for a pool that comes first.
func priority(p *config.Pool) int {
	if p.Allocation.Priority == 0 {
		return math.MaxInt
	}
	return p.Allocation.Priority
}

// add gives a space what of its pool's ranges isn't taken, and returns what is taken then. Unless something has to be
// cut, there is no need to look.
func (t *spaces) add(s *space, taken []config.Range, cut bool) []config.Range {
	t.only = t.only && s.pool.Default
	t.byName[s.pool.Name] = s
	if s.pool.Allocation != nil {
		t.pinned = append(t.pinned, s)
	} else {
		t.general = append(t.general, s)
	}
	for _, r := range s.pool.Ranges {
		if !wellFormed(r) {
			continue
		}
		parts := []config.Range{r}
		if cut {
			parts, taken = subtract(parts, taken), append(taken, r)
		}
		for _, p := range parts {
			shelf := s.shelf(familyOf(p.First))
			t.segments = append(t.segments, segment{Range: p, space: s, at: len(shelf.ranges)})
			shelf.ranges = append(shelf.ranges, p)
		}
	}
	s.v4.open(s.pool.AvoidBuggyIPs)
	s.v6.open(false)
	s.notes = newNotes(s.pool)
	return taken
}

// order puts false before true.
func order(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func wellFormed(r config.Range) bool {
	return r.First.IsValid() && r.First.BitLen() == r.Last.BitLen() && r.First.Compare(r.Last) <= 0
}

// overlapping tells whether any two ranges have an address in common. That is rare, and only then ranges have to be cut.
func overlapping(pools []config.Pool) bool {
	var all []config.Range
	for i := range pools {
		for _, r := range pools[i].Ranges {
			if wellFormed(r) {
				all = append(all, r)
			}
		}
	}
	slices.SortFunc(all, func(a, b config.Range) int { return a.First.Compare(b.First) })
	for i := 1; i < len(all); i++ {
		if all[i-1].Overlaps(all[i]) {
			return true
		}
	}
	return false
}

// owner is the space to which an address belongs, and the index of its range; nil if no pool has it, or if its pool
// avoids it.
func (t *spaces) owner(a netip.Addr) (*space, int) {
	i, exact := slices.BinarySearchFunc(t.segments, a, func(s segment, a netip.Addr) int { return s.First.Compare(a) })
	if !exact {
		i--
	}
	if i < 0 || !t.segments[i].Contains(a) || t.segments[i].space.pool.AvoidBuggyIPs && buggy(a) {
		return nil, 0
	}
	return t.segments[i].space, t.segments[i].at
}

// admits tells whether the pool's serviceAllocation admits the Service, and if not, which sentence says why.
func (s *space) admits(svc *Service) (string, bool) {
	a := s.pool.Allocation
	if a == nil {
		return "", true
	}
	if len(a.Namespaces)+len(a.NamespaceSelectors) > 0 && !slices.Contains(a.Namespaces, svc.Key.Namespace) &&
		!anyMatches(a.NamespaceSelectors, svc.NamespaceLabels) {
		return s.notes.namespace, false
	}
	if len(a.ServiceSelectors) > 0 && !anyMatches(a.ServiceSelectors, svc.Labels) {
		return s.notes.labels, false
	}
	return "", true
}

func anyMatches(selectors []labels.Selector, set labels.Set) bool {
	return slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s != nil && s.Matches(set) })
}

// automatic tells whether the Service may get an address of the pool without asking for it, and if not, why.
func (t *spaces) automatic(s *space, svc *Service) (string, bool) {
	switch {
	case !s.pool.AutoAssign:
		return s.notes.manual, false
	case s.pool.Default && !t.only:
		return s.notes.reserved, false
	}
	return s.admits(svc)
}

func newNotes(p *config.Pool) notes {
	name := "Pool " + strconv.Quote(p.Name)
	n := notes{
		manual:    name + " is only for Services that ask for it: autoAssign is false.",
		reserved:  name + " is the cluster's own: while there are other pools, it is only for Services that ask for it.",
		namespace: name + " doesn't admit the Service: its serviceAllocation is for other namespaces.",
		labels:    name + " doesn't admit the Service: its serviceAllocation is for Services with other labels.",
		lacksV4:   name + " has no IPv4 addresses.",
		lacksV6:   name + " has no IPv6 addresses.",
		fullV4:    name + " has no IPv4 address left for the Service.",
		fullV6:    name + " has no IPv6 address left for the Service.",
		requested: name + " is asked for.",
	}
	if p.Allocation != nil {
		n.admitted = name + " admits the Service by its serviceAllocation, with priority " + strconv.Itoa(p.Allocation.Priority) + "."
	}
	return n
}

// lacking is the sentence that says that the space has no address of a family to give.
func (s *space) lacking(f corev1.IPFamily) string {
	has := len(s.shelf(f).ranges) > 0
	switch {
	case f == corev1.IPv6Protocol && has:
		return s.notes.fullV6
	case f == corev1.IPv6Protocol:
		return s.notes.lacksV6
	case has:
		return s.notes.fullV4
	}
	return s.notes.lacksV4
}
