package dns

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"minato/internal/dns/zone"
)

// Names of the ConfigMaps that hold the configuration. The Corefile is read only
// while there is no ConfigMap minato-dns.
const (
	ConfigMapName     = "minato-dns"
	ConfigMapKey      = "config.yaml"
	CorefileMapName   = "coredns"
	CorefileKey       = "Corefile"
	warningComponent  = "minato-dns"
	warningTimeout    = 5 * time.Second
	configMapResource = "ConfigMap"
)

// Configurable is what Settings configures: the Store.
type Configurable interface {
	// Configure sets the records' TTL, which Pod names exist, and whether Pods have to
	// be watched whatever their names.
	Configure(ttl uint32, pods zone.PodMode, watchPods bool)
}

// SettingsConfig says where Settings come from.
type SettingsConfig struct {
	// Client reads the ConfigMaps and writes Warning events; if it is nil, the
	// defaults stay in force.
	Client kubernetes.Interface
	// Domain is the cluster's domain.
	Domain string
	// Zone may be nil.
	Zone   Configurable
	Logger *slog.Logger
}

// Settings is the configuration in force. It follows the ConfigMaps; an invalid one
// changes nothing and is reported in a Warning event.
type Settings struct {
	cfg     SettingsConfig
	current atomic.Pointer[policy]
	loaded  atomic.Bool
	failed  atomic.Uint64
	reloads atomic.Uint64

	mu   sync.Mutex
	maps map[string]*corev1.ConfigMap // as they were seen last

	warning sync.WaitGroup // events that are being written
}

// NewSettings returns the defaults.
func NewSettings(cfg SettingsConfig) (*Settings, error) {
	if cfg.Domain == "" {
		return nil, errors.New("dns settings: Domain is required")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	p, err := newPolicy(Config{}, cfg.Domain)
	if err != nil {
		return nil, err
	}
	s := &Settings{cfg: cfg, maps: map[string]*corev1.ConfigMap{}}
	s.current.Store(p)
	return s, nil
}

func (s *Settings) policy() *policy { return s.current.Load() }

// Loaded reports whether the ConfigMaps have been read once.
func (s *Settings) Loaded() bool { return s.cfg.Client == nil || s.loaded.Load() }

// Run follows the ConfigMaps until ctx ends.
func (s *Settings) Run(ctx context.Context) error {
	if s.cfg.Client == nil {
		<-ctx.Done()
		return nil
	}
	var synced []cache.InformerSynced
	for _, name := range []string{ConfigMapName, CorefileMapName} {
		f := informers.NewSharedInformerFactoryWithOptions(s.cfg.Client, 0,
			informers.WithNamespace(ServiceNamespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
			}))
		change := func(obj any) { s.changed(ctx, name, obj, false) }
		reg, err := f.Core().V1().ConfigMaps().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    change,
			UpdateFunc: func(_, obj any) { change(obj) },
			DeleteFunc: func(obj any) { s.changed(ctx, name, obj, true) },
		})
		if err != nil {
			return fmt.Errorf("dns settings: watch ConfigMap %s/%s: %w", ServiceNamespace, name, err)
		}
		synced = append(synced, reg.HasSynced)
		f.Start(ctx.Done())
		defer f.Shutdown()
	}
	if cache.WaitForCacheSync(ctx.Done(), synced...) {
		s.loaded.Store(true)
		s.reload(ctx)
	}
	<-ctx.Done()
	s.warning.Wait()
	return nil
}

func (s *Settings) changed(ctx context.Context, name string, obj any, deleted bool) {
	if gone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = gone.Obj
	}
	m, ok := obj.(*corev1.ConfigMap)
	if !ok || m.Name != name {
		return
	}
	s.mu.Lock()
	s.maps[name] = m
	if deleted {
		delete(s.maps, name)
	}
	s.mu.Unlock()
	if s.loaded.Load() { // before that, a ConfigMap may be missing only because it was not read yet
		s.reload(ctx)
	}
}

