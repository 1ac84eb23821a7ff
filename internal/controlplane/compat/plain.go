package compat

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// plainly returns an object, internal or not, as the fields that it has in a
// version, with the defaults of that version.
func plainly(scheme *runtime.Scheme, obj runtime.Object, gv schema.GroupVersion) (map[string]any, error) {
	versioned, err := scheme.ConvertToVersion(obj.DeepCopyObject(), gv)
	if err != nil {
		return nil, fmt.Errorf("convert to %s: %w", gv, err)
	}
	scheme.Default(versioned)
	return fieldsOf(versioned)
}

// fieldsOf returns the fields of a versioned object, without those that the API
// server alone writes.
func fieldsOf(versioned runtime.Object) (map[string]any, error) {
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(versioned)
	if err != nil {
		return nil, fmt.Errorf("take fields apart: %w", err)
	}
	delete(fields, "status")
	if m, ok := fields["metadata"].(map[string]any); ok {
		for _, name := range []string{"creationTimestamp", "managedFields", "uid", "resourceVersion", "generation", "selfLink"} {
			delete(m, name)
		}
	}
	dropEmpty(fields)
	return fields, nil
}

// dropEmpty drops null, which is the same as no field, and creationTimestamps of
// templates.
func dropEmpty(v any) {
	switch v := v.(type) {
	case map[string]any:
		for name, value := range v {
			if value == nil {
				delete(v, name)
				continue
			}
			dropEmpty(value)
		}
	case []any:
		for _, value := range v {
			dropEmpty(value)
		}
	}
}

// defaulted returns fields with the defaults of their version filled in.
func defaulted(scheme *runtime.Scheme, fields map[string]any, gvk schema.GroupVersionKind) (map[string]any, error) {
	obj, err := scheme.New(gvk)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", gvk.Kind, err)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, obj); err != nil {
		return nil, fmt.Errorf("read a %s: %w", gvk.Kind, err)
	}
	scheme.Default(obj)
	obj.GetObjectKind().SetGroupVersionKind(gvk)
	return fieldsOf(obj)
}

// step is one step of the way to a field: its name, or the place in a list.
type step struct {
	name  string
	index int // of a list, if name is empty
}

// steps are the way to a field.
type steps []step

// then returns the way one step further, in memory of its own.
func (s steps) then(next step) steps { return append(slices.Clone(s), next) }

// String writes the way as error messages of Kubernetes do.
func (s steps) String() string {
	var path *field.Path
	for _, next := range s {
		switch {
		case next.name == "":
			path = path.Index(next.index)
		case strings.ContainsAny(next.name, "./"):
			path = path.Key(next.name)
		default:
			path = path.Child(next.name)
		}
	}
	return path.String()
}

// at returns what is at the end of the way.
func (s steps) at(v any) (any, bool) {
	for _, next := range s {
		switch in := v.(type) {
		case map[string]any:
			value, ok := in[next.name]
			if !ok || next.name == "" {
				return nil, false
			}
			v = value
		case []any:
			if next.name != "" || next.index >= len(in) {
				return nil, false
			}
			v = in[next.index]
		default:
			return nil, false
		}
	}
	return v, true
}

// drop removes the field at the end of the way, which must be one of a mapping,
// and returns a function that puts it back.
func (s steps) drop(v map[string]any) (back func()) {
	parent, _ := s[:len(s)-1].at(v)
	in, ok := parent.(map[string]any)
	if !ok {
		return func() {}
	}
	name := s[len(s)-1].name
	value, had := in[name]
	delete(in, name)
	return func() {
		if had {
			in[name] = value
		}
	}
}

// restored tells whether the defaults of a version give back the field at the end
// of the way if it is left out. full has all defaults; fields are maybe fewer, and
// are as they were afterwards.
func restored(scheme *runtime.Scheme, full, fields map[string]any, gvk schema.GroupVersionKind, way steps) bool {
	back := way.drop(fields)
	got, err := defaulted(scheme, fields, gvk)
	back() // before the comparison: full and fields may be the same
	return err == nil && equality.Semantic.DeepEqual(got, full)
}

// names are the names of a mapping's fields, in order.
func names(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
