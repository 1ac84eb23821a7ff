package object

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
)

// Kind is the kind of a referenced object.
type Kind string

// The kinds that Pods refer to by name.
const (
	ConfigMap Kind = "ConfigMap"
	Secret    Kind = "Secret"
)

// Ref names an object.
type Ref struct {
	Kind            Kind
	Namespace, Name string
}

func (r Ref) String() string { return fmt.Sprintf("%s %s/%s", r.Kind, r.Namespace, r.Name) }

// Config is what a Store needs.
type Config struct {
	Client kubernetes.Interface
	// Changed is called, from a goroutine of the store, when an object that
	// the Pod holds has changed, appeared or gone.
	Changed func(uid types.UID)
	Logger  *slog.Logger
}

// Store fetches and watches objects.
type Store struct {
	cfg Config

	mu      sync.Mutex
	watched map[Ref]*watched
	held    map[types.UID]map[Ref]bool // what each Pod holds
	// read holds what Pods have read and do not hold yet: what they are going
	// to use, and where their watches begin.
	read    map[types.UID]map[Ref]metav1.Object
	running sync.WaitGroup
	closed  bool
}

// New returns a store that watches nothing yet.
func New(cfg Config) *Store {
	return &Store{cfg: cfg, watched: map[Ref]*watched{}, held: map[types.UID]map[Ref]bool{}, read: map[types.UID]map[Ref]metav1.Object{}}
}

// ConfigMap reads a ConfigMap from the API server, as it is now. It is for what
// is decided once, such as the environment of a container.
func (s *Store) ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error) {
	cm, err := patiently(ctx, func() (*v1.ConfigMap, error) {
		return s.cfg.Client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, named(err, "configmap", name)
	}
	return cm, nil
}

// Secret reads a Secret from the API server, as it is now.
func (s *Store) Secret(ctx context.Context, namespace, name string) (*v1.Secret, error) {
	sec, err := patiently(ctx, func() (*v1.Secret, error) {
		return s.cfg.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, named(err, "secret", name)
	}
	return sec, nil
}

// PersistentVolumeClaim reads a claim from the API server, as it is now.
func (s *Store) PersistentVolumeClaim(ctx context.Context, namespace, name string) (*v1.PersistentVolumeClaim, error) {
	pvc, err := patiently(ctx, func() (*v1.PersistentVolumeClaim, error) {
		return s.cfg.Client.CoreV1().PersistentVolumeClaims(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, named(err, "persistentvolumeclaim", name)
	}
	return pvc, nil
}

// PersistentVolume reads a PersistentVolume from the API server, as it is now.
func (s *Store) PersistentVolume(ctx context.Context, name string) (*v1.PersistentVolume, error) {
	pv, err := patiently(ctx, func() (*v1.PersistentVolume, error) {
		return s.cfg.Client.CoreV1().PersistentVolumes().Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, named(err, "persistentvolume", name)
	}
	return pv, nil
}

// Hold watches refs on behalf of a Pod and gives up what the Pod held before
// and refs no longer names.
func (s *Store) Hold(uid types.UID, refs []Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	want := make(map[Ref]bool, len(refs))
	for _, r := range refs {
		want[r] = true
		w := s.watched[r]
		if w == nil {
			w = s.begin(r, s.read[uid][r])
		}
		w.holders[uid] = true
	}
	delete(s.read, uid)
	for r := range s.held[uid] {
		w := s.watched[r]
		if want[r] || w == nil {
			continue
		}
		if delete(w.holders, uid); len(w.holders) == 0 {
			w.cancel()
			delete(s.watched, r)
		}
	}
	if s.held[uid] = want; len(want) == 0 {
		delete(s.held, uid)
	}
}

// Release gives up everything that the Pod holds.
func (s *Store) Release(uid types.UID) { s.Hold(uid, nil) }

// Close ends all watches and waits for them.
func (s *Store) Close() {
	s.mu.Lock()
	s.closed = true
	for r, w := range s.watched {
		w.cancel()
		delete(s.watched, r)
	}
	s.mu.Unlock()
	s.running.Wait()
}
