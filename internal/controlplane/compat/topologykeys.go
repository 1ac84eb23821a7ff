package compat

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kubernetes/pkg/apis/core"

	"minato/internal/controlplane/compat/gone"
	"minato/internal/service/route"
)

const (
	// topologyKeys is the field of a Service's spec that Kubernetes had from 1.17 to
	// 1.21 (KEP-2004). Today's types don't have it, so an annotation carries it.
	topologyKeys = "topologyKeys"
	// mostKeys is how many topology keys Kubernetes allowed.
	mostKeys = 16
)

// keysToAnnotation moves spec.topologyKeys of a Service, or of a patch for one, to
// the annotation. It tells whether there was the field. Null and an empty list
// remove the annotation, as null in a merge patch.
func keysToAnnotation(service map[string]any, mergePatch bool) (bool, error) {
	spec, ok := service["spec"].(map[string]any)
	if !ok {
		return false, nil
	}
	v, ok := spec[topologyKeys]
	if !ok {
		return false, nil
	}
	keys, err := keysOf(v)
	if err != nil {
		return false, err
	}
	delete(spec, topologyKeys)
	meta, ok := service["metadata"].(map[string]any)
	if !ok {
		meta = map[string]any{}
		service["metadata"] = meta
	}
	annotations, ok := meta["annotations"].(map[string]any)
	if !ok {
		annotations = map[string]any{}
		meta["annotations"] = annotations
	}
	switch {
	case len(keys) > 0:
		annotations[route.AnnotationTopologyKeys] = strings.Join(keys, ",")
	case mergePatch:
		annotations[route.AnnotationTopologyKeys] = nil
	default:
		delete(annotations, route.AnnotationTopologyKeys)
	}
	return true, nil
}

// keysOf reads the value of the field.
func keysOf(v any) ([]string, error) {
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, errors.New("spec.topologyKeys must be a list of label keys")
	}
	keys := make([]string, len(list))
	for i := range list {
		if keys[i], ok = list[i].(string); !ok || keys[i] == "" || strings.ContainsAny(keys[i], ", ") {
			return nil, fmt.Errorf("spec.topologyKeys[%d] must be a label key or %q", i, route.AnyTopology)
		}
	}
	return keys, nil
}

// keysFromAnnotation shows the annotation of a Service as the field, and tells
// whether there was something to show.
func keysFromAnnotation(service map[string]any) bool {
	meta, _ := service["metadata"].(map[string]any)
	annotations, _ := meta["annotations"].(map[string]any)
	text, _ := annotations[route.AnnotationTopologyKeys].(string)
	spec, ok := service["spec"].(map[string]any)
	keys := route.TopologyKeys(carrier(text))
	if !ok || len(keys) == 0 {
		return false
	}
	list := make([]any, len(keys))
	for i, key := range keys {
		list[i] = key
	}
	spec[topologyKeys] = list
	return true
}

// carrier is a Service with the annotation alone.
func carrier(text string) *corev1.Service {
	s := &corev1.Service{}
	s.Annotations = map[string]string{route.AnnotationTopologyKeys: text}
	return s
}

// checkTopologyKeys are the rules that Kubernetes had for the field.
func checkTopologyKeys(service *core.Service) field.ErrorList {
	path := field.NewPath("spec", topologyKeys)
	keys := route.TopologyKeys(carrier(service.Annotations[route.AnnotationTopologyKeys]))
	var errs field.ErrorList
	if len(keys) > 0 && service.Spec.ExternalTrafficPolicy == core.ServiceExternalTrafficPolicyLocal {
		errs = append(errs, field.Forbidden(path, "may not be used together with externalTrafficPolicy: Local"))
	}
	if len(keys) > mostKeys {
		errs = append(errs, field.TooMany(path, len(keys), mostKeys))
	}
	seen := sets.New[string]()
	for i, key := range keys {
		at := path.Index(i)
		if seen.Has(key) {
			errs = append(errs, field.Duplicate(at, key))
		}
		seen.Insert(key)
		if key == route.AnyTopology {
			if i != len(keys)-1 {
				errs = append(errs, field.Invalid(at, key, `"*" must be the last value`))
			}
			continue
		}
		for _, msg := range validation.IsQualifiedName(key) {
			errs = append(errs, field.Invalid(at, key, msg))
		}
	}
	return errs
}

