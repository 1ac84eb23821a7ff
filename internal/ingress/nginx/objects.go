package nginx

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Objects are what annotations and settings refer to. Each method returns nil for an object that isn't there.
type Objects interface {
	Secret(types.NamespacedName) *corev1.Secret
	ConfigMap(types.NamespacedName) *corev1.ConfigMap
	Service(types.NamespacedName) *corev1.Service
}

// Ref names an object that was asked for, whether it is there or not: when it changes, what asked must be read again.
type Ref struct {
	// Kind is Secret, ConfigMap or Service.
	Kind string
	types.NamespacedName
}

// refs are references in the order of kind and name, each once.
func sortRefs(refs []Ref) []Ref {
	slices.SortFunc(refs, func(a, b Ref) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return slices.Compact(refs)
}

// missingError is an object that isn't there.
type missingError struct {
	kind string
	name types.NamespacedName
}

func (e *missingError) Error() string {
	return "there is no " + e.kind + " " + e.name.String() + "; create it"
}
