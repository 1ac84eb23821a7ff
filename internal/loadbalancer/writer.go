package loadbalancer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"minato/internal/loadbalancer/pool"
)

// fieldManager names the Controller in managedFields.
const fieldManager = "minato-loadbalancer"

// writeTimeout bounds one request.
const writeTimeout = 10 * time.Second

// errGone says that the Service, or the one of that name that was decided about, does not exist any more.
var errGone = errors.New("the Service does not exist any more")

// writer brings one Service at a time to its target. It keeps nothing.
type writer struct{ client kubernetes.Interface }

// write returns the newest state of the Service that it learned of, also with an error. Every request names the version
// of the Service that was decided about: the API refuses it if that is not the latest, and the answer is then the latest.
//
// A Service gets its marks and its address in one request, and loses the address before the marks.
func (w writer) write(ctx context.Context, s *corev1.Service, t target) (*corev1.Service, error) {
	steps := []func(context.Context, *corev1.Service, target) (*corev1.Service, error){w.publish, w.mark}
	for _, step := range steps {
		is, err := step(ctx, s, t)
		if err != nil {
			return w.refused(ctx, s, err)
		}
		s = is
	}
	return s, nil
}

// mark adds or removes finalizer and annotation, where publish has not done that.
func (w writer) mark(ctx context.Context, s *corev1.Service, t target) (*corev1.Service, error) {
	if marks := marksOf(s, t); marks != nil {
		return w.patch(ctx, s, map[string]any{"metadata": marks})
	}
	return s, nil
}

// marksOf is the metadata that brings finalizer and annotation to where they are to be; nil if they are there.
func marksOf(s *corev1.Service, t target) map[string]any {
	finalizers := slices.DeleteFunc(slices.Clone(s.Finalizers), func(f string) bool { return f == Finalizer })
	var value any // null removes the annotation
	if t.marked {
		value = t.pool
		finalizers = append(finalizers, Finalizer)
		if slices.Contains(s.Finalizers, Finalizer) {
			finalizers = s.Finalizers
		}
	}
	has, is := s.Annotations[pool.AnnotationAllocatedFrom]
	if len(finalizers) == len(s.Finalizers) && is == t.marked && (!is || has == t.pool) {
		return nil
	}
	return map[string]any{
		"uid": s.UID, "resourceVersion": s.ResourceVersion,
		"finalizers":  finalizers,
		"annotations": map[string]any{pool.AnnotationAllocatedFrom: value},
	}
}

// publish writes the status, and with it the marks of a Service that gets an address: a write of the status changes
// metadata as well.
func (w writer) publish(ctx context.Context, s *corev1.Service, t target) (*corev1.Service, error) {
	if !t.status || sameIngress(s.Status.LoadBalancer.Ingress, t.ingress) {
		return s, nil
	}
	var list any // null removes the list
	if len(t.ingress) > 0 {
		list = t.ingress
	}
	metadata := map[string]any{"uid": s.UID, "resourceVersion": s.ResourceVersion}
	if marks := marksOf(s, t); t.marked && marks != nil {
		metadata = marks
	}
	return w.patch(ctx, s, map[string]any{
		"metadata": metadata,
		"status":   map[string]any{"loadBalancer": map[string]any{"ingress": list}},
	}, "status")
}

func (w writer) patch(ctx context.Context, s *corev1.Service, change map[string]any, subresources ...string) (*corev1.Service, error) {
	body, err := json.Marshal(change)
	if err != nil {
		return nil, fmt.Errorf("encode the change of Service %s: %w", keyOf(s), err)
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	is, err := w.client.CoreV1().Services(s.Namespace).Patch(ctx, s.Name, types.MergePatchType, body, metav1.PatchOptions{FieldManager: fieldManager}, subresources...)
	if err != nil {
		return nil, fmt.Errorf("write the load balancer of Service %s: %w", keyOf(s), err)
	}
	return is, nil
}

// refused learns what the Service is like if it is not what the request was about.
func (w writer) refused(ctx context.Context, s *corev1.Service, err error) (*corev1.Service, error) {
	if apierrors.IsNotFound(err) {
		return s, errGone
	}
	if !apierrors.IsConflict(err) && !apierrors.IsInvalid(err) {
		return s, err
	}
	ctx, cancel := context.WithTimeout(ctx, writeTimeout)
	defer cancel()
	is, getErr := w.client.CoreV1().Services(s.Namespace).Get(ctx, s.Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(getErr):
		return s, errGone
	case getErr != nil:
		return s, errors.Join(err, fmt.Errorf("read Service %s: %w", keyOf(s), getErr))
	case is.UID != s.UID:
		return s, errGone
	}
	return is, err
}
