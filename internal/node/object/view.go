package object

import (
	"context"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
)

// Volumes reads objects for the volumes of Pods. The first time that a Pod
// needs an object, it is read from the API server: a watch that runs for
// another Pod may be behind, and a Pod must find what was made or changed
// before it. Once the Pod holds the object, it is what the watch said last, so
// that looking after a volume costs no request.
type Volumes struct{ store *Store }

// Volumes returns the view of the store that volumes are made from. What it
// returns is shared and must not be changed.
func (s *Store) Volumes() Volumes { return Volumes{store: s} }

// ConfigMap reads a ConfigMap on behalf of a Pod.
func (v Volumes) ConfigMap(ctx context.Context, pod types.UID, namespace, name string) (*v1.ConfigMap, error) {
	r := Ref{ConfigMap, namespace, name}
	if o, ok := v.store.view(pod, r); ok {
		if cm, ok := o.(*v1.ConfigMap); ok {
			return cm, nil
		}
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "configmap"}, name)
	}
	cm, err := v.store.ConfigMap(ctx, namespace, name)
	if err != nil {
		v.store.missed(r, err)
		return nil, err
	}
	v.store.keep(pod, r, cm)
	return cm, nil
}

// Secret reads a Secret on behalf of a Pod.
func (v Volumes) Secret(ctx context.Context, pod types.UID, namespace, name string) (*v1.Secret, error) {
	r := Ref{Secret, namespace, name}
	if o, ok := v.store.view(pod, r); ok {
		if s, ok := o.(*v1.Secret); ok {
			return s, nil
		}
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
	}
	s, err := v.store.Secret(ctx, namespace, name)
	if err != nil {
		v.store.missed(r, err)
		return nil, err
	}
	v.store.keep(pod, r, s)
	return s, nil
}

// view returns what is known of an object without asking, nil if that is that
// it does not exist; ok is false if the Pod has to ask.
func (s *Store) view(pod types.UID, r Ref) (o metav1.Object, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[r]; w != nil && w.holders[pod] {
		return w.object, w.current
	}
	o, ok = s.read[pod][r]
	return o, ok
}

// keep notes what the API server answered. It may be ahead of the watch.
func (s *Store) keep(pod types.UID, r Ref, o metav1.Object) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[r]; w != nil {
		if !older(o, w.object) {
			w.object = o
		}
		if w.holders[pod] {
			return
		}
	}
	if s.closed {
		return
	}
	if s.read[pod] == nil {
		s.read[pod] = map[Ref]metav1.Object{}
	}
	s.read[pod][r] = o
}

// missed notes that the API server has no such object. A watch that does not
// know yet is not relied upon until it says something new.
func (s *Store) missed(r Ref, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w := s.watched[r]; w != nil && w.object != nil && apierrors.IsNotFound(err) {
		w.current = false
	}
}

// older tells whether a is an earlier version of what b is; what cannot be
// compared is not.
func older(a, b metav1.Object) bool {
	if a == nil || b == nil {
		return false
	}
	c, err := resourceversion.CompareResourceVersion(a.GetResourceVersion(), b.GetResourceVersion())
	return err == nil && c < 0
}
