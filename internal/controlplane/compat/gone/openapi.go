package gone

import (
	"reflect"
	"slices"
	"strings"

	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// named is a type that has a definition of its own.
type named interface{ OpenAPIModelName() string }

// Definitions are the OpenAPI definitions of the kinds. Types of Kubernetes' packages
// are referred to by ref.
func Definitions(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
	out := map[string]common.OpenAPIDefinition{}
	for _, kind := range []named{AutoscalerV2beta1{}, AutoscalerV2beta1List{}, AutoscalerV2beta2{}, AutoscalerV2beta2List{}, CronJobV2alpha1{}, CronJobV2alpha1List{}, PodSecurityPolicy{}} {
		d := definition{ref: ref}
		s := d.structure(reflect.TypeOf(kind))
		out[kind.OpenAPIModelName()] = common.OpenAPIDefinition{Schema: s, Dependencies: d.uses}
	}
	return out
}

// definition collects what a definition refers to.
type definition struct {
	ref  common.ReferenceCallback
	uses []string
}

// schema is that of a field's type.
func (d *definition) schema(t reflect.Type) spec.Schema {
	if n, ok := reflect.Zero(t).Interface().(named); ok && t.Kind() == reflect.Struct {
		name := n.OpenAPIModelName()
		if !slices.Contains(d.uses, name) {
			d.uses = append(d.uses, name)
		}
		return spec.Schema{SchemaProps: spec.SchemaProps{Ref: d.ref(name)}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return d.schema(t.Elem())
	case reflect.Struct:
		return d.structure(t)
	case reflect.Slice:
		item := d.schema(t.Elem())
		return spec.Schema{
			VendorExtensible: spec.VendorExtensible{Extensions: spec.Extensions{"x-kubernetes-list-type": "atomic"}},
			SchemaProps:      spec.SchemaProps{Type: []string{"array"}, Items: &spec.SchemaOrArray{Schema: &item}},
		}
	case reflect.Int32:
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"integer"}, Format: "int32"}}
	case reflect.Int64:
		return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"integer"}, Format: "int64"}}
	}
	return spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"string"}}}
}

// structure is the schema of a struct, with the fields of those that it embeds inline.
func (d *definition) structure(t reflect.Type) spec.Schema {
	out := spec.Schema{SchemaProps: spec.SchemaProps{Type: []string{"object"}, Properties: map[string]spec.Schema{}}}
	for i := range t.NumField() {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" && strings.Contains(options, "inline") {
			inline := d.structure(f.Type)
			for name, property := range inline.Properties {
				out.Properties[name] = property
			}
			continue
		}
		out.Properties[name] = d.schema(f.Type)
		if !strings.Contains(options, "omitempty") {
			out.Required = append(out.Required, name)
		}
	}
	return out
}
