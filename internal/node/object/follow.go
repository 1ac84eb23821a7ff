package object

import (
	"context"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"minato/internal/node/guard"
)

// watched is one object that Pods hold. The store's lock guards it.
type watched struct {
	holders map[types.UID]bool
	cancel  context.CancelFunc
	// object is what the API server said last, nil if it does not exist. It may
	// be relied upon while current is set, which is while a watch runs.
	object  metav1.Object
	current bool
}

// begin watches an object, from the version that a Pod has read if there is
// one. The store's lock is held.
func (s *Store) begin(r Ref, o metav1.Object) *watched {
	ctx, cancel := context.WithCancel(context.Background())
	w := &watched{holders: map[types.UID]bool{}, cancel: cancel, object: o, current: o != nil}
	version := ""
	if o != nil {
		version = o.GetResourceVersion()
	}
	s.watched[r] = w
	s.running.Add(1)
	go func() {
		defer s.running.Done()
		s.follow(ctx, r, w, version)
	}()
	return w
}

// follow watches one object until ctx ends. Without a version to begin at it
// lists the object first.
func (s *Store) follow(ctx context.Context, r Ref, w *watched, version string) {
	wait := newBackoff()
	for ctx.Err() == nil {
		if err := guard.Do("watch "+r.String(), func() error { version = s.once(ctx, r, w, version, wait); return nil }); err != nil {
			version = "" // anything may have been missed
			s.cfg.Logger.Error("the node agent panicked while it watched an object of a pod; will watch it anew", "object", r.String(), "error", err, "stack", string(guard.Stack(err)))
		}
		s.distrust(w)
		if !wait.sleep(ctx) {
			return
		}
	}
}

// once follows the object until the watch ends, and returns the version to go
// on from, empty if that is lost.
func (s *Store) once(ctx context.Context, r Ref, w *watched, version string, wait *backoff) string {
	if version == "" {
		o, listed, err := s.list(ctx, r)
		if err != nil {
			return ""
		}
		// Between two watches anything may have happened.
		if had := s.set(w, o, true); had || o != nil {
			s.notify(w)
		}
		version = listed
	}
	events, err := s.watch(ctx, r, version)
	if err != nil {
		return ""
	}
	s.trust(w)
	return s.drain(ctx, w, events, version, wait)
}

// drain takes changes in until the watch ends, and returns the version to go on
// from, empty if that is lost.
func (s *Store) drain(ctx context.Context, w *watched, events watch.Interface, version string, wait *backoff) string {
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
			switch e.Type {
			case watch.Bookmark:
				continue
			case watch.Deleted:
				o = nil
			}
			s.set(w, o, false)
			s.notify(w)
		}
	}
}

// set takes in what the API server says of an object, nil if it does not exist,
// unless a Pod has read a later version; listed says that there is none. It
// returns whether there was an object before.
func (s *Store) set(w *watched, o metav1.Object, listed bool) (had bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	had = w.object != nil
	if listed || !older(o, w.object) {
		w.object = o
	}
	w.current = true
	return had
}

func (s *Store) trust(w *watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.current = true
}

// distrust has Pods ask the API server until there is a watch again.
func (s *Store) distrust(w *watched) {
	s.mu.Lock()
	defer s.mu.Unlock()
	w.current = false
}

// notify tells all holders that something has changed.
func (s *Store) notify(w *watched) {
	s.mu.Lock()
	uids := make([]types.UID, 0, len(w.holders))
	for uid := range w.holders {
		uids = append(uids, uid)
	}
	s.mu.Unlock()
	for _, uid := range uids {
		s.cfg.Changed(uid)
	}
}

// only selects one object of its namespace, which is all that a node may list.
func (r Ref) only(version string) metav1.ListOptions {
	return metav1.ListOptions{
		FieldSelector:   fields.OneTermEqualSelector("metadata.name", r.Name).String(),
		ResourceVersion: version,
	}
}

// list returns the object, nil if it does not exist, and the version at which
// that was so.
func (s *Store) list(ctx context.Context, r Ref) (metav1.Object, string, error) {
	if r.Kind == Secret {
		all, err := s.cfg.Client.CoreV1().Secrets(r.Namespace).List(ctx, r.only(""))
		if err != nil {
			return nil, "", err
		}
		return pick[v1.Secret](all.Items, r.Name), all.ResourceVersion, nil
	}
	all, err := s.cfg.Client.CoreV1().ConfigMaps(r.Namespace).List(ctx, r.only(""))
	if err != nil {
		return nil, "", err
	}
	return pick[v1.ConfigMap](all.Items, r.Name), all.ResourceVersion, nil
}

func pick[T any, P interface {
	*T
	metav1.Object
}](items []T, name string) metav1.Object {
	for i := range items {
		if o := P(&items[i]); o.GetName() == name {
			return o
		}
	}
	return nil
}

func (s *Store) watch(ctx context.Context, r Ref, version string) (watch.Interface, error) {
	o := r.only(version)
	o.AllowWatchBookmarks = true
	if r.Kind == Secret {
		return s.cfg.Client.CoreV1().Secrets(r.Namespace).Watch(ctx, o)
	}
	return s.cfg.Client.CoreV1().ConfigMaps(r.Namespace).Watch(ctx, o)
}
