package dataplane

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// reconciler makes the tables say what the frontends say. It alone writes them.
//
// Order keeps traffic flowing at every instant: backends first, then the slots of a new generation, then the frontends
// switch over one by one, and only then goes what nobody points at any more. When the kernel refuses a write, the
// Service is dirty: nothing about its entries is known for sure, so the next attempt writes all of them anew under
// another generation and then deletes all that may be left.
type reconciler struct {
	log       *slog.Logger
	frontends table[frontendKey, frontend]
	slots     table[slotKey, slot]
	maglev    table[maglevKey, *maglevTable]
	backends  table[uint32, backend]
	ranges    table[sourceRange, uint32]

	mu         sync.Mutex
	services   map[types.NamespacedName]*service
	owners     map[frontendKey]types.NamespacedName
	losers     map[types.NamespacedName]bool // have lost frontends
	known      map[backendKey]*knownBackend
	ids        map[uint32]bool // of Service ports
	lastID     uint32
	generation uint32
	lastBack   uint32
	unused     unused
	// udpGone says that a UDP backend was let go of.
	udpGone bool
	left    leftovers
}

type backendKey struct {
	Addr  address
	Port  port
	Proto proto
}

type knownBackend struct {
	entry backend
	refs  int
	// written says that the kernel has the entry for sure.
	written bool
}

// service is what the tables hold, or may hold, for one Service.
type service struct {
	desired []route.Frontend
	ports   few[portKey, *servicePort]
	entries few[frontendKey, frontend]
	ranges  map[sourceRange]bool
	// lost are frontends that another Service had first.
	lost map[frontendKey]bool

	dirty        bool
	debris       []slotKey
	debrisTables []maglevKey
	orphaned     []backendKey // references to give back
}

// portKey names one Service port in one family.
type portKey struct {
	Name  string
	Proto proto
	IPv6  bool
}

type servicePort struct {
	id         uint32
	generation uint32
	cluster    []route.Backend
	local      []route.Backend
	draining   []route.Backend
	sticky     bool    // has slots for session affinity
	consistent [2]bool // sets with a Maglev table
	slots      []slotKey
	tables     []maglevKey
	backends   []backendKey
}

func newReconciler(log *slog.Logger, f table[frontendKey, frontend], s table[slotKey, slot], m table[maglevKey, *maglevTable], b table[uint32, backend], ranges table[sourceRange, uint32]) *reconciler {
	return &reconciler{
		log: log, frontends: f, slots: s, maglev: m, backends: b, ranges: ranges,
		services: map[types.NamespacedName]*service{},
		owners:   map[frontendKey]types.NamespacedName{},
		losers:   map[types.NamespacedName]bool{},
		known:    map[backendKey]*knownBackend{},
		ids:      map[uint32]bool{},
	}
}

// apply brings the tables to the desired frontends of some Services; none removes a Service.
func (r *reconciler) apply(desired map[types.NamespacedName][]route.Frontend) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(desired) > 0 {
		c := newChange(r)
		for _, key := range slices.SortedFunc(maps.Keys(desired), compareNames) {
			c.plan(key, desired[key])
		}
		if err := c.write(); err != nil {
			c.abandon()
			return fmt.Errorf("apply %s: %w", describe(desired), err)
		}
		// What this freed may be what another Service was waiting for.
		desired = c.commit()
	}
	return nil
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

// serviceID gives a Service port its number. One that an earlier process gave to the same frontend is kept, so that
// connections through it are still known.
func (r *reconciler) serviceID(keys []frontendKey) uint32 {
	for _, k := range keys {
		if id, ok := r.left.frontends[k]; ok && id != 0 && !r.ids[id] {
			r.ids[id] = true
			return id
		}
	}
	r.lastID++
	r.ids[r.lastID] = true
	return r.lastID
}

// acquire counts a user of a backend.
func (r *reconciler) acquire(b route.Backend, p proto) (backendKey, *knownBackend) {
	key := backendKey{Addr: addressOf(b.Addr.Addr()), Port: portOf(b.Addr.Port()), Proto: p}
	known := r.known[key]
	if known == nil {
		r.lastBack++
		known = &knownBackend{entry: backend{Addr: key.Addr, Port: key.Port, Proto: p, ID: r.lastBack}}
		r.known[key] = known
	}
	flags := uint8(0)
	if b.Local {
		flags = backendLocal
	}
	known.written = known.written && known.entry.Flags == flags
	known.entry.Flags = flags
	known.refs++
	return key, known
}

// release gives references back and returns the backends that nobody uses any more.
func (r *reconciler) release(keys []backendKey) (ids []uint32) {
	for _, key := range keys {
		known := r.known[key]
		if known == nil {
			continue
		}
		if known.refs--; known.refs <= 0 {
			ids = append(ids, known.entry.ID)
			delete(r.known, key)
			r.udpGone = r.udpGone || key.Proto == protoUDP
		}
	}
	return ids
}

// takeUDPGone tells whether a UDP backend was let go of since it was asked last.
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
	s := r.services[key]
	if s == nil {
		return len(frontends) == 0
	}
	return !s.dirty && reflect.DeepEqual(s.desired, frontends)
}

// isLive tells whether a Service has the backend.
func (r *reconciler) isLive(key backendKey) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.known[key] != nil
}

func (r *reconciler) setService(key types.NamespacedName, s *service) {
	delete(r.losers, key)
	if len(s.desired) == 0 && !s.dirty {
		delete(r.services, key)
		return
	}
	r.services[key] = s
	if len(s.lost) > 0 {
		r.losers[key] = true
	}
}

// unused are entries to delete. A failure to do so harms nobody, so it is no failure of a change; they are kept for the
// next time.
type unused struct {
	slots    []slotKey
	tables   []maglevKey
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

// waitingFor returns the Services that want one of the freed frontends.
func (r *reconciler) waitingFor(freed map[frontendKey]bool) map[types.NamespacedName][]route.Frontend {
	out := map[types.NamespacedName][]route.Frontend{}
	if len(freed) == 0 {
		return out
	}
	for key := range r.losers {
		for k := range r.services[key].lost {
			if freed[k] {
				out[key] = r.services[key].desired
			}
		}
	}
	return out
}

// leftovers are entries of an earlier process that no Service has taken over yet.
type leftovers struct {
	frontends map[frontendKey]uint32
	slots     []slotKey
	tables    []maglevKey
	ranges    map[sourceRange]bool
}

// adopt reads what an earlier process left. Its entries keep working until sweep; its numbers are not given out again.
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
			r.known[backendKey{Addr: v.Addr, Port: v.Port, Proto: v.Proto}] = &knownBackend{entry: v, written: true}
			r.lastBack = max(r.lastBack, id)
		}),
	)
}

// sweep deletes what is left of an earlier process after all Services were applied.
func (r *reconciler) sweep() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.frontends.remove(slices.Collect(maps.Keys(r.left.frontends))); err != nil {
		return err
	}
	if err := r.ranges.remove(slices.Collect(maps.Keys(r.left.ranges))); err != nil {
		return err
	}
	r.unused.slots = append(r.unused.slots, r.left.slots...)
	r.unused.tables = append(r.unused.tables, r.left.tables...)
	r.left = leftovers{}
	for key, known := range r.known {
		if known.refs == 0 {
			r.unused.backends = append(r.unused.backends, known.entry.ID)
			delete(r.known, key)
		}
	}
	return r.deleteUnused()
}
