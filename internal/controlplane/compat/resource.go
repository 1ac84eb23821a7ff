package compat

import (
	extensionsv1beta1 "k8s.io/api/extensions/v1beta1"
	networkingv1 "k8s.io/api/networking/v1"
	networkingv1beta1 "k8s.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// resource is one resource of an old version.
type resource struct {
	old, today schema.GroupVersion
	name, kind string // the same in both
	// subresources are those that the old version had.
	subresources []string
	// forms says what an internal object is like in today's form where that
	// differs from the old one. It returns nothing where nothing differs.
	forms func(runtime.Object) []string
}

// resources are all that are served, in the order in which they are installed.
var resources = []resource{
	{networkingv1beta1.SchemeGroupVersion, networkingv1.SchemeGroupVersion, "ingresses", "Ingress", []string{"status"}, ingressForms},
	{networkingv1beta1.SchemeGroupVersion, networkingv1.SchemeGroupVersion, "ingressclasses", "IngressClass", nil, sameForm},
	{extensionsv1beta1.SchemeGroupVersion, networkingv1.SchemeGroupVersion, "ingresses", "Ingress", []string{"status"}, ingressForms},
}

// byOld has the resources by what the old version calls them: every admission
// plugin looks there for every write.
var byOld = func() map[schema.GroupVersionResource]*resource {
	m := make(map[schema.GroupVersionResource]*resource, len(resources))
	for i, r := range resources {
		m[r.old.WithResource(r.name)] = &resources[i]
	}
	return m
}()

// find returns the resource of an old version, or nil.
func find(gvr schema.GroupVersionResource) *resource { return byOld[gvr] }

// sameForm is the form of kinds of which only the apiVersion differs.
func sameForm(runtime.Object) []string { return nil }
