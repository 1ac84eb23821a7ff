package config

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// selectors converts label selectors. The result is nil if there are none.
func selectors(path *field.Path, all []metav1.LabelSelector) ([]labels.Selector, field.ErrorList) {
	var result []labels.Selector
	var errs field.ErrorList
	for i := range all {
		s, err := metav1.LabelSelectorAsSelector(&all[i])
		if err != nil {
			errs = append(errs, invalidSelector(path.Index(i), err))
			continue
		}
		result = append(result, s)
	}
	return result, errs
}

func invalidSelector(path *field.Path, err error) *field.Error {
	return field.Invalid(path, field.OmitValueType{}, "is no label selector ("+err.Error()+
		"); use keys and values that labels may have and the operators In, NotIn, Exists and DoesNotExist")
}

func matchesAny(selectors []labels.Selector, set labels.Set) bool {
	return slices.ContainsFunc(selectors, func(s labels.Selector) bool { return s.Matches(set) })
}

// checkMeta finds what is wrong with an object whatever its kind is.
func checkMeta(o metav1.Object) field.ErrorList {
	path := field.NewPath("metadata")
	var errs field.ErrorList
	if o.GetName() == "" {
		errs = append(errs, field.Required(path.Child("name"), "has no name; give it one"))
	}
	if o.GetNamespace() != Namespace {
		errs = append(errs, field.Invalid(path.Child("namespace"), o.GetNamespace(),
			"the object is not in the namespace "+Namespace+", where alone it counts; create it there"))
	}
	return errs
}
