package dataplane

import (
	"iter"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// held is a Service that the tables hold something for, or may. There are very many, and few of them change: at rest, a
// Service is packed in bytes.
type held struct {
	key    types.NamespacedName
	packed string // empty while the Service is not settled
}

// service is what the tables hold, or may hold, for one Service.
type service struct {
	ports   few[portKey, *servicePort]
	entries few[frontendKey, frontend]
	ranges  map[sourceRange]bool

	// What follows is of Services that are not settled: dirty ones, and those that have lost frontends.

	// desired is to be tried again once a lost frontend is free.
	desired []route.Frontend
	// lost are frontends that another Service had first.
	lost map[frontendKey]bool

	dirty    bool
	debris   picks
	orphaned []backendKey // references to give back
}

// serves tells whether the frontends are those that the tables hold, or would but for another Service's.
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

// servicePort is one generation of a Service port's candidates. All that it has in the tables follows from this.
type servicePort struct {
	id         uint32
	generation uint32
	cluster    []route.Backend
	local      []route.Backend
	draining   []route.Backend
	sticky     bool    // has slots for session affinity
	consistent [2]bool // sets with a Maglev table
}

// newServicePort is for frontends of one port, which all have the same candidates.
func newServicePort(fs []*route.Frontend) *servicePort {
	f := fs[0]
	return &servicePort{cluster: f.Cluster, local: f.Local, draining: f.Draining, sticky: f.Affinity > 0, consistent: consistentSets(fs)}
}

// fits tells whether the frontends are served by what the port has.
func (p *servicePort) fits(fs []*route.Frontend) bool {
	o := newServicePort(fs)
	return slices.Equal(p.cluster, o.cluster) && slices.Equal(p.local, o.local) && slices.Equal(p.draining, o.draining) &&
		p.sticky == o.sticky && p.consistent == o.consistent
}

// lists are the backends: of each set, and those that drain.
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

// numbered is an entry of a frontend of this port.
func (p *servicePort) numbered(k frontendKey, e frontend) frontend {
	if !k.isMarker() {
		e.Service, e.Generation = p.id, p.generation
	}
	return e
}

// slots go through the slots of both sets, given the numbers of their backends.
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

// tables go through the Maglev tables, each with its set: those from which some class of traffic picks consistently.
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

// picks are entries that backends are picked from: slots, and Maglev tables.
type picks struct {
	slots  []slotKey
	tables []maglevKey
}

func (p *picks) add(o picks) {
	p.slots, p.tables = append(p.slots, o.slots...), append(p.tables, o.tables...)
}

// picksOf are those of a port whose backends are not released.
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
