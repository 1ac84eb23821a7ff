package dataplane

import (
	"iter"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// held is a Service that has entries in the tables, or may have. There may be very many Services, most of which don't change:
// the state of a settled one is packed.
type held struct {
	key    types.NamespacedName
	packed string // empty while the Service is unsettled
}

// service is the state of one Service: what the tables have, or may have, of it. It is settled if all of its frontends are in
// the tables for sure. A Pod with hostPorts never is, because a Service may take its frontends at any time.
type service struct {
	ports   few[portKey, *servicePort]
	entries few[frontendKey, frontend]
	ranges  map[sourceRange]bool

	// The fields below are of unsettled Services.

	// desired are the frontends to plan again once a lost one is free.
	desired []route.Frontend
	// lost are frontends whose place another Service has.
	lost map[frontendKey]bool

	dirty    bool
	debris   picks
	orphaned []backendKey // references to release after the next change
}

// serves tells whether the frontends are those in the tables, not counting lost ones.
func (s *service) serves(desired []route.Frontend) bool {
	wanted := byPort(desired)
	entries, ranges := map[frontendKey]frontend{}, map[sourceRange]bool{}
	for pk, fs := range wanted.all() {
		p, ok := s.ports.get(pk)
		if !ok || !p.fits(fs) {
			return false
		}
		for k, e := range entriesOf(fs, pk.Proto) {
			entries[k] = p.numbered(k, e)
		}
		for k := range rangesOf(fs, p.id) {
			ranges[k] = true
		}
	}
	maps.DeleteFunc(entries, func(k frontendKey, _ frontend) bool { return s.lost[k] })
	for k, e := range s.entries.all() {
		if is, ok := entries[k]; !ok || is != e {
			return false
		}
	}
	return len(wanted) == len(s.ports) && len(entries) == len(s.entries) && maps.Equal(ranges, s.ranges)
}

// portKey names one Service port in one family.
type portKey struct {
	Name  string
	Proto proto
	IPv6  bool
}

// servicePort is one generation of a Service port's backends. All slots and Maglev tables of it follow from this.
type servicePort struct {
	id         uint32
	generation uint32
	cluster    []route.Backend
	local      []route.Backend
	draining   []route.Backend
	sticky     bool    // has slots for session affinity
	consistent [2]bool // sets with a Maglev table
}

// newServicePort makes it from the frontends of one port, which all have the same backends.
func newServicePort(fs []*route.Frontend) *servicePort {
	f := fs[0]
	return &servicePort{cluster: f.Cluster, local: f.Local, draining: f.Draining, sticky: f.Affinity > 0, consistent: consistentSets(fs)}
}

// fits tells whether the port's slots and Maglev tables are those that the frontends need.
func (p *servicePort) fits(fs []*route.Frontend) bool {
	o := newServicePort(fs)
	return slices.Equal(p.cluster, o.cluster) && slices.Equal(p.local, o.local) && slices.Equal(p.draining, o.draining) &&
		p.sticky == o.sticky && p.consistent == o.consistent
}

// lists returns the backends of each set, and the draining ones.
func (p *servicePort) lists() [3][]route.Backend {
	return [...][]route.Backend{route.ClusterSet: p.cluster, route.LocalSet: p.local, 2: p.draining}
}

func (p *servicePort) backends(of proto) (out []backendKey) {
	for _, list := range p.lists() {
		for _, b := range list {
			out = append(out, backendKeyOf(b, of))
		}
	}
	return out
}

// numbered returns a frontend's entry with the number and generation of this port.
func (p *servicePort) numbered(k frontendKey, e frontend) frontend {
	if !k.isMarker() {
		e.Service, e.Generation = p.id, p.generation
	}
	return e
}

// slots goes through the slots of both sets, given the numbers of their backends.
func (p *servicePort) slots(numbers [2][]uint32) iter.Seq2[slotKey, uint32] {
	return func(yield func(slotKey, uint32) bool) {
		for set, list := range numbers {
			for i, backend := range list {
				k := slotKey{Service: p.id, Generation: p.generation, Index: uint32(i) | uint32(set)<<31}
				if !yield(k, backend) {
					return
				}
				k.Index = backend | uint32(set)<<31 | memberSlot
				if p.sticky && !yield(k, backend) {
					return
				}
			}
		}
	}
}

// tables goes through the Maglev tables, each with its set. A set has one if some class of traffic picks consistently.
func (p *servicePort) tables() iter.Seq2[maglevKey, route.Set] {
	return func(yield func(maglevKey, route.Set) bool) {
		for set, wanted := range p.consistent {
			if !wanted || len(p.lists()[set]) == 0 {
				continue
			}
			if !yield(maglevKey{Service: p.id, Generation: p.generation, Set: uint32(set)}, route.Set(set)) {
				return
			}
		}
	}
}

// picks are the entries from which a program picks a backend: slots and Maglev tables.
type picks struct {
	slots  []slotKey
	tables []maglevKey
}

func (p *picks) add(o picks) {
	p.slots, p.tables = append(p.slots, o.slots...), append(p.tables, o.tables...)
}

// picksOf returns those of a port. The references to its backends must not be released yet.
func (r *reconciler) picksOf(p *servicePort, of proto) (out picks) {
	var numbers [2][]uint32
	for set := range numbers {
		for _, b := range p.lists()[set] {
			numbers[set] = append(numbers[set], r.known[backendKeyOf(b, of)].id)
		}
	}
	for k := range p.slots(numbers) {
		out.slots = append(out.slots, k)
	}
	for k := range p.tables() {
		out.tables = append(out.tables, k)
	}
	return out
}
