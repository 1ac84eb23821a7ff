package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// reconciler brings the tables in step with the frontends. It alone writes them.
//
// The order of writes keeps every frontend complete at every instant: backends first, then the slots of a new generation,
// then the frontends, which are changed to that generation one by one; entries that no frontend points at are deleted last.
// When the kernel refuses a write, the Service is dirty: which of its entries are in the kernel is not known, so the next
// attempt writes all of them under another generation and then deletes all that may be left.
type reconciler struct {
	log       *slog.Logger
	frontends table[frontendKey, frontend]
	slots     table[slotKey, slot]
	maglev    table[maglevKey, *maglevTable]
	backends  table[uint32, backend]
	ranges    table[sourceRange, uint32]

	mu       sync.Mutex
	services map[types.NamespacedName]*held
	// unsettled are the Services whose state is not packed, see service.
	unsettled  map[types.NamespacedName]*service
	owners     map[place]*held
	known      map[backendKey]knownBackend
	ids        map[uint32]*held // of Service ports
	lastID     uint32
	generation uint32
	lastBack   uint32
	unused     unused
	// evicted are Pods that lost a frontend to a Service, or may have, and were not planned anew since.
	evicted map[types.NamespacedName]bool
	// udpGone says that a UDP backend was removed.
	udpGone bool
	left    leftovers
}

// place is a frontend's address, port and protocol. The entries of both scopes there belong to the same Service.
type place struct {
	Addr  address
	Port  port
	Proto proto
}

func (k frontendKey) place() place { return place{Addr: k.Addr, Port: k.Port, Proto: k.Proto} }

type backendKey struct {
	Addr  address
	Port  port
	Proto proto
}

func backendKeyOf(b route.Backend, p proto) backendKey {
	return backendKey{Addr: addressOf(b.Addr.Addr()), Port: portOf(b.Addr.Port()), Proto: p}
}

type knownBackend struct {
	id    uint32
	refs  uint32
	flags uint8
	// written says that the entry is in the kernel, with these flags.
	written bool
}

func (k backendKey) entry(b knownBackend) backend {
	return backend{Addr: k.Addr, Port: k.Port, Proto: k.Proto, Flags: b.flags, ID: b.id}
}

func newReconciler(log *slog.Logger, f table[frontendKey, frontend], s table[slotKey, slot], m table[maglevKey, *maglevTable], b table[uint32, backend], ranges table[sourceRange, uint32]) *reconciler {
	return &reconciler{
		log: log, frontends: f, slots: s, maglev: m, backends: b, ranges: ranges,
		services:  map[types.NamespacedName]*held{},
		unsettled: map[types.NamespacedName]*service{},
		owners:    map[place]*held{},
		known:     map[backendKey]knownBackend{},
		ids:       map[uint32]*held{},
		evicted:   map[types.NamespacedName]bool{},
	}
}

// apply replaces the frontends of some Services in the tables; an empty list removes a Service.
func (r *reconciler) apply(desired map[types.NamespacedName][]route.Frontend) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(desired) > 0 {
		c := newChange(r)
		desired = r.withEvicted(desired)
		for _, key := range slices.SortedFunc(maps.Keys(desired), compareNames) {
			c.plan(key, desired[key])
		}
		if err := c.write(); err != nil {
			c.abandon()
			return fmt.Errorf("apply %s: %w", describe(desired), err)
		}
		// Another Service may have waited for a place that is free now.
		desired = c.commit()
	}
	return nil
}

// withEvicted adds the Pods from which a failed change may have taken a frontend: the entry in the kernel may be the Service's
// or the Pod's, so both are planned together.
func (r *reconciler) withEvicted(desired map[types.NamespacedName][]route.Frontend) map[types.NamespacedName][]route.Frontend {
	if len(r.evicted) == 0 {
		return desired
	}
	desired = maps.Clone(desired)
	for key := range r.evicted {
		s := r.unsettled[key]
		if s == nil {
			delete(r.evicted, key) // the Pod is gone
		} else if _, planned := desired[key]; !planned {
			desired[key] = s.desired
		}
	}
	return desired
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}

func describe(desired map[types.NamespacedName][]route.Frontend) string {
	for key := range desired {
		if len(desired) == 1 {
			return "Service " + key.String()
		}
	}
	return fmt.Sprintf("%d Services", len(desired))
}

// serviceID returns the number for a new Service port: the one that an earlier process gave to the same frontend, so that
// conntrack entries with that number stay valid, or the next one.
func (r *reconciler) serviceID(of *held, keys []frontendKey) uint32 {
	for _, k := range keys {
		if id, ok := r.left.frontends[k]; ok && id != 0 && r.ids[id] == nil {
			r.ids[id] = of
			return id
		}
	}
	r.lastID++
	r.ids[r.lastID] = of
	return r.lastID
}

// acquire adds a reference to a backend, which gets a number if it has none.
func (r *reconciler) acquire(key backendKey, local bool) knownBackend {
	known, is := r.known[key]
	if !is {
		r.lastBack++
		known.id = r.lastBack
	}
	flags := uint8(0)
	if local {
		flags = backendLocal
	}
	known.written = known.written && known.flags == flags
	known.flags = flags
	known.refs++
	r.known[key] = known
	return known
}

// release removes references to backends and returns the numbers of those that have none left.
func (r *reconciler) release(keys []backendKey) (ids []uint32) {
	for _, key := range keys {
		known, is := r.known[key]
		switch {
		case !is:
		case known.refs > 1:
			known.refs--
			r.known[key] = known
		default:
			ids = append(ids, known.id)
			delete(r.known, key)
			r.udpGone = r.udpGone || key.Proto == protoUDP
		}
	}
	return ids
}