// reload puts the configuration of the ConfigMaps, as they are now, into force.
// Questions that are being answered go on with the configuration they began with.
func (s *Settings) reload(ctx context.Context) {
	s.mu.Lock()
	defer s.mu.Unlock()
	source, c, notes, err := s.read()
	p := (*policy)(nil)
	if err == nil {
		p, err = newPolicy(c, s.cfg.Domain)
	}
	if err != nil {
		s.failed.Add(1)
		s.cfg.Logger.Error("The DNS configuration is invalid; the previous one stays in force", "configMap", source.Name, "error", err)
		s.warn(ctx, source, "InvalidConfiguration", err.Error())
		return
	}
	for _, n := range notes {
		s.cfg.Logger.Warn("A line of the Corefile is not understood and has no effect", "problem", n)
		s.warn(ctx, source, "NotUnderstood", n)
	}
	s.current.Store(p)
	s.reloads.Add(1)
	if s.cfg.Zone != nil {
		s.cfg.Zone.Configure(p.ttl, p.pods, p.autopath)
	}
	if source != nil {
		s.cfg.Logger.Info("The DNS configuration was loaded", "configMap", source.Name)
	}
}

// read returns the configuration and the ConfigMap that has it; source is nil for
// the defaults. The caller holds s.mu.
func (s *Settings) read() (source *corev1.ConfigMap, c Config, notes []string, err error) {
	if m := s.maps[ConfigMapName]; m != nil {
		text, ok := m.Data[ConfigMapKey]
		if !ok {
			return m, c, nil, fmt.Errorf("ConfigMap %s/%s has no key %s; write the configuration under this key, or delete the ConfigMap", m.Namespace, m.Name, ConfigMapKey)
		}
		c, err = ParseConfig([]byte(text), s.cfg.Domain)
		return m, c, nil, err
	}
	if m := s.maps[CorefileMapName]; m != nil {
		text, ok := m.Data[CorefileKey]
		if !ok {
			return m, c, nil, fmt.Errorf("ConfigMap %s/%s has no key %s; write the Corefile under this key, or delete the ConfigMap", m.Namespace, m.Name, CorefileKey)
		}
		c, notes, err = ParseCorefile(text, s.cfg.Domain)
		return m, c, notes, err
	}
	return nil, c, nil, nil
}

// Warn reports a problem to the cluster's operator: in the log, and as a Warning event
// of the ConfigMap or, if there is none, of the kube-dns Service.
func (s *Settings) Warn(ctx context.Context, reason, message string) {
	s.cfg.Logger.Warn(message, "reason", reason)
	s.mu.Lock()
	source, _, _, _ := s.read()
	s.mu.Unlock()
	s.warn(ctx, source, reason, message)
}

// warn writes an event. The event's name is made from its content, so that the same
// problem makes one event, however many nodes and reloads find it.
func (s *Settings) warn(ctx context.Context, about *corev1.ConfigMap, reason, message string) {
	if s.cfg.Client == nil {
		return
	}
	ref := corev1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: ServiceNamespace, Name: ServiceName}
	if about != nil {
		ref = corev1.ObjectReference{APIVersion: "v1", Kind: configMapResource, Namespace: about.Namespace, Name: about.Name, UID: about.UID, ResourceVersion: about.ResourceVersion}
	}
	sum := fnv.New64a()
	fmt.Fprint(sum, ref.ResourceVersion, reason, message)
	now := metav1.Now()
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: ServiceNamespace, Name: fmt.Sprintf("%s.%x", ref.Name, sum.Sum64())},
		InvolvedObject: ref,
		Type:           corev1.EventTypeWarning,
		Reason:         reason,
		Message:        message[:min(len(message), 1024)],
		Source:         corev1.EventSource{Component: warningComponent},
		FirstTimestamp: now, LastTimestamp: now, Count: 1,
	}
	s.warning.Add(1)
	go func() { // the API server may be slow, and the configuration does not wait for it
		defer s.warning.Done()
		ctx, cancel := context.WithTimeout(ctx, warningTimeout)
		defer cancel()
		_, err := s.cfg.Client.CoreV1().Events(ServiceNamespace).Create(ctx, event, metav1.CreateOptions{})
		if err != nil && !apierrors.IsAlreadyExists(err) {
			s.cfg.Logger.Debug("A Warning event could not be written", "reason", reason, "error", err)
		}
	}()
}
