package compat

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
)

// Today returns an object in today's form, as the API server would store it: one
// of an old version that is served here is converted, with the defaults of its
// version. Every other one is returned as it is.
func Today(obj runtime.Object) (runtime.Object, error) {
	kinds, _, err := legacyscheme.Scheme.ObjectKinds(obj)
	if err != nil {
		return obj, nil // which none of these versions has
	}
	i := slices.IndexFunc(resources, func(r resource) bool { return slices.Contains(kinds, r.old.WithKind(r.kind)) })
	if i < 0 {
		return obj, nil
	}
	r := &resources[i]
	obj = obj.DeepCopyObject()
	legacyscheme.Scheme.Default(obj)
	internal, err := legacyscheme.Scheme.ConvertToVersion(obj, schema.GroupVersion{Group: r.old.Group, Version: runtime.APIVersionInternal})
	if err == nil {
		obj, err = legacyscheme.Scheme.ConvertToVersion(internal, r.today)
	}
	if err != nil {
		return nil, fmt.Errorf("convert %s of %s to %s: %w", r.kind, r.old, r.today, err)
	}
	return obj, nil
}
