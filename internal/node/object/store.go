package object

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"

	"minato/internal/node/guard"
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
	// seen holds the versions read last, so that a watch that begins now says
	// only what is new since.
	seen    map[Ref]string
	running sync.WaitGroup
	closed  bool
}

type watched struct {
	holders map[types.UID]bool
	cancel  context.CancelFunc
}

// New returns a store that watches nothing yet.
func New(cfg Config) *Store {
	return &Store{cfg: cfg, watched: map[Ref]*watched{}, held: map[types.UID]map[Ref]bool{}, seen: map[Ref]string{}}
}

// ConfigMap reads a ConfigMap from the API server.
func (s *Store) ConfigMap(ctx context.Context, namespace, name string) (*v1.ConfigMap, error) {
	cm, err := patiently(ctx, func() (*v1.ConfigMap, error) {
		return s.cfg.Client.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, named(err, "configmap", name)
	}
	s.saw(Ref{ConfigMap, namespace, name}, cm.ResourceVersion)
	return cm, nil
}

// Secret reads a Secret from the API server.
func (s *Store) Secret(ctx context.Context, namespace, name string) (*v1.Secret, error) {
	sec, err := patiently(ctx, func() (*v1.Secret, error) {
		return s.cfg.Client.CoreV1().Secrets(namespace).Get(ctx, name, metav1.GetOptions{})
	})
	if err != nil {
		return nil, named(err, "secret", name)
	}
	s.saw(Ref{Secret, namespace, name}, sec.ResourceVersion)
	return sec, nil
}

// maxSeen bounds what is remembered of objects that nobody came to hold.
const maxSeen = 4096

func (s *Store) saw(r Ref, version string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) >= maxSeen {
		clear(s.seen)
	}
	s.seen[r] = version
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
			ctx, cancel := context.WithCancel(context.Background())
			w = &watched{holders: map[types.UID]bool{}, cancel: cancel}
			s.watched[r] = w
			s.running.Add(1)
			version := s.seen[r]
			delete(s.seen, r)
			go func() {
				defer s.running.Done()
				s.guarded(ctx, r, version)
			}()
		}
		w.holders[uid] = true
	}
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

func (s *Store) notify(r Ref) {
	s.mu.Lock()
	var uids []types.UID
	if w := s.watched[r]; w != nil {
		for uid := range w.holders {
			uids = append(uids, uid)
		}
	}
	s.mu.Unlock()
	for _, uid := range uids {
		s.cfg.Changed(uid)
	}
}

// guarded follows one object until ctx ends, anew after a panic.
func (s *Store) guarded(ctx context.Context, r Ref, version string) {
	wait := newBackoff()
	for missed := false; ; missed, version = true, "" {
		err := guard.Do("watch "+r.String(), func() error { s.follow(ctx, r, version, missed); return nil })
		if err == nil {
			return
		}
		s.cfg.Logger.Error("the node agent panicked while it watched an object of a pod; will watch it anew", "object", r.String(), "error", err, "stack", string(guard.Stack(err)))
		if !wait.sleep(ctx) {
			return
		}
	}
}

// follow watches one object until ctx ends. What it says is only that
// something changed: the reader fetches the object anew. missed says that
// something may have changed already.
func (s *Store) follow(ctx context.Context, r Ref, version string, missed bool) {
	wait := newBackoff()
	for ctx.Err() == nil {
		events, err := s.watch(ctx, r, version)
		if err != nil {
			version = ""
			missed = true
			if !wait.sleep(ctx) {
				return
			}
			continue
		}
		if missed { // between two watches anything may have happened
			s.notify(r)
			missed = false
		}
		version = s.drain(ctx, r, events, version, wait)
		missed = version == ""
		if !wait.sleep(ctx) {
			return
		}
	}
}

// drain reports changes until the watch ends, and returns the version to go on
// from, empty if that is lost.
func (s *Store) drain(ctx context.Context, r Ref, events watch.Interface, version string, wait *backoff) string {
	defer events.Stop()
	for {
		select {
		case <-ctx.Done():
			return version
		case e, ok := <-events.ResultChan():
			if !ok {
				return version
			}
			if e.Type == watch.Error {
				return ""
			}
			o, ok := e.Object.(metav1.Object)
			if !ok {
				continue
			}
			wait.reset()
			version = o.GetResourceVersion()
			if e.Type != watch.Bookmark {
				s.notify(r)
			}
		}
	}
}

func (s *Store) watch(ctx context.Context, r Ref, version string) (watch.Interface, error) {
	o := metav1.ListOptions{
		FieldSelector:       fields.OneTermEqualSelector("metadata.name", r.Name).String(),
		ResourceVersion:     version,
		AllowWatchBookmarks: true,
	}
	if r.Kind == Secret {
		return s.cfg.Client.CoreV1().Secrets(r.Namespace).Watch(ctx, o)
	}
	return s.cfg.Client.CoreV1().ConfigMaps(r.Namespace).Watch(ctx, o)
}
