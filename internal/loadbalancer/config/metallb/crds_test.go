package metallb

import (
	"context"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	crdvalidation "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	schemavalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
)

// types are the Go types by kind.
var types = map[string]reflect.Type{
	KindIPAddressPool:      reflect.TypeFor[IPAddressPool](),
	KindL2Advertisement:    reflect.TypeFor[L2Advertisement](),
	KindBGPAdvertisement:   reflect.TypeFor[BGPAdvertisement](),
	KindBGPPeer:            reflect.TypeFor[BGPPeer](),
	KindBFDProfile:         reflect.TypeFor[BFDProfile](),
	KindCommunity:          reflect.TypeFor[Community](),
	KindServiceL2Status:    reflect.TypeFor[ServiceL2Status](),
	KindServiceBGPStatus:   reflect.TypeFor[ServiceBGPStatus](),
	KindConfigurationState: reflect.TypeFor[ConfigurationState](),
}

func definitions(t *testing.T) map[string]*apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	all, err := CustomResourceDefinitions()
	if err != nil {
		t.Fatal(err)
	}
	byKind := map[string]*apiextensionsv1.CustomResourceDefinition{}
	for _, crd := range all {
		byKind[crd.Spec.Names.Kind] = crd
	}
	return byKind
}

// schemas returns the schema of a version, as the API server has it.
func schemas(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition, version string) (*apiextensions.JSONSchemaProps, *schema.Structural) {
	t.Helper()
	i := slices.IndexFunc(crd.Spec.Versions, func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == version })
	if i < 0 {
		t.Fatalf("%s has no version %s", crd.Name, version)
	}
	internal := new(apiextensions.JSONSchemaProps)
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(crd.Spec.Versions[i].Schema.OpenAPIV3Schema, internal, nil); err != nil {
		t.Fatal(err)
	}
	structural, err := schema.NewStructural(internal)
	if err != nil {
		t.Fatalf("%s: %v", crd.Name, err)
	}
	return internal, structural
}