// confirm records that backends were written.
func (r *reconciler) confirm(keys []backendKey) {
	for _, key := range keys {
		known := r.known[key]
		known.written = true
		r.known[key] = known
	}
}

// takeUDPGone tells whether a UDP backend was removed since the last call.
func (r *reconciler) takeUDPGone() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	gone := r.udpGone
	r.udpGone = false
	return gone
}

// holds tells whether the frontends are those that were applied last, without an error.
func (r *reconciler) holds(key types.NamespacedName, frontends []route.Frontend) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.service(key)
	return !s.dirty && s.serves(frontends)
}

// isLive tells whether any Service has the backend.
func (r *reconciler) isLive(key backendKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, is := r.known[key]
	return is
}

// hold returns the held of a Service, and makes one for a new Service.
func (r *reconciler) hold(key types.NamespacedName) *held {
	h := r.services[key]
	if h == nil {
		h = &held{key: key}
		r.services[key] = h
	}
	return h
}

// service returns the state of a Service, an empty one if it has none. To change that, call setService.
func (r *reconciler) service(key types.NamespacedName) *service {
	if s := r.unsettled[key]; s != nil {
		return s
	}
	if h := r.services[key]; h != nil {
		return unpackService(h.packed)
	}
	return &service{}
}

func (r *reconciler) setService(key types.NamespacedName, s *service) {
	delete(r.unsettled, key)
	switch {
	case s.dirty || len(s.lost) > 0 || isPod(key) && len(s.desired) > 0: // desired is needed if a Service takes a frontend of the Pod
		r.unsettled[key] = s
		r.hold(key).packed = ""
	case len(s.desired) == 0:
		delete(r.services, key)
	default:
		r.hold(key).packed = s.pack()
	}
}

func isPod(key types.NamespacedName) bool {
	_, is := route.PodOf(key)
	return is
}

// owns tells whether the place of a frontend belongs to h, or to nobody.
func (r *reconciler) owns(h *held, k frontendKey) bool {
	owner := r.owners[k.place()]
	return owner == nil || owner == h
}

// unused are entries that no frontend points at. If they can't be deleted the change has succeeded all the same, and they are
// kept for the next attempt.
type unused struct {
	picks
	backends []uint32
}

func (r *reconciler) deleteUnused() error {
	if err := r.slots.remove(r.unused.slots); err != nil {
		return err
	}
	r.unused.slots = nil
	if err := r.maglev.remove(r.unused.tables); err != nil {
		return err
	}
	r.unused.tables = nil
	if err := r.backends.remove(r.unused.backends); err != nil {
		return err
	}
	r.unused.backends = nil
	return nil
}

// waitingFor returns the Services that wait for one of the freed frontends, and the Pods that have lost one of theirs.
func (r *reconciler) waitingFor(freed map[frontendKey]bool) map[types.NamespacedName][]route.Frontend {
	out := map[types.NamespacedName][]route.Frontend{}
	for key := range r.evicted {
		if s := r.unsettled[key]; s != nil {
			out[key] = s.desired
		}
	}
	if len(freed) == 0 {
		return out
	}
	for key, s := range r.unsettled {
		for k := range s.lost {
			if freed[k] {
				out[key] = s.desired
			}
		}
	}
	return out
}

// leftovers are entries of an earlier process that no Service has claimed yet.
type leftovers struct {
	picks
	frontends map[frontendKey]uint32
	ranges    map[sourceRange]bool
}

// adopt reads the entries that an earlier process left. They serve traffic until sweep, and their numbers are not used again.
func (r *reconciler) adopt() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.left = leftovers{frontends: map[frontendKey]uint32{}, ranges: map[sourceRange]bool{}}
	return errors.Join(
		r.frontends.each(func(k frontendKey, v frontend) {
			r.left.frontends[k] = v.Service
			r.lastID, r.generation = max(r.lastID, v.Service), max(r.generation, v.Generation)
		}),
		r.slots.each(func(k slotKey, v slot) {
			r.left.slots = append(r.left.slots, k)
			r.lastID, r.generation = max(r.lastID, k.Service), max(r.generation, k.Generation)
		}),
		r.maglev.each(func(k maglevKey, _ *maglevTable) {
			r.left.tables = append(r.left.tables, k)
			r.lastID, r.generation = max(r.lastID, k.Service), max(r.generation, k.Generation)
		}),
		r.ranges.each(func(k sourceRange, _ uint32) {
			r.left.ranges[k] = true
			r.lastID = max(r.lastID, k.Service)
		}),
		r.backends.each(func(id uint32, v backend) {
			r.known[backendKey{Addr: v.Addr, Port: v.Port, Proto: v.Proto}] = knownBackend{id: id, flags: v.Flags, written: true}
			r.lastBack = max(r.lastBack, id)
		}),
	)
}

// sweep deletes the leftovers, after all Services were applied.
func (r *reconciler) sweep() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.frontends.remove(slices.Collect(maps.Keys(r.left.frontends))); err != nil {
		return err
	}
	if err := r.ranges.remove(slices.Collect(maps.Keys(r.left.ranges))); err != nil {
		return err
	}
	r.unused.add(r.left.picks)
	r.left = leftovers{}
	for key, known := range r.known {
		if known.refs == 0 {
			r.unused.backends = append(r.unused.backends, known.id)
			delete(r.known, key)
		}
	}
	return r.deleteUnused()
}
