package ingress

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	discoveryinformers "k8s.io/client-go/informers/discovery/v1"
	networkinginformers "k8s.io/client-go/informers/networking/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

// ObjectsConfig says where objects come from.
type ObjectsConfig struct {
	// Client reads single Secrets and ConfigMaps.
	Client kubernetes.Interface
	// The informers are the cluster's; whoever owns them starts them.
	Ingresses networkinginformers.IngressInformer
	Classes   networkinginformers.IngressClassInformer
	Services  coreinformers.ServiceInformer
	Slices    discoveryinformers.EndpointSliceInformer
	Options   Options
	// Namespaces, if not nil, are those whose Ingresses are served.
	Namespaces *Namespaces
	Logger     *slog.Logger
}

// Objects collects what the proxies of a process's nodes are made from: the Ingresses that are ours, and of all else what
// they and the settings refer to. One goroutine does all the work, so what it delivers is in order.
type Objects struct {
	cfg ObjectsConfig
	log *slog.Logger

	wake   chan struct{}
	wanted chan struct{} // closed when there is something to serve

	notes struct { // what others have seen
		sync.Mutex
		dirty map[Key]struct{}
		reads map[Key]reading
	}

	mu        sync.Mutex // of what follows: the goroutine of Run writes
	items     map[Key]*item
	used      usage
	singles   map[Key]*single
	looked    map[Key]bool // of singles: something is known
	slices    map[types.NamespacedName]map[string]struct{}
	followers map[*follower]struct{}
	synced    bool
	isWanted  bool
}

// reading is what a single has read.
type reading struct {
	object object
	err    error
}

// bySliceService is an index of slices, by the Service that they name.
const bySliceService = "minato.local/ingress-service"

// NewObjects makes Objects that Run fills.
func NewObjects(cfg ObjectsConfig) (*Objects, error) {
	if cfg.Client == nil || cfg.Ingresses == nil || cfg.Classes == nil || cfg.Services == nil || cfg.Slices == nil {
		return nil, errors.New("objects of the ingress: a client and informers for Ingresses, IngressClasses, Services and EndpointSlices are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	o := &Objects{cfg: cfg, log: cfg.Logger, wake: make(chan struct{}, 1), wanted: make(chan struct{}), followers: map[*follower]struct{}{}}
	askFor(cfg.Ingresses, cfg.Classes, cfg.Services, cfg.Slices)
	if cfg.Namespaces != nil {
		askFor(cfg.Namespaces.Informer)
	}
	o.notes.dirty, o.notes.reads = map[Key]struct{}{}, map[Key]reading{}
	o.reset()
	if err := indexSlices(cfg.Slices.Informer()); err != nil {
		return nil, err
	}
	return o, nil
}

// indexSlices has slices found by the Service that they name.
func indexSlices(informer cache.SharedIndexInformer) error {
	if _, has := informer.GetIndexer().GetIndexers()[bySliceService]; has {
		return nil
	}
	err := informer.AddIndexers(cache.Indexers{bySliceService: func(obj any) ([]string, error) {
		s, ok := obj.(*discoveryv1.EndpointSlice)
		if !ok || s.Labels[discoveryv1.LabelServiceName] == "" {
			return nil, nil
		}
		return []string{s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]}, nil
	}})
	if err != nil {
		return fmt.Errorf("index EndpointSlices by Service: %w", err)
	}
	return nil
}

// askFor asks for informers: a factory starts only those that somebody has asked for by then.
func askFor(informers ...interface {
	Informer() cache.SharedIndexInformer
}) {
	for _, i := range informers {
		i.Informer()
	}
}

func (o *Objects) reset() {
	o.items, o.singles, o.looked = map[Key]*item{}, map[Key]*single{}, map[Key]bool{}
	o.used = newUsage()
	o.slices = map[types.NamespacedName]map[string]struct{}{}
	o.synced = false
}

// Wanted is closed when there is something to serve for the first time.
func (o *Objects) Wanted() <-chan struct{} { return o.wanted }

// Run follows the cluster until ctx ends. It may be called again after it has returned; followers stay.
func (o *Objects) Run(ctx context.Context) error {
	stop, waits, err := o.subscribe()
	if ctx.Err() != nil && err != nil {
		return nil // the informers have stopped before
	}
	if err != nil {
		return err
	}
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	var singles sync.WaitGroup
	defer singles.Wait()
	defer cancel()
	o.begin()
	informed := make(chan struct{})
	singles.Go(func() {
		if cache.WaitFor(ctx, "", waits...) {
			close(informed)
		}
	})
	w := &worker{Objects: o, start: func(s *single) {
		singleCtx, stop := context.WithCancel(ctx)
		s.stop = stop
		singles.Go(func() { s.run(singleCtx) })
	}}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-informed:
			informed, w.informed = nil, true
		case <-o.wake:
		}
		w.step()
	}
}

// begin forgets what an earlier Run knew of, and has everything looked at.
func (o *Objects) begin() {
	o.mu.Lock()
	o.reset()
	o.mu.Unlock()
	for _, name := range o.cfg.Options.settingNames() {
		o.note(keyOf(KindConfigMap, name))
	}
}