func TestDefinitionsAreThoseOfAllKinds(t *testing.T) {
	var got, want []string
	for kind := range definitions(t) {
		got = append(got, kind)
	}
	for kind := range types {
		want = append(want, kind)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	all, err := CustomResourceDefinitions()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.IsSortedFunc(all, func(a, b *apiextensionsv1.CustomResourceDefinition) int { return strings.Compare(a.Name, b.Name) }) {
		t.Error("the definitions are not sorted by name")
	}
}

func TestDefinitionsAreValid(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	for kind, crd := range definitions(t) {
		t.Run(kind, func(t *testing.T) {
			apiextensionsv1.SetObjectDefaults_CustomResourceDefinition(crd)
			internal := new(apiextensions.CustomResourceDefinition)
			if err := apiextensionsv1.Convert_v1_CustomResourceDefinition_To_apiextensions_CustomResourceDefinition(crd, internal, nil); err != nil {
				t.Fatal(err)
			}
			internal.Status.StoredVersions = []string{"v1beta1"}
			if kind == KindBGPPeer {
				internal.Status.StoredVersions = []string{"v1beta2"}
			}
			if errs := crdvalidation.ValidateCustomResourceDefinition(context.Background(), internal); len(errs) > 0 {
				t.Error(errs.ToAggregate())
			}
			for _, v := range crd.Spec.Versions {
				_, structural := schemas(t, crd, v.Name)
				if errs := schema.ValidateStructural(nil, structural); len(errs) > 0 {
					t.Errorf("%s: %v", v.Name, errs.ToAggregate())
				}
				described(t, kind, structural)
			}
		})
	}
}

// described checks that kubectl explain has a sentence for each field.
func described(t *testing.T, path string, s *schema.Structural) {
	for name, p := range s.Properties {
		if name != "metadata" && p.Description == "" {
			t.Errorf("%s.%s has no description", path, name)
		}
		described(t, path+"."+name, &p)
	}
	if s.Items != nil {
		described(t, path+"[]", s.Items)
	}
}

func TestColumns(t *testing.T) {
	want := map[string][]string{
		KindIPAddressPool:      {"Auto Assign", "Avoid Buggy IPs", "Addresses"},
		KindL2Advertisement:    {"IPAddressPools", "IPAddressPool Selectors", "Interfaces", "Node Selectors"},
		KindBGPAdvertisement:   {"IPAddressPools", "IPAddressPool Selectors", "Peers", "Node Selectors"},
		KindBGPPeer:            {"Address", "ASN", "BFD Profile", "Multi Hops"},
		KindBFDProfile:         {"Passive Mode", "Transmit Interval", "Receive Interval", "Multiplier"},
		KindServiceL2Status:    {"Allocated Node", "Service Name", "Service Namespace"},
		KindServiceBGPStatus:   {"Node", "Service Name", "Service Namespace"},
		KindConfigurationState: {"Result", "ErrorSummary", "Age"},
		KindCommunity:          nil,
	}
	for kind, crd := range definitions(t) {
		for _, v := range crd.Spec.Versions {
			var got []string
			for _, c := range v.AdditionalPrinterColumns {
				got = append(got, c.Name)
			}
			if diff := cmp.Diff(want[kind], got); diff != "" {
				t.Errorf("%s %s:\n%s", kind, v.Name, diff)
			}
			if v.Subresources == nil || v.Subresources.Status == nil {
				t.Errorf("%s %s has no status subresource", kind, v.Name)
			}
		}
	}
}

func TestTypesAndSchemasHaveTheSameFields(t *testing.T) {
	for kind, crd := range definitions(t) {
		for _, v := range crd.Spec.Versions {
			_, structural := schemas(t, crd, v.Name)
			want := map[string]string{}
			fieldsOfSchema(want, "", structural)
			got := map[string]string{}
			fieldsOfType(got, "", types[kind])
			if !v.Storage {
				for path := range got { // an older version has a part of the fields
					if _, ok := want[path]; !ok && strings.HasPrefix(path, ".spec.") {
						delete(got, path)
					}
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s %s: schema (-) and Go type (+) differ:\n%s", kind, v.Name, diff)
			}
		}
	}
}

func fieldsOfSchema(all map[string]string, path string, s *schema.Structural) {
	all[path] = s.Type
	if path == ".metadata" {
		return
	}
	for name, p := range s.Properties {
		fieldsOfSchema(all, path+"."+name, &p)
	}
	if s.Items != nil {
		fieldsOfSchema(all, path+"[]", s.Items)
	}
	if s.AdditionalProperties != nil {
		fieldsOfSchema(all, path+"{}", s.AdditionalProperties.Structural)
	}
}

func fieldsOfType(all map[string]string, path string, t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch {
	case t == reflect.TypeFor[metav1.Time]():
		all[path] = "string"
	case path == ".metadata":
		all[path] = "object"
	case t.Kind() == reflect.Struct:
		all[path] = "object"
		for i := range t.NumField() {
			name, rest, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
			if rest == "inline" {
				fieldsOfType(all, path, t.Field(i).Type)
			} else {
				fieldsOfType(all, path+"."+name, t.Field(i).Type)
			}
		}
	case t.Kind() == reflect.Slice:
		all[path] = "array"
		fieldsOfType(all, path+"[]", t.Elem())
	case t.Kind() == reflect.Map:
		all[path] = "object"
		fieldsOfType(all, path+"{}", t.Elem())
	case t.Kind() == reflect.Int64:
		all[path] = "integer"
	case t.Kind() == reflect.Bool:
		all[path] = "boolean"
	default:
		all[path] = t.Kind().String()
	}
}

// store does with an object what the API server does: prune, default, validate.
func store(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition, version string, object, old map[string]any) []string {
	t.Helper()
	internal, structural := schemas(t, crd, version)
	pruning.Prune(object, structural, true)
	defaulting.Default(object, structural)
	validator, _, err := schemavalidation.NewSchemaValidator(internal)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range schemavalidation.ValidateCustomResource(nil, object, validator) {
		all = append(all, e.Error())
	}
	if rules := cel.NewValidator(structural, true, celconfig.PerCallLimit); rules != nil {
		var before any
		if old != nil {
			before = old
		}
		errs, _ := rules.Validate(context.Background(), nil, structural, object, before, celconfig.RuntimeCELCostBudget)
		for _, e := range errs {
			all = append(all, e.Error())
		}
	}
	return all
}
