package balancer

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keep is a transform for informers: it drops the fields of objects that this process does not read, which are most of them.
func (cfg *Config) keep(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Service:
		return keepService(o), nil
	case *discoveryv1.EndpointSlice:
		return keepSlice(o), nil
	case *corev1.Node:
		return cfg.keepNode(o), nil
	case *corev1.Namespace:
		return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Labels: o.Labels}}, nil
	}
	return obj, nil
}

// keepService keeps what a Service of another type may have to lose: finalizer and annotations.
func keepService(o *corev1.Service) *corev1.Service {
	out := &corev1.Service{ObjectMeta: o.ObjectMeta}
	out.ManagedFields = nil
	delete(out.Annotations, corev1.LastAppliedConfigAnnotation)
	if out.Spec.Type = o.Spec.Type; o.Spec.Type == corev1.ServiceTypeLoadBalancer {
		out.Spec, out.Status = o.Spec, o.Status
	}
	return out
}

// keepSlice keeps where endpoints are and whether they serve.
func keepSlice(o *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: o.Namespace, Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Labels: o.Labels,
		},
		AddressType: o.AddressType, Ports: o.Ports,
	}
	for _, e := range o.Endpoints {
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{Addresses: e.Addresses, NodeName: e.NodeName, Conditions: e.Conditions})
	}
	return out
}

// keepNode keeps what elections go by. The label that excludes a node is dropped if it is to be ignored.
func (cfg *Config) keepNode(o *corev1.Node) *corev1.Node {
	out := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: o.Name, UID: o.UID, ResourceVersion: o.ResourceVersion, Labels: o.Labels}}
	if cfg.IgnoreExclude {
		out.Labels = maps.Clone(o.Labels)
		delete(out.Labels, corev1.LabelNodeExcludeBalancers)
	}
	out.Status.Addresses = o.Status.Addresses
	for _, c := range o.Status.Conditions {
		if c.Type == corev1.NodeNetworkUnavailable {
			out.Status.Conditions = []corev1.NodeCondition{{Type: c.Type, Status: c.Status}}
		}
	}
	return out
}
