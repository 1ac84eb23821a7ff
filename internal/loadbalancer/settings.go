package loadbalancer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

// ConfigMapName is the ConfigMap of MetalLB 0.7 to 0.12, in config.Namespace.
const ConfigMapName = "config"

// ConfigMapKey is the key of the ConfigMap that has the configuration.
const ConfigMapKey = "config"

// SettingsConfig says where Settings come from.
type SettingsConfig struct {
	// Client reads the ConfigMap, Dynamic the objects of metallb.io.
	Client  kubernetes.Interface
	Dynamic dynamic.Interface
	// Default are the ranges of the cluster's own pool; empty for none.
	Default []config.Range
	Logger  *slog.Logger
}

// Settings follows the configuration of load balancing, once for all its users in a process.
type Settings struct {
	cfg    SettingsConfig
	kinds  map[string]*kind // by name of the kind
	dirty  chan struct{}
	synced chan struct{}

	mu        sync.Mutex
	known     bool // current was read from everything there is
	current   config.Config
	followers map[int]func()
	next      int
	maps      cache.Store // has at most the one ConfigMap; nil until it was read
}

// NewSettings checks cfg.
func NewSettings(cfg SettingsConfig) (*Settings, error) {
	if cfg.Client == nil || cfg.Dynamic == nil {
		return nil, errors.New("settings of load balancing: a Client and a Dynamic client are required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Settings{
		cfg: cfg, kinds: map[string]*kind{}, followers: map[int]func(){},
		dirty: make(chan struct{}, 1), synced: make(chan struct{}),
	}
	for name, resource := range configKinds() {
		s.kinds[name] = &kind{
			name: name, resource: resource, client: cfg.Dynamic, log: cfg.Logger,
			meanwhile: "no address is given", changed: func() { poke(s.dirty) },
		}
	}
	return s, nil
}

// configKinds are the kinds that configure load balancing.
func configKinds() map[string]schema.GroupVersionResource {
	v1beta1 := schema.GroupVersion{Group: metallb.Group, Version: "v1beta1"}
	return map[string]schema.GroupVersionResource{
		metallb.KindIPAddressPool:    v1beta1.WithResource("ipaddresspools"),
		metallb.KindL2Advertisement:  v1beta1.WithResource("l2advertisements"),
		metallb.KindBGPAdvertisement: v1beta1.WithResource("bgpadvertisements"),
		metallb.KindBGPPeer:          {Group: metallb.Group, Version: "v1beta2", Resource: "bgppeers"},
		metallb.KindBFDProfile:       v1beta1.WithResource("bfdprofiles"),
		metallb.KindCommunity:        v1beta1.WithResource("communities"),
	}
}

// Synced is closed once the whole configuration was read, so that Current has it.
func (s *Settings) Synced() <-chan struct{} { return s.synced }

// Current returns the configuration. Before all of it was read, known is false: an address that was given then might be
// one that the configuration forbids.
func (s *Settings) Current() (c config.Config, known bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current, s.known
}

// Follow calls changed each time that Current may have changed, also when an object was replaced by an equal one, until
// stop is called. It must not block.
func (s *Settings) Follow(changed func()) (stop func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.next
	s.next++
	s.followers[id] = changed
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.followers, id)
	}
}

// Run follows the configuration until ctx ends. It must not be called again before it has returned.
func (s *Settings) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var followed sync.WaitGroup
	defer followed.Wait()
	defer cancel()
	appeared := newSignal()
	for _, k := range s.kinds {
		followed.Go(func() { k.follow(ctx, appeared) })
	}
	followed.Go(func() { s.followMap(ctx) })
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-s.dirty:
			s.reload()
		}
	}
}

