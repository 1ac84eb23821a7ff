package ingress

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

// lookup are the objects that annotations and settings refer to, as far as they are known.
type lookup interface {
	Secret(types.NamespacedName) *corev1.Secret
	ConfigMap(types.NamespacedName) *corev1.ConfigMap
	Service(types.NamespacedName) *corev1.Service
}

// references are the objects that an Ingress of ours refers to.
func (o *Options) references(ing *networkingv1.Ingress, have lookup) []Key {
	var out []Key
	add := func(k Kind, name string) {
		if name != "" {
			out = append(out, Key{Kind: k, Namespace: ing.Namespace, Name: name})
		}
	}
	backend := func(b *networkingv1.IngressBackend) {
		if b != nil && b.Service != nil {
			add(KindService, b.Service.Name)
		}
	}
	backend(ing.Spec.DefaultBackend)
	for i := range ing.Spec.Rules {
		if http := ing.Spec.Rules[i].HTTP; http != nil {
			for j := range http.Paths {
				backend(&http.Paths[j].Backend)
			}
		}
	}
	for i := range ing.Spec.TLS {
		add(KindSecret, ing.Spec.TLS[i].SecretName)
	}
	return out
}

// settingReferences are the objects that the settings refer to.
func (o *Options) settingReferences(have lookup) []Key {
	var out []Key
	if o.DefaultCertificate.Name != "" {
		out = append(out, keyOf(KindSecret, o.DefaultCertificate))
	}
	if o.DefaultBackend.Name != "" {
		out = append(out, keyOf(KindService, o.DefaultBackend))
	}
	return out
}