// note has an object looked at.
func (o *Objects) note(keys ...Key) {
	o.notes.Lock()
	for _, k := range keys {
		o.notes.dirty[k] = struct{}{}
	}
	o.notes.Unlock()
	poke(o.wake)
}

// read takes what a single has read.
func (o *Objects) read(k Key, is object, err error) {
	o.notes.Lock()
	o.notes.reads[k] = reading{is, err}
	o.notes.dirty[k] = struct{}{}
	o.notes.Unlock()
	poke(o.wake)
}

// poke wakes who reads a channel of capacity one.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// subscribe has every change noted.
func (o *Objects) subscribe() (stop func(), waits []cache.DoneChecker, err error) {
	var stops []func()
	stop = func() {
		for _, s := range stops {
			s()
		}
	}
	for _, f := range []struct {
		informer cache.SharedIndexInformer
		key      func(any) Key
	}{
		{o.cfg.Classes.Informer(), func(obj any) Key { return metaKey(KindClass, obj) }},
		{o.cfg.Services.Informer(), func(obj any) Key { return metaKey(KindService, obj) }},
		{o.cfg.Slices.Informer(), serviceOfSlice},
		{o.cfg.Ingresses.Informer(), func(obj any) Key { return metaKey(KindIngress, obj) }},
	} {
		tell := func(objs ...any) {
			for _, obj := range objs {
				if k := f.key(obj); k.Name != "" {
					o.note(k)
				}
			}
		}
		r, err := f.informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(obj any) { tell(obj) }, DeleteFunc: func(obj any) { tell(obj) },
			UpdateFunc: func(was, is any) {
				if f.key(was) == f.key(is) {
					was = nil
				}
				tell(is, was)
			},
		})
		if err != nil {
			stop()
			return nil, nil, fmt.Errorf("follow the objects of the ingress: %w", err)
		}
		stops = append(stops, func() { _ = f.informer.RemoveEventHandler(r) }) // it fails only if the informer has stopped
		waits = append(waits, r.HasSyncedChecker())
	}
	if o.cfg.Namespaces != nil {
		end, synced, err := o.cfg.Namespaces.follow(o.cfg.Ingresses.Informer(), func(k Key) { o.note(k) })
		if err != nil {
			stop()
			return nil, nil, fmt.Errorf("follow the namespaces of the ingress: %w", err)
		}
		stops, waits = append(stops, end), append(waits, synced)
	}
	return stop, waits, nil
}

func metaKey(k Kind, obj any) Key {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if m, ok := obj.(object); ok {
		return Key{Kind: k, Namespace: m.GetNamespace(), Name: m.GetName()}
	}
	return Key{}
}

// serviceOfSlice is the Service that a slice is of: they are looked at together.
func serviceOfSlice(obj any) Key {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	if s, ok := obj.(*discoveryv1.EndpointSlice); ok && s.Labels[discoveryv1.LabelServiceName] != "" {
		return Key{Kind: KindService, Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
	}
	return Key{}
}

// stored returns an object of an informer, nil if there is none.
func stored[T object](informer cache.SharedIndexInformer, k Key) (T, bool) {
	name := k.Name
	if k.Namespace != "" {
		name = k.Namespace + "/" + k.Name
	}
	obj, _, _ := informer.GetIndexer().GetByKey(name) // a key of this kind makes no error
	t, ok := obj.(T)
	return t, ok
}

func (o *Objects) sliceObjects(service types.NamespacedName) []*discoveryv1.EndpointSlice {
	all, _ := o.cfg.Slices.Informer().GetIndexer().ByIndex(bySliceService, service.String()) // an index that is there makes no error
	out := make([]*discoveryv1.EndpointSlice, 0, len(all))
	for _, obj := range all {
		if s, ok := obj.(*discoveryv1.EndpointSlice); ok {
			out = append(out, s)
		}
	}
	return out
}

func (o *Objects) classes() []*networkingv1.IngressClass {
	return listClasses(o.cfg.Classes.Informer())
}

// Secret, ConfigMap and Service are what was read so far: they implement nginx.Objects. The goroutine of Run calls them.
func (o *Objects) Secret(n types.NamespacedName) *corev1.Secret {
	s, _ := o.object(keyOf(KindSecret, n)).(*corev1.Secret)
	return s
}

// ConfigMap is part of nginx.Objects.
func (o *Objects) ConfigMap(n types.NamespacedName) *corev1.ConfigMap {
	m, _ := o.object(keyOf(KindConfigMap, n)).(*corev1.ConfigMap)
	return m
}

// Service is part of nginx.Objects.
func (o *Objects) Service(n types.NamespacedName) *corev1.Service {
	s, _ := stored[*corev1.Service](o.cfg.Services.Informer(), keyOf(KindService, n))
	return s
}

func (o *Objects) object(k Key) object {
	if it := o.items[k]; it != nil {
		return it.object
	}
	return nil
}
