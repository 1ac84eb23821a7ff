package proxy

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keep is a transform for informers: it drops the fields of a Node that this process does not read, which are most of it.
func keep(obj any) (any, error) {
	o, ok := obj.(*corev1.Node)
	if !ok {
		return obj, nil
	}
	out := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: o.Name, ResourceVersion: o.ResourceVersion, DeletionTimestamp: o.DeletionTimestamp}}
	if zone, ok := o.Labels[corev1.LabelTopologyZone]; ok {
		out.Labels = map[string]string{corev1.LabelTopologyZone: zone}
	}
	out.Spec.Taints, out.Status.Addresses = o.Spec.Taints, o.Status.Addresses
	return out, nil
}