// followMap follows the one ConfigMap and nothing else of its namespace.
func (s *Settings) followMap(ctx context.Context) {
	f := informers.NewSharedInformerFactoryWithOptions(s.cfg.Client, 0, informers.WithNamespace(config.Namespace),
		informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, ConfigMapName).String()
		}))
	informer := f.Core().V1().ConfigMaps().Informer()
	tell := func() { poke(s.dirty) }
	r, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { tell() }, UpdateFunc: func(any, any) { tell() }, DeleteFunc: func(any) { tell() },
	})
	if err != nil { // it does not happen before the informer runs
		s.cfg.Logger.Error("The ConfigMap of the load balancers' configuration can't be followed", "error", err)
		return
	}
	var done sync.WaitGroup
	defer done.Wait()
	done.Go(func() { informer.RunWithContext(ctx) })
	slow := time.AfterFunc(probeTimeout, func() {
		s.cfg.Logger.Warn("The ConfigMap of the load balancers' configuration could not be read yet; until then no address is given",
			"namespace", config.Namespace, "name", ConfigMapName)
	})
	defer slow.Stop()
	if cache.WaitFor(ctx, "", r.HasSyncedChecker()) {
		slow.Stop()
		s.mu.Lock()
		s.maps = informer.GetStore()
		s.mu.Unlock()
		tell()
	}
	<-ctx.Done()
}

// reload makes the configuration anew.
func (s *Settings) reload() {
	c, known := s.read()
	if !known {
		return
	}
	s.mu.Lock()
	first := !s.known
	s.current, s.known = c, true
	var tell []func()
	for _, f := range s.followers {
		tell = append(tell, f)
	}
	s.mu.Unlock()
	if first {
		close(s.synced)
	}
	for _, f := range tell {
		f()
	}
}

// configMap returns the ConfigMap, nil if there is none; known is false as long as it was not read.
func (s *Settings) configMap() (m *corev1.ConfigMap, known bool) {
	s.mu.Lock()
	store := s.maps
	s.mu.Unlock()
	if store == nil {
		return nil, false
	}
	o, _, _ := store.GetByKey(config.Namespace + "/" + ConfigMapName) // a key of this kind makes no error
	m, _ = o.(*corev1.ConfigMap)
	return m, true
}

// read makes the configuration of all objects; known is false as long as some were not read.
func (s *Settings) read() (c config.Config, known bool) {
	m, known := s.configMap()
	if !known {
		return c, false
	}
	objects := config.Objects{DefaultRanges: s.cfg.Default}
	if m != nil {
		text := m.Data[ConfigMapKey] // an empty one is told of as such
		objects.ConfigMap = &text
	}
	for _, k := range s.kinds {
		all, known := k.objects()
		if !known {
			return c, false
		}
		for _, u := range all {
			_ = objects.Add(u.Object) // the problem is in the result as well
		}
	}
	return config.Read(objects), true
}

// Objects names all objects of the group metallb.io that configure load balancing, sorted.
func (s *Settings) Objects() []config.Object {
	var out []config.Object
	for _, k := range s.kinds {
		all, _ := k.objects()
		for _, u := range all {
			out = append(out, config.Object{Kind: k.name, Namespace: u.GetNamespace(), Name: u.GetName()})
		}
	}
	slices.SortFunc(out, func(a, b config.Object) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// Resource is what the API calls a kind of the configuration.
func (s *Settings) Resource(kind string) schema.GroupVersionResource { return configKinds()[kind] }

// Object returns an object of the configuration, nil if there is none, or if it is not of the group metallb.io. It must
// not be changed.
func (s *Settings) Object(o config.Object) *unstructured.Unstructured {
	if k := s.kinds[o.Kind]; k != nil {
		return k.object(o.Namespace, o.Name)
	}
	return nil
}

// Reference is how events name an object of the configuration.
func (s *Settings) Reference(o config.Object) (corev1.ObjectReference, error) {
	if u := s.Object(o); u != nil {
		return corev1.ObjectReference{
			APIVersion: u.GetAPIVersion(), Kind: u.GetKind(), Namespace: u.GetNamespace(), Name: u.GetName(),
			UID: u.GetUID(), ResourceVersion: u.GetResourceVersion(),
		}, nil
	}
	if m, _ := s.configMap(); m != nil && o.Kind == "ConfigMap" {
		return corev1.ObjectReference{
			APIVersion: "v1", Kind: "ConfigMap", Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		}, nil
	}
	return corev1.ObjectReference{}, fmt.Errorf("%s %s/%s is not there any more", o.Kind, o.Namespace, o.Name)
}
