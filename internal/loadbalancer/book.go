package loadbalancer

import (
	"net/netip"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/pool"
)

// book holds all Services that the Controller has to do with. It does no I/O.
type book struct {
	ours    func(*corev1.Service) bool
	serves  func(class *string) bool
	entries map[types.NamespacedName]*entry
	config  config.Config
	// ledger decides; it is yet to hear of those that are unheard.
	ledger  *pool.Ledger
	unheard map[types.NamespacedName]struct{}
	// holders are the Services whose status lists an address.
	holders map[netip.Addr]map[types.NamespacedName]struct{}
	// contested are the Services that wait for an address which another's status still lists.
	contested map[types.NamespacedName]struct{}
	usage     map[string]pool.PoolUsage
}

func newBook(ours func(*corev1.Service) bool, serves func(class *string) bool) *book {
	b := &book{
		ours: ours, serves: serves, entries: map[types.NamespacedName]*entry{}, holders: map[netip.Addr]map[types.NamespacedName]struct{}{},
		contested: map[types.NamespacedName]struct{}{},
	}
	b.configure(config.Config{})
	return b
}

// configure takes another configuration. Everything is decided anew.
func (b *book) configure(c config.Config) {
	b.config, b.ledger, b.unheard = c, pool.NewLedger(c.Pools), map[types.NamespacedName]struct{}{}
	for key := range b.entries {
		b.unheard[key] = struct{}{}
	}
}

// set notes the state of a Service, nil if there is none, and tells whether addresses have to be decided anew. A state that
// is older than what is known changes nothing.
func (b *book) set(key types.NamespacedName, s *corev1.Service, namespace labels.Set) bool {
	e := b.entries[key]
	if e != nil && (s == nil || s.UID != e.service.UID) {
		b.remove(e)
		return b.set(key, s, namespace) || e.ours
	}
	if s == nil || e == nil && !b.concerns(s) {
		return false
	}
	if e == nil {
		e = &entry{key: key, service: s}
		b.entries[key] = e
	} else if s != e.service && !isNewer(s, e.service) {
		s = e.service // but the labels of its namespace may have changed
	}
	e.service = s
	b.publish(e, publishedBy(s))
	was, input := e.ours, e.input
	e.ours = b.ours(s)
	if !e.ours {
		e.decided, e.decision, e.input = false, pool.Decision{}, pool.Service{}
		if was {
			b.unheard[key] = struct{}{}
		}
		return was
	}
	e.input = pool.FromService(s, namespace)
	if e.decided {
		e.input.Current = e.decision.Addresses
	}
	if was && reflect.DeepEqual(input, e.input) {
		return false
	}
	b.unheard[key] = struct{}{}
	return true
}

// concerns tells whether the Controller has anything to do with a Service that it does not know yet.
func (b *book) concerns(s *corev1.Service) bool {
	return b.ours(s) || b.released(s) && (hasMarks(s) || s.Spec.Type == corev1.ServiceTypeLoadBalancer && slices.Contains(s.Finalizers, Finalizer))
}

// released tells whether a Service has left the Controller: by deletion, or by another type. One that has another class
// belongs to somebody else, who may use the same finalizer and annotation.
func (b *book) released(s *corev1.Service) bool {
	if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
		return s.DeletionTimestamp != nil && b.serves(s.Spec.LoadBalancerClass)
	}
	return true
}

// publish notes which addresses a Service's status lists.
func (b *book) publish(e *entry, addresses []netip.Addr) {
	for _, a := range e.published {
		delete(b.holders[a], e.key)
		if len(b.holders[a]) == 0 {
			delete(b.holders, a)
		}
	}
	e.published = addresses
	for _, a := range addresses {
		if b.holders[a] == nil {
			b.holders[a] = map[types.NamespacedName]struct{}{}
		}
		b.holders[a][e.key] = struct{}{}
	}
}

func (b *book) remove(e *entry) {
	b.publish(e, nil)
	if e.ours {
		b.unheard[e.key] = struct{}{}
	}
	delete(b.entries, e.key)
	delete(b.contested, e.key)
}

// change is a decision that is not the one before.
type change struct {
	*entry
	was        pool.Decision
	wasDecided bool
}

// allocate decides about the Services that have changed, and about all others that this concerns. It returns those about
// which it decided something new.
func (b *book) allocate() []change {
	for key := range b.unheard {
		if e := b.entries[key]; e != nil && e.ours {
			b.ledger.Set(e.input)
		} else {
			b.ledger.Remove(key)
		}
	}
	clear(b.unheard)
	decisions := b.ledger.Settle()
	b.usage = b.ledger.Usage()
	var changed []change
	for key, d := range decisions {
		e := b.entries[key]
		if !e.decided || !reflect.DeepEqual(d, e.decision) {
			changed = append(changed, change{entry: e, was: e.decision, wasDecided: e.decided})
		}
		e.decision, e.decided = d, true
		e.input.Current = d.Addresses
	}
	// In an order that does not depend on the map, and the oldest first, as they have waited longest.
	slices.SortFunc(changed, func(a, b change) int {
		if o := a.input.Created.Compare(b.input.Created); o != 0 {
			return o
		}
		return compareKeys(a.key, b.key)
	})
	return changed
}

// target is what the API is to hold about a Service. An address that another Service's status lists, and that it is to
// lose, is left out until it has lost it.
func (b *book) target(e *entry) target {
	delete(b.contested, e.key)
	if !e.ours {
		// The status of a Service of another type is the API's own, and that of another class somebody else's.
		own := e.service.Spec.Type == corev1.ServiceTypeLoadBalancer && b.serves(e.service.Spec.LoadBalancerClass)
		return target{status: own}
	}
	free := slices.DeleteFunc(slices.Clone(e.decision.Addresses), func(a netip.Addr) bool { return b.heldByOther(e, a) })
	if len(free) < len(e.decision.Addresses) {
		b.contested[e.key] = struct{}{}
	}
	t := target{status: true, ingress: ingress(e.service, free)}
	if len(e.decision.Addresses) > 0 {
		t.marked, t.pool = true, e.decision.Pool
	}
	return t
}

// heldByOther tells whether the status of another Service lists an address that it is to lose.
func (b *book) heldByOther(e *entry, a netip.Addr) bool {
	if slices.Contains(e.published, a) {
		return false
	}
	for key := range b.holders[a] {
		other := b.entries[key]
		if key != e.key && !(other.ours && slices.Contains(other.decision.Addresses, a)) {
			return true
		}
	}
	return false
}

func compareKeys(a, b types.NamespacedName) int {
	if a.Namespace != b.Namespace {
		if a.Namespace < b.Namespace {
			return -1
		}
		return 1
	}
	switch {
	case a.Name < b.Name:
		return -1
	case a.Name > b.Name:
		return 1
	}
	return 0
}
