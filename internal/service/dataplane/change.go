package dataplane

import (
	"iter"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// change is one step of the reconciler: the writes for some Services, in the order in which they must happen.
type change struct {
	r     *reconciler
	steps map[types.NamespacedName]*step

	backends  writes[uint32, backend]
	slots     writes[slotKey, slot]
	maglev    writes[maglevKey, *maglevTable]
	ranges    writes[sourceRange, uint32]
	frontends writes[frontendKey, frontend]
	// gone are slots and Maglev tables that no frontend points at once all is written.
	gone picks
	// fresh are backends that no Service had before this change.
	fresh []backendKey
	// published says that the writing of frontends has begun, so that some may point at what the change wrote.
	published bool
	// took are places that Pods had and that this change gave to Services.
	took map[place]*held
}

// step is what the change makes of one Service.
type step struct {
	of  *held
	old *service
	new *service
	// added and addedBackends are entries and references to backends that are in new and not in old.
	added         picks
	addedBackends []backendKey
}

// writes collects the entries to set and to delete in one table.
type writes[K, V comparable] struct {
	keys   []K
	values []V
	gone   []K
}

func (w *writes[K, V]) set(k K, v V) {
	w.keys = append(w.keys, k)
	w.values = append(w.values, v)
}

func newChange(r *reconciler) *change {
	return &change{r: r, steps: map[types.NamespacedName]*step{}, took: map[place]*held{}}
}

// plan works out the writes for one Service.
func (c *change) plan(key types.NamespacedName, desired []route.Frontend) {
	delete(c.r.evicted, key)
	s := &step{of: c.r.hold(key), old: c.r.service(key), new: &service{desired: desired}}
	c.steps[key] = s
	for pk, fs := range byPort(desired).all() {
		c.planPort(s, pk, fs)
	}
	c.planDeletions(s)
}

// byPort groups frontends by Service port. It keeps their order, so that equal Services get equal numbers.
func byPort(desired []route.Frontend) few[portKey, []*route.Frontend] {
	var out few[portKey, []*route.Frontend]
	for i := range desired {
		f := &desired[i]
		if p, ok := protoOf(f.Protocol); ok {
			k := portKey{Name: f.PortName, Proto: p, IPv6: f.IPv6}
			fs, _ := out.get(k)
			out.set(k, append(fs, f))
		}
	}
	return out
}

// planPort plans one Service port: new slots, if the backends changed, and the frontends that point at them.
func (c *change) planPort(s *step, pk portKey, fs []*route.Frontend) {
	entries := entriesOf(fs, pk.Proto)
	for k := range entries {
		if !c.claim(s.of, k) {
			if s.new.lost == nil {
				s.new.lost = map[frontendKey]bool{}
			}
			s.new.lost[k] = true
			delete(entries, k)
		}
	}
	p := c.portSlots(s, pk, fs, slices.Collect(maps.Keys(entries)))
	s.new.ports.set(pk, p)
	c.planRanges(s, p, fs)
	s.new.entries = slices.Grow(s.new.entries, len(entries))
	for k, e := range entries {
		e = p.numbered(k, e)
		s.new.entries.set(k, e)
		if was, ok := s.old.entries.get(k); !ok || was != e || s.old.dirty {
			c.frontends.set(k, e)
		}
	}
}

// planRanges plans the entries that admit clients to the restricted frontends of a port, which all have the same ranges.
func (c *change) planRanges(s *step, p *servicePort, fs []*route.Frontend) {
	for k := range rangesOf(fs, p.id) {
		if s.new.ranges == nil {
			s.new.ranges = map[sourceRange]bool{}
		}
		if !s.new.ranges[k] && (!s.old.ranges[k] || s.old.dirty) {
			c.ranges.set(k, 1)
		}
		s.new.ranges[k] = true
	}
}

// portSlots keeps the slots of a port whose backends stayed the same, and plans a new generation otherwise.
func (c *change) portSlots(s *step, pk portKey, fs []*route.Frontend, keys []frontendKey) *servicePort {
	was, _ := s.old.ports.get(pk)
	if was != nil && !s.old.dirty && was.fits(fs) {
		return was
	}
	c.r.generation++
	p := newServicePort(fs)
	p.generation = c.r.generation
	if was != nil {
		p.id = was.id
	} else {
		p.id = c.r.serviceID(s.of, keys)
	}
	var numbers [2][]uint32
	for set, list := range p.lists() {
		for _, b := range list {
			key := backendKeyOf(b, pk.Proto)
			if _, known := c.r.known[key]; !known {
				c.fresh = append(c.fresh, key)
			}
			known := c.r.acquire(key, b.Local)
			s.addedBackends = append(s.addedBackends, key)
			if !known.written {
				c.backends.set(known.id, key.entry(known))
			}
			if set < len(numbers) { // draining backends keep their connections and get no new ones
				numbers[set] = append(numbers[set], known.id)
			}
		}
	}
	for k, backend := range p.slots(numbers) {
		c.slots.set(k, slot{Backend: backend, Service: p.id})
		s.added.slots = append(s.added.slots, k)
	}
	for k, set := range p.tables() {
		c.maglev.set(k, newMaglevTable(p.lists()[set], numbers[set]))
		s.added.tables = append(s.added.tables, k)
	}
	return p
}

// entriesOf returns the table entries of a port's frontends, without the port's number and generation.
func entriesOf(fs []*route.Frontend, p proto) map[frontendKey]frontend {
	entries := map[frontendKey]frontend{}
	for _, f := range fs {
		addEntries(entries, f, p)
	}
	return entries
}

// rangesOf returns the source ranges of a port's restricted frontends.
func rangesOf(fs []*route.Frontend, id uint32) iter.Seq[sourceRange] {
	return func(yield func(sourceRange) bool) {
		for _, f := range fs {
			for _, r := range f.SourceRanges {
				if !yield(sourceRangeOf(id, r)) {
					return
				}
			}
		}
	}
}

// addEntries makes the table entries of one frontend: one per scope, and for a cluster IP the marker that says that the
// address is a Service's, whatever the port.
func addEntries(entries map[frontendKey]frontend, f *route.Frontend, p proto) {
	addr := anyNode(f.IPv6)
	if f.Kind != route.NodePort {
		addr = addressOf(f.Addr)
	}
	k := frontendKey{Addr: addr, Port: portOf(f.Port), Proto: p}
	// Traffic of Pods and of the node itself shares an entry: the decisions differ in masquerading alone, and the programs
	// decide that by the interface. Loopback addresses have traffic of the node itself alone.
	within := route.FromPod
	if addr.Addr().IsLoopback() {
		within = route.FromHost
	}
	for sc, class := range map[scope]route.Class{inside: within, outside: route.FromOutside} {
		d := f.Decisions[class]
		e := frontend{Verdict: uint8(d.Verdict), Set: uint8(d.Set), Affinity: uint32(f.Affinity / time.Second)}
		if f.Kind == route.HostPortKind {
			e.Flags |= flagHostPort
		}
		if d.Verdict == route.Forward {
			e.Count = uint32(len(f.Backends(d.Set)))
		}
		if d.Consistent {
			e.Flags |= flagConsistent
			e.Count = uint32(route.MaglevSize(len(f.Backends(d.Set))))
		}
		if d.Masquerade {
			e.Flags |= flagMasquerade
		}
		if f.Restricted {
			e.Flags |= flagRestricted
		}
		k.Scope = sc
		entries[k] = e
	}
	if f.Kind == route.ClusterIP {
		entries[frontendKey{Addr: addr}] = frontend{Verdict: uint8(route.Reject)}
	}
}

func (k frontendKey) isMarker() bool { return k.Proto == 0 }

// planDeletions plans to delete what the Service no longer needs, and what failed attempts may have left.
func (c *change) planDeletions(s *step) {
	for k := range s.old.entries.all() {
		if _, keep := s.new.entries.get(k); !keep && c.r.owns(s.of, k) {
			c.frontends.gone = append(c.frontends.gone, k)
		}
	}
	for k := range s.old.ranges {
		if !s.new.ranges[k] {
			c.ranges.gone = append(c.ranges.gone, k)
		}
	}
	c.gone.add(s.old.debris)
	for pk, p := range s.old.ports.all() {
		if now, _ := s.new.ports.get(pk); now != p {
			c.gone.add(c.r.picksOf(p, pk.Proto))
		}
	}
}

// write writes and deletes all that traffic depends on, in order. Entries that no frontend points at are deleted by commit.
func (c *change) write() error {
	if err := c.r.backends.put(c.backends.keys, c.backends.values); err != nil {
		return err
	}
	if err := c.r.slots.put(c.slots.keys, c.slots.values); err != nil {
		return err
	}
	if err := c.r.maglev.put(c.maglev.keys, c.maglev.values); err != nil {
		return err
	}
	if err := c.r.ranges.put(c.ranges.keys, c.ranges.values); err != nil {
		return err
	}
	c.published = true
	if err := c.r.frontends.put(c.frontends.keys, c.frontends.values); err != nil {
		return err
	}
	if err := c.r.frontends.remove(c.frontends.gone); err != nil {
		return err
	}
	return c.r.ranges.remove(c.ranges.gone)
}

// commit records a change that was written, and deletes entries that no frontend points at any more. It returns what must be
// planned next: Services that wait for a place that is free now, and Pods that lost a place to a Service.
func (c *change) commit() map[types.NamespacedName][]route.Frontend {
	freed := map[frontendKey]bool{}
	for key, s := range c.steps {
		c.r.confirm(s.addedBackends)
		var gone []frontendKey
		for k := range s.old.entries.all() {
			if _, keep := s.new.entries.get(k); !keep && c.r.owns(s.of, k) {
				gone = append(gone, k)
			}
		}
		// A place has an entry for each scope, and owns must give the same answer for both: so it is given up here.
		for _, k := range gone {
			delete(c.r.owners, k.place())
			freed[k] = true
		}
		for k := range s.new.entries.all() {
			delete(c.r.left.frontends, k)
		}
		for k := range s.new.ranges {
			delete(c.r.left.ranges, k)
		}
		c.r.unused.backends = append(c.r.unused.backends, c.r.release(s.old.orphaned)...)
		for pk, p := range s.old.ports.all() {
			now, _ := s.new.ports.get(pk)
			if now != p {
				c.r.unused.backends = append(c.r.unused.backends, c.r.release(p.backends(pk.Proto))...)
			}
			if now == nil {
				delete(c.r.ids, p.id)
			}
		}
		c.r.setService(key, s.new)
	}
	c.r.unused.add(c.gone)
	if err := c.r.deleteUnused(); err != nil {
		c.r.log.Warn("Table entries that no frontend uses could not be deleted; that is tried again with the next change", "error", err)
	}
	return c.r.waitingFor(freed)
}
