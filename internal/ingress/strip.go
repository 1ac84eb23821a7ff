package ingress

import (
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// strip returns an object with what a proxy goes by and nothing else. It shares memory with the one that it is given.
func strip(o object) object {
	switch o := o.(type) {
	case *networkingv1.IngressClass:
		return &networkingv1.IngressClass{ObjectMeta: stripMeta(&o.ObjectMeta), Spec: o.Spec}
	case *corev1.Secret:
		return &corev1.Secret{ObjectMeta: stripMeta(&o.ObjectMeta), Type: o.Type, Data: o.Data}
	case *corev1.ConfigMap:
		return &corev1.ConfigMap{ObjectMeta: stripMeta(&o.ObjectMeta), Data: o.Data}
	case *corev1.Service:
		return &corev1.Service{ObjectMeta: stripMeta(&o.ObjectMeta), Spec: corev1.ServiceSpec{
			Type: o.Spec.Type, Ports: o.Spec.Ports, ClusterIP: o.Spec.ClusterIP, ClusterIPs: o.Spec.ClusterIPs,
			IPFamilies: o.Spec.IPFamilies, ExternalName: o.Spec.ExternalName,
		}}
	case *discoveryv1.EndpointSlice:
		return stripSlice(o)
	case *networkingv1.Ingress:
		return &networkingv1.Ingress{ObjectMeta: stripMeta(&o.ObjectMeta), Spec: o.Spec}
	}
	return o
}

func stripSlice(o *discoveryv1.EndpointSlice) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: stripMeta(&o.ObjectMeta), AddressType: o.AddressType, Ports: o.Ports,
		Endpoints: make([]discoveryv1.Endpoint, len(o.Endpoints)),
	}
	out.Annotations = nil // the time of the last change, which decides nothing
	for i := range o.Endpoints {
		e := &o.Endpoints[i]
		out.Endpoints[i] = discoveryv1.Endpoint{Addresses: e.Addresses, Conditions: e.Conditions, NodeName: e.NodeName, Zone: e.Zone, Hints: e.Hints}
	}
	return out
}

func stripMeta(m *metav1.ObjectMeta) metav1.ObjectMeta {
	out := metav1.ObjectMeta{
		Namespace: m.Namespace, Name: m.Name, UID: m.UID, ResourceVersion: m.ResourceVersion,
		CreationTimestamp: m.CreationTimestamp, Labels: m.Labels, Annotations: m.Annotations,
	}
	if _, has := m.Annotations[corev1.LastAppliedConfigAnnotation]; has {
		out.Annotations = make(map[string]string, len(m.Annotations))
		for k, v := range m.Annotations {
			if k != corev1.LastAppliedConfigAnnotation {
				out.Annotations[k] = v
			}
		}
	}
	return out
}

// same tells whether two stripped objects differ in nothing but their version.
func same(a, b object) bool {
	switch a := a.(type) {
	case *networkingv1.Ingress:
		b, ok := b.(*networkingv1.Ingress)
		return ok && sameMeta(&a.ObjectMeta, &b.ObjectMeta) && equality.Semantic.DeepEqual(&a.Spec, &b.Spec)
	case *corev1.Service:
		b, ok := b.(*corev1.Service)
		return ok && sameMeta(&a.ObjectMeta, &b.ObjectMeta) && equality.Semantic.DeepEqual(&a.Spec, &b.Spec)
	case *discoveryv1.EndpointSlice:
		b, ok := b.(*discoveryv1.EndpointSlice)
		return ok && sameMeta(&a.ObjectMeta, &b.ObjectMeta) && a.AddressType == b.AddressType &&
			equality.Semantic.DeepEqual(a.Ports, b.Ports) && equality.Semantic.DeepEqual(a.Endpoints, b.Endpoints)
	case *corev1.Secret:
		b, ok := b.(*corev1.Secret)
		return ok && a.UID == b.UID && a.Type == b.Type && equality.Semantic.DeepEqual(a.Data, b.Data)
	case *corev1.ConfigMap:
		b, ok := b.(*corev1.ConfigMap)
		return ok && a.UID == b.UID && equality.Semantic.DeepEqual(a.Data, b.Data)
	case *networkingv1.IngressClass:
		b, ok := b.(*networkingv1.IngressClass)
		return ok && sameMeta(&a.ObjectMeta, &b.ObjectMeta) && equality.Semantic.DeepEqual(&a.Spec, &b.Spec)
	}
	return false
}

func sameMeta(a, b *metav1.ObjectMeta) bool {
	return a.UID == b.UID && a.CreationTimestamp.Equal(&b.CreationTimestamp) &&
		equality.Semantic.DeepEqual(a.Annotations, b.Annotations) && equality.Semantic.DeepEqual(a.Labels, b.Labels)
}
