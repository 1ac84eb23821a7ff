package config

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

// maxErrors bounds what is told about one object: it may have tens of thousands of addresses.
const maxErrors = 10

// CheckPool returns what keeps a pool from being used: bad or empty addresses, addresses that it has twice or that one
// of the other pools has too, and bad selectors. Of the others it ignores the pool itself, those of other namespaces,
// and ranges that can't be read.
func CheckPool(pool metallb.IPAddressPool, others []metallb.IPAddressPool) field.ErrorList {
	var pools []Pool
	for _, o := range others {
		if o.Namespace == Namespace && o.Name != pool.Name {
			p, _ := readPool(o)
			pools = append(pools, p)
		}
	}
	_, errs := checkPool(pool, newIndex(pools))
	return errs
}

func checkPool(object metallb.IPAddressPool, others *index) (Pool, field.ErrorList) {
	pool, errs := readPool(object)
	errs = append(errs, overlaps(pool, object.Spec.Addresses, others)...)
	return pool, errs[:min(len(errs), maxErrors)]
}

// readPool converts a pool. Its ranges are those of the addresses at the same place, the zero Range for a bad one.
func readPool(object metallb.IPAddressPool) (Pool, field.ErrorList) {
	spec := field.NewPath("spec")
	errs := checkMeta(&object)
	pool := Pool{
		Name:          object.Name,
		Labels:        labels.Set(object.Labels),
		Object:        objectOf(metallb.KindIPAddressPool, &object),
		AutoAssign:    object.Spec.AutoAssign == nil || *object.Spec.AutoAssign,
		AvoidBuggyIPs: object.Spec.AvoidBuggyIPs,
	}
	if len(object.Spec.Addresses) == 0 {
		errs = append(errs, field.Required(spec.Child("addresses"), "the pool has no addresses; list CIDRs or ranges"))
	}
	for i, text := range object.Spec.Addresses {
		r, err := ParseRange(text)
		if err != nil {
			errs = append(errs, field.Invalid(spec.Child("addresses").Index(i), text, err.Error()))
		}
		pool.Ranges = append(pool.Ranges, r)
	}
	if a := object.Spec.ServiceAllocation; a != nil {
		path := spec.Child("serviceAllocation")
		namespaces, more := selectors(path.Child("namespaceSelectors"), a.NamespaceSelectors)
		errs = append(errs, more...)
		services, more := selectors(path.Child("serviceSelectors"), a.ServiceSelectors)
		errs = append(errs, more...)
		pool.Allocation = &Allocation{
			Priority:           int(a.Priority),
			Namespaces:         sortedSet(a.Namespaces),
			NamespaceSelectors: namespaces,
			ServiceSelectors:   services,
		}
	}
	return pool, errs
}

// overlaps finds addresses that a pool has twice, or that another pool has too. texts are the pool's ranges as written.
func overlaps(pool Pool, texts []string, others *index) field.ErrorList {
	path := field.NewPath("spec", "addresses")
	var errs field.ErrorList
	for _, pair := range twice(pool.Ranges) {
		first, second := texts[pair[0]], texts[pair[1]]
		errs = append(errs, field.Invalid(path.Index(pair[1]), second, fmt.Sprintf(
			"%q has addresses that %q of the same pool has too; list each address once", second, first)))
	}
	for i, r := range pool.Ranges {
		if found, ok := others.find(r); ok {
			errs = append(errs, field.Invalid(path.Index(i), texts[i], fmt.Sprintf(
				"%q has addresses that pool %q has too (%v); give each address to one pool", texts[i], found.pool, found.Range)))
		}
	}
	return errs
}