// topologyForm says what today's Kubernetes has in place of topology keys.
func topologyForm(keys []string) string {
	what := "spec." + topologyKeys + ": [" + strings.Join(quoted(keys), ", ") + "] is honoured here, though Kubernetes v1.22 removed it; today's form: "
	if slices.Equal(keys, []string{route.AnyTopology}) {
		return what + "no field at all"
	}
	if name, value := todaysField(keys); name != "" {
		return what + "spec." + name + ": " + value
	}
	return what + "none that does the same; spec.trafficDistribution (PreferSameNode, PreferSameZone) and spec.internalTrafficPolicy: Local are what there is"
}

func isZone(key string) bool {
	return key == corev1.LabelTopologyZone || key == corev1.LabelFailureDomainBetaZone
}

func quoted(all []string) []string {
	out := make([]string, len(all))
	for i := range all {
		out[i] = text(all[i])
	}
	return out
}

// Definitions adds to the OpenAPI definitions what today's Kubernetes has not: the
// field, and kinds.
func Definitions(get common.GetOpenAPIDefinitions) common.GetOpenAPIDefinitions {
	return func(ref common.ReferenceCallback) map[string]common.OpenAPIDefinition {
		all := get(ref)
		maps.Copy(all, gone.Definitions(ref))
		name := corev1.ServiceSpec{}.OpenAPIModelName()
		d, ok := all[name]
		if !ok {
			return all
		}
		keys := spec.ArrayProperty(spec.StringProperty()).WithDescription("topologyKeys are labels of nodes, in the order in which traffic keeps to endpoints " +
			`on nodes with the same value; "*", the last, stands for all endpoints. Without a match traffic is dropped. It is of Kubernetes 1.17 to 1.21.`)
		keys.AddExtension("x-kubernetes-list-type", "atomic")
		d.Schema.Properties[topologyKeys] = *keys
		all[name] = d
		return all
	}
}

// todaysService returns a Service with what there is today in place of topology
// keys, nil if it has none. Keys that have no equal today are carried by the
// annotation, which this program alone understands.
func todaysService(fields map[string]any) (map[string]any, error) {
	spec, _ := fields["spec"].(map[string]any)
	v, ok := spec[topologyKeys]
	if !ok {
		return nil, nil
	}
	keys, err := keysOf(v)
	if err != nil {
		return nil, err
	}
	today := runtime.DeepCopyJSON(fields)
	spec, _ = today["spec"].(map[string]any)
	switch name, value := todaysField(keys); {
	case name != "":
		delete(spec, topologyKeys)
		spec[name] = value
	case len(keys) == 0 || slices.Equal(keys, []string{route.AnyTopology}):
		delete(spec, topologyKeys)
	default:
		if _, err := keysToAnnotation(today, false); err != nil {
			return nil, err
		}
	}
	return today, nil
}

// todaysField is the field that does what the keys did, empty if there is none.
func todaysField(keys []string) (name, value string) {
	switch {
	case slices.Equal(keys, []string{corev1.LabelHostname}):
		return "internalTrafficPolicy", "Local"
	case slices.Equal(keys, []string{corev1.LabelHostname, route.AnyTopology}):
		return "trafficDistribution", corev1.ServiceTrafficDistributionPreferSameNode
	case len(keys) == 2 && isZone(keys[0]) && keys[1] == route.AnyTopology:
		return "trafficDistribution", corev1.ServiceTrafficDistributionPreferSameZone
	case len(keys) == 3 && keys[0] == corev1.LabelHostname && isZone(keys[1]) && keys[2] == route.AnyTopology:
		return "trafficDistribution", corev1.ServiceTrafficDistributionPreferSameNode
	}
	return "", ""
}
