package pool

import (
	"cmp"
	"net/netip"
	"slices"

	"minato/internal/loadbalancer/config"
)

// shelf is the addresses of one family of a pool, in the order in which they are given.
type shelf struct {
	ranges []config.Range
	avoid  bool // buggy addresses
	// cursor is how far the search for a free address has come: nothing before it is free. It goes back only when an
	// address is released, so all searches together cost no more than one walk over what is used.
	cursor place
	groups map[shareKey]*group
	used   int64 // addresses that some Service has
}

// place is where an address is in the order of a shelf.
type place struct {
	at   int // index of the range
	addr netip.Addr
}

func (p place) compare(o place) int { return cmp.Or(cmp.Compare(p.at, o.at), p.addr.Compare(o.addr)) }

// shareKey is what Services must have in common to share an address.
type shareKey struct{ sharing, backend string }

// group is the addresses of a shelf that are shared, or may be, under one key.
type group struct {
	places []place // in order
	// bound says for a port that it is taken at every place before. Without it many Services with one key and one port
	// would each look at every address of the others.
	bound map[Port]place
}

func (s *shelf) open(avoid bool) {
	s.avoid = avoid
	if len(s.ranges) > 0 {
		s.cursor = place{addr: s.ranges[0].First}
	}
}

// free is the place of the first free address.
func (s *shelf) free(used map[netip.Addr]*holding) (place, bool) {
	for s.cursor.at < len(s.ranges) {
		a := s.cursor.addr
		if used[a] == nil && !(s.avoid && buggy(a)) {
			return s.cursor, true
		}
		if a != s.ranges[s.cursor.at].Last {
			s.cursor.addr = a.Next()
			continue
		}
		s.cursor.at++
		if s.cursor.at < len(s.ranges) {
			s.cursor.addr = s.ranges[s.cursor.at].First
		}
	}
	return place{}, false
}

// released lets the search go back to an address that is free again.
func (s *shelf) released(p place, key shareKey) {
	if p.compare(s.cursor) < 0 {
		s.cursor = p
	}
	if g := s.groups[key]; g != nil {
		if i, ok := slices.BinarySearchFunc(g.places, p, place.compare); ok {
			g.places = slices.Delete(g.places, i, i+1)
		}
	}
}

// join adds an address, with its first ports, to those that may be shared under a key.
func (s *shelf) join(p place, key shareKey, ports []Port) {
	g := s.groups[key]
	if g == nil {
		if s.groups == nil {
			s.groups = make(map[shareKey]*group)
		}
		g = &group{bound: make(map[Port]place)}
		s.groups[key] = g
	}
	if i, ok := slices.BinarySearchFunc(g.places, p, place.compare); !ok {
		g.places = slices.Insert(g.places, i, p)
	}
	g.lower(p, ports)
}

// lower corrects the bounds after some ports, or all but those of a new address, became free at a place.
func (g *group) lower(p place, except []Port) {
	for port, bound := range g.bound {
		if p.compare(bound) < 0 && !slices.Contains(except, port) {
			g.bound[port] = p
		}
	}
}

// shared is the first place where the key's Services leave all the ports free.
func (s *shelf) shared(key shareKey, ports []Port, used map[netip.Addr]*holding) (place, bool) {
	g := s.groups[key]
	if g == nil {
		return place{}, false
	}
	start := 0
	for _, port := range ports {
		i := 0
		if bound, ok := g.bound[port]; ok {
			i, _ = slices.BinarySearchFunc(g.places, bound, place.compare)
		}
		for i < len(g.places) && used[g.places[i].addr].ports[port] != nil {
			i++
		}
		if i < len(g.places) {
			g.bound[port] = g.places[i]
		} else if i > 0 {
			g.bound[port] = place{at: len(s.ranges)} // behind every address
		}
		start = max(start, i)
	}
	for _, p := range g.places[start:] {
		if used[p.addr].taken(ports) == nil {
			return p, true
		}
	}
	return place{}, false
}
