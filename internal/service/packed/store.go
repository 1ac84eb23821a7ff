package packed

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/service"
)

// Store keeps Services, each with the slices that name it.
type Store struct {
	services *feed[*corev1.Service]
	slices   *feed[*discoveryv1.EndpointSlice]
	replaced chan struct{}

	mu      sync.Mutex
	groups  map[types.NamespacedName]*group
	changed func(types.NamespacedName, time.Time) // nil if nobody follows
}

var _ service.Objects = (*Store)(nil)

// group is a Service and its slices, any of which may be missing.
type group struct {
	service string // packed, which takes some bytes even of an empty one
	slices  []record
}

func (g *group) index(slice string) int {
	return slices.IndexFunc(g.slices, func(r record) bool { return r.isNamed(slice) })
}

// New makes a Store of a cluster.
func New(client kubernetes.Interface) *Store {
	s := &Store{groups: map[types.NamespacedName]*group{}, replaced: make(chan struct{}, 1)}
	s.services = &feed[*corev1.Service]{
		store: s, kind: "Services", source: watchServices(client), pack: packService,
		set: s.setService, remove: s.removeService, replace: s.replaceServices, loaded: make(chan struct{}),
	}
	s.slices = &feed[*discoveryv1.EndpointSlice]{
		store: s, kind: "EndpointSlices", source: watchSlices(client), pack: packSlice,
		set: s.setSlice, remove: s.removeSlice, replace: s.replaceSlices, loaded: make(chan struct{}),
	}
	return s
}

// Run follows the cluster until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() { s.services.run(ctx) })
	following.Go(func() { s.slices.run(ctx) })
	return nil
}

// Replaced holds one token after everything of a kind was read anew, which takes far more memory than keeping it does.
func (s *Store) Replaced() <-chan struct{} { return s.replaced }

var errFollowed = errors.New("packed objects have one follower at a time")

// Follow implements service.Objects, for one follower at a time.
func (s *Store) Follow(changed func(types.NamespacedName, time.Time)) ([]cache.DoneChecker, func(), error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed != nil {
		return nil, nil, errFollowed
	}
	s.changed = changed
	for key := range s.groups {
		s.tell(key, 0)
	}
	stop := func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed = nil
	}
	return []cache.DoneChecker{s.services, s.slices}, stop, nil
}

// tell calls the follower, with the store's lock held.
func (s *Store) tell(key types.NamespacedName, triggered int64) {
	if s.changed == nil {
		return
	}
	var at time.Time
	if triggered != 0 {
		at = time.Unix(0, triggered)
	}
	s.changed(key, at)
}

// Service implements service.Objects.
func (s *Store) Service(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice) {
	packed, records := s.records(key)
	var one *corev1.Service
	if packed != "" {
		one = unpackService(key, packed)
	}
	all := make([]*discoveryv1.EndpointSlice, 0, len(records))
	for _, r := range records {
		all = append(all, unpackSlice(key, r))
	}
	return one, all
}

func (s *Store) records(key types.NamespacedName) (service string, all []record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.groups[key]; g != nil {
		return g.service, slices.Clone(g.slices)
	}
	return "", nil
}

// Names implements service.Objects.
func (s *Store) Names() []types.NamespacedName {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]types.NamespacedName, 0, len(s.groups))
	for key, g := range s.groups {
		if g.service != "" {
			out = append(out, key)
		}
	}
	return out
}

func (s *Store) group(key types.NamespacedName) *group {
	g := s.groups[key]
	if g == nil {
		g = &group{}
		s.groups[key] = g
	}
	return g
}

// forget drops a group that nothing is left of.
func (s *Store) forget(key types.NamespacedName, g *group) {
	if g.service == "" && len(g.slices) == 0 {
		delete(s.groups, key)
	}
}

func (s *Store) setService(it item, _ bool) {
	if g := s.group(it.service); g.service != it.packed {
		g.service = it.packed
		s.tell(it.service, 0)
	}
}

func (s *Store) removeService(it item) {
	g := s.groups[it.service]
	if g == nil || g.service == "" {
		return
	}
	g.service = ""
	s.forget(it.service, g)
	s.tell(it.service, 0)
}

func (s *Store) replaceServices(all []item) {
	there := make(map[types.NamespacedName]bool, len(all))
	for _, it := range all {
		there[it.service] = true
		s.setService(it, true)
	}
	for key := range s.groups {
		if !there[key] {
			s.removeService(item{service: key})
		}
	}
}

// setSlice files a slice under its Service, and takes it from the one that it named before.
func (s *Store) setSlice(it item, isNew bool) {
	if it.service.Name == "" {
		s.takeSlice(it.service.Namespace, it.name())
		return
	}
	g := s.group(it.service)
	at := g.index(it.name())
	switch {
	case at < 0:
		if !isNew {
			s.takeSlice(it.service.Namespace, it.name())
		}
		g.slices = append(g.slices, it.record)
		s.tell(it.service, it.triggered)
	case g.slices[at] != it.record:
		triggered := it.triggered
		if triggered == g.slices[at].triggered {
			triggered = 0 // the same change was reported before
		}
		g.slices[at] = it.record
		s.tell(it.service, triggered)
	}
}

func (s *Store) removeSlice(it item) {
	if g := s.groups[it.service]; g != nil {
		if at := g.index(it.name()); at >= 0 {
			s.cutSlice(it.service, g, at)
			return
		}
	}
	s.takeSlice(it.service.Namespace, it.name())
}

// takeSlice removes a slice that is not in the group that its label names. That is so rare that searching all groups costs less
// than an index of slices by name.
func (s *Store) takeSlice(namespace, name string) {
	for key, g := range s.groups {
		if key.Namespace != namespace {
			continue
		}
		if at := g.index(name); at >= 0 {
			s.cutSlice(key, g, at)
			return
		}
	}
}

func (s *Store) cutSlice(key types.NamespacedName, g *group, at int) {
	g.slices = slices.Delete(g.slices, at, at+1)
	s.forget(key, g)
	s.tell(key, 0)
}

func (s *Store) replaceSlices(all []item) {
	type place struct {
		service types.NamespacedName
		slice   string
	}
	there := make(map[place]bool, len(all))
	for _, it := range all {
		if it.service.Name == "" {
			continue
		}
		there[place{it.service, it.name()}] = true
		s.setSlice(it, true)
	}
	for key, g := range s.groups {
		for at := len(g.slices) - 1; at >= 0; at-- {
			if !there[place{key, g.slices[at].name()}] {
				s.cutSlice(key, g, at)
			}
		}
	}
}
