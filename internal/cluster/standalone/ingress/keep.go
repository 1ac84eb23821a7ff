package ingress

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keep is a transform for informers: it drops the fields of objects that this process does not read.
func keep(obj any) (any, error) {
	switch o := obj.(type) {
	case *networkingv1.Ingress:
		// Who wrote the status says whose it is; what was written is in the status.
		fields := slices.DeleteFunc(slices.Clone(o.ManagedFields), func(f metav1.ManagedFieldsEntry) bool { return f.Subresource != "status" })
		for i := range fields {
			fields[i].FieldsV1 = nil
		}
		o.ManagedFields = fields
		delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
	case *networkingv1.IngressClass:
		o.ManagedFields = nil
	case *corev1.Service:
		o.ManagedFields = nil
		delete(o.Annotations, corev1.LastAppliedConfigAnnotation)
	case *discoveryv1.EndpointSlice:
		o.ManagedFields, o.Annotations = nil, nil
		for i := range o.Endpoints {
			o.Endpoints[i].TargetRef = nil
		}
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Labels: o.Labels}}, nil
	case *corev1.Node:
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion},
			Status:     corev1.NodeStatus{Addresses: o.Status.Addresses},
		}, nil
	case *corev1.Pod:
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, DeletionTimestamp: o.DeletionTimestamp},
			Spec:       corev1.PodSpec{NodeName: o.Spec.NodeName}, Status: corev1.PodStatus{Phase: o.Status.Phase},
		}, nil
	}
	return obj, nil
}
