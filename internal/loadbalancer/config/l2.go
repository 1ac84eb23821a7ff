package config

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

// CheckL2Advertisement returns what keeps an L2Advertisement from being used.
func CheckL2Advertisement(object metallb.L2Advertisement) field.ErrorList {
	_, _, errs := readL2(object)
	return errs
}

// readL2 converts an L2Advertisement but for its pools, which it returns as they were selected.
func readL2(object metallb.L2Advertisement) (L2Advertisement, poolChoice, field.ErrorList) {
	spec := field.NewPath("spec")
	errs := checkMeta(&object)
	pools, more := readPoolChoice(object.Spec.IPAddressPools, object.Spec.IPAddressPoolSelectors)
	errs = append(errs, more...)
	nodes, more := selectors(spec.Child("nodeSelectors"), object.Spec.NodeSelectors)
	errs = append(errs, more...)
	services, more := selectors(spec.Child("serviceSelectors"), object.Spec.ServiceSelectors)
	errs = append(errs, more...)
	preferred, more := readPreferred(spec.Child("preferredNodeSelectors"), object.Spec.PreferredNodeSelectors)
	errs = append(errs, more...)
	for i, name := range object.Spec.Interfaces {
		if name == "" {
			errs = append(errs, field.Required(spec.Child("interfaces").Index(i), "is empty; name an interface, or leave the list out for all"))
		}
	}
	return L2Advertisement{
		Name:             object.Name,
		Object:           objectOf(metallb.KindL2Advertisement, &object),
		NodeSelectors:    nodes,
		Interfaces:       sortedSet(object.Spec.Interfaces),
		ServiceSelectors: services,
		Preferred:        preferred,
	}, pools, errs
}

func readPreferred(path *field.Path, all []metallb.PreferredNode) ([]Preference, field.ErrorList) {
	var result []Preference
	var errs field.ErrorList
	for i := range all {
		if w := all[i].Weight; w < 1 || w > 100 {
			errs = append(errs, field.Invalid(path.Index(i).Child("weight"), w, fmt.Sprintf("weight %d is not from 1 to 100", w)))
			continue
		}
		s, err := metav1.LabelSelectorAsSelector(&all[i].Preference)
		if err != nil {
			errs = append(errs, invalidSelector(path.Index(i).Child("preference"), err))
			continue
		}
		result = append(result, Preference{Weight: int(all[i].Weight), Selector: s})
	}
	return result, errs
}
