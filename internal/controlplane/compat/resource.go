package compat

import (
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsapiserver "k8s.io/apiextensions-apiserver/pkg/apiserver"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// resource is one resource of an old version.
type resource struct {
	old, today schema.GroupVersion
	name, kind string // the same in both
	// subresources are those that the old version had.
	subresources []string
	// forms says what an internal object is like in today's form where that
	// differs from the old one. It returns nothing where nothing differs. It is
	// nil for kinds of which formsOf says it.
	forms func(runtime.Object) []string
}

// byOld has the resources by what the old version calls them: every admission
// plugin looks there for every write.
var byOld = func() map[schema.GroupVersionResource]*resource {
	m := map[schema.GroupVersionResource]*resource{definition.old.WithResource(definition.name): &definition}
	for i, r := range resources {
		m[r.old.WithResource(r.name)] = &resources[i]
	}
	return m
}()

// find returns the resource of an old version, or nil.
func find(gvr schema.GroupVersionResource) *resource { return byOld[gvr] }

// findKind returns the resource of an old version by its kind, or nil.
func findKind(gvk schema.GroupVersionKind) *resource {
	for _, r := range byOld {
		if r.old.WithKind(r.kind) == gvk {
			return r
		}
	}
	return nil
}

// scheme has the versions of the resource.
func (r *resource) scheme() *runtime.Scheme {
	if r.today.Group == apiextensions.GroupName {
		return apiextensionsapiserver.Scheme
	}
	return legacyscheme.Scheme
}

// changes says what an internal object is like in today's form.
func (r *resource) changes(obj runtime.Object) []string {
	if r.forms != nil {
		return r.forms(obj)
	}
	return formsOf(r, obj)
}
