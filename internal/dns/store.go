package dns

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/dns/zone"
)

// StoreConfig says what a Store follows. The caller starts the informers.
type StoreConfig struct {
	Zone           zone.Config
	Services       coreinformers.ServiceInformer
	EndpointSlices discoveryinformers.EndpointSliceInformer
	// Namespaces may be nil: a namespace then exists while it has a Service.
	Namespaces coreinformers.NamespaceInformer
	// Client, if not nil, is used to follow Pods once Configure asks for them.
	Client kubernetes.Interface
	Logger *slog.Logger
}

// Store keeps the zone in step with the API objects.
type Store struct {
	log     *slog.Logger
	sources []source
	mu      sync.Mutex // guards table's writing methods
	table   *zone.Table
	synced  atomic.Bool
	ready   chan struct{} // closed at the first complete snapshot
	once    sync.Once     // of ready
	dirty   chan struct{} // capacity 1: there is something to commit

	client  kubernetes.Interface
	wanted  settingsOfZone // guarded by mu
	changed chan struct{}  // capacity 1: wanted has changed
}

// source is one kind of object that the zone is made from.
type source struct {
	name     string
	informer cache.SharedIndexInformer
	set, del func(any)
}

// NewStore checks cfg and asks for the informers, so that a factory started
// from now on starts them too.
func NewStore(cfg StoreConfig) (*Store, error) {
	if cfg.Services == nil || cfg.EndpointSlices == nil {
		return nil, errors.New("dns store: the Services and EndpointSlices informers are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	table, err := zone.New(cfg.Zone)
	if err != nil {
		return nil, fmt.Errorf("dns store: %w", err)
	}
	s := &Store{
		log:   cfg.Logger,
		table: table,
		ready: make(chan struct{}),
		dirty: make(chan struct{}, 1),

		client:  cfg.Client,
		changed: make(chan struct{}, 1),
	}
	s.sources = []source{
		{"Services", cfg.Services.Informer(), s.setService, s.deleteService},
		{"EndpointSlices", cfg.EndpointSlices.Informer(), s.setSlice, s.deleteSlice},
	}
	if cfg.Namespaces != nil {
		s.sources = append(s.sources, source{"Namespaces", cfg.Namespaces.Informer(), s.setNamespace, s.deleteNamespace})
	}
	return s, nil
}

// Snapshot returns the zone, or nil until every object has been read once: before
// that, a name that exists would be answered with NXDOMAIN.
func (s *Store) Snapshot() *zone.Snapshot {
	if !s.synced.Load() {
		return nil
	}
	return s.table.Snapshot()
}

// Synced reports whether the zone is complete.
func (s *Store) Synced() bool { return s.synced.Load() }

// Ready is closed once the zone is complete.
func (s *Store) Ready() <-chan struct{} { return s.ready }

// Run follows the informers until ctx ends. It must not be called again before
// it has returned.
func (s *Store) Run(ctx context.Context) error {
	var synced []cache.InformerSynced
	for _, src := range s.sources {
		reg, err := src.informer.AddEventHandler(s.handler(src.set, src.del))
		if err != nil {
			return fmt.Errorf("dns store: watch %s: %w", src.name, err)
		}
		defer func() { _ = src.informer.RemoveEventHandler(reg) }() // fails only when the informer has stopped already
		synced = append(synced, reg.HasSynced)
	}
	if !cache.WaitForCacheSync(ctx.Done(), synced...) {
		return nil // ctx ended
	}
	snap := s.commit()
	s.synced.Store(true)
	s.once.Do(func() { close(s.ready) })
	s.log.Info("cluster names loaded", "services", snap.Services())
	pods := podWatch{store: s}
	defer pods.stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			s.configure(ctx, &pods)
		case <-s.dirty:
			s.commit()
		}
	}
}

// handler turns events into changes of the table. Changes that arrive while a
// snapshot is being made go into the next snapshot together.
func (s *Store) handler(set, del func(any)) cache.ResourceEventHandler {
	change := func(fn func(any), obj any) {
		if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = gone.Obj
		}
		s.mu.Lock()
		fn(obj)
		s.mu.Unlock()
		select {
		case s.dirty <- struct{}{}:
		default: // Run is going to commit anyway
		}
	}
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { change(set, obj) },
		UpdateFunc: func(_, obj any) { change(set, obj) },
		DeleteFunc: func(obj any) { change(del, obj) },
	}
}

func (s *Store) commit() *zone.Snapshot {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.table.Commit()
}

func (s *Store) setService(obj any) {
	if o, ok := obj.(*corev1.Service); ok {
		s.table.SetService(o)
	}
}

func (s *Store) deleteService(obj any) {
	if o, ok := obj.(*corev1.Service); ok {
		s.table.DeleteService(o.Namespace, o.Name)
	}
}

func (s *Store) setSlice(obj any) {
	if o, ok := obj.(*discoveryv1.EndpointSlice); ok {
		s.table.SetEndpointSlice(o)
	}
}

func (s *Store) deleteSlice(obj any) {
	if o, ok := obj.(*discoveryv1.EndpointSlice); ok {
		s.table.DeleteEndpointSlice(o.Namespace, o.Name)
	}
}

func (s *Store) setNamespace(obj any) {
	if o, ok := obj.(*corev1.Namespace); ok {
		s.table.SetNamespace(o.Name)
	}
}

func (s *Store) deleteNamespace(obj any) {
	if o, ok := obj.(*corev1.Namespace); ok {
		s.table.DeleteNamespace(o.Name)
	}
}
