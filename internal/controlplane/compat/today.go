package compat

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	"k8s.io/kubernetes/pkg/apis/discovery"
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
	internal, err := r.internal(obj)
	if err == nil {
		obj, err = r.scheme().ConvertToVersion(internal, r.today)
	}
	if err != nil {
		return nil, fmt.Errorf("convert %s of %s to %s: %w", r.kind, r.old, r.today, err)
	}
	return obj, nil
}

// internal returns an object of the old version as the API server works with it, with
// the defaults of its version.
func (r *resource) internal(obj runtime.Object) (runtime.Object, error) {
	obj = obj.DeepCopyObject()
	r.scheme().Default(obj)
	internal, err := r.scheme().ConvertToVersion(obj, schema.GroupVersion{Group: r.old.Group, Version: runtime.APIVersionInternal})
	if err != nil {
		return nil, err
	}
	adapt(internal)
	if crd, ok := internal.(*apiextensions.CustomResourceDefinition); ok {
		delete(crd.Annotations, keepsUnknown) // the schemas say it
	}
	return internal, nil
}

// adapt brings an internal object that was written in an old version to what means
// the same today, where upstream's conversion does not.
func adapt(obj runtime.Object) {
	switch obj := obj.(type) {
	case *apiextensions.CustomResourceDefinition:
		keepUnknownFields(obj)
	case *discovery.EndpointSlice:
		for i := range obj.Endpoints {
			nameNode(&obj.Endpoints[i])
		}
	}
}

// nameNode takes the node of an endpoint from the label that said it.
func nameNode(e *discovery.Endpoint) {
	node, ok := e.DeprecatedTopology[corev1.LabelHostname]
	if !ok || e.NodeName != nil {
		return
	}
	e.NodeName = &node
	e.DeprecatedTopology = maps.Clone(e.DeprecatedTopology)
	delete(e.DeprecatedTopology, corev1.LabelHostname)
}
