package config

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// poolChoice is how an advertisement selects pools.
type poolChoice struct {
	names     []string
	selectors []labels.Selector
}

func readPoolChoice(names []string, bySelector []metav1.LabelSelector) (poolChoice, field.ErrorList) {
	s, errs := selectors(field.NewPath("spec", "ipAddressPoolSelectors"), bySelector)
	return poolChoice{names, s}, errs
}

// resolve returns the pools that are chosen, sorted by name, and an error for each name of which there is no pool. No
// names and no selectors choose all pools but the cluster's own, which is none of MetalLB's; by name, that one can be
// chosen too.
func (c poolChoice) resolve(pools []Pool) ([]Pool, field.ErrorList) {
	var chosen []Pool
	named := setOf(c.names, func(name string) string { return name })
	all := len(c.names) == 0 && len(c.selectors) == 0
	for _, p := range pools {
		byRule := !p.Default && (all || matchesAny(c.selectors, p.Labels))
		if byRule || named[p.Name] {
			chosen = append(chosen, p)
		}
	}
	var errs field.ErrorList
	exists := setOf(pools, func(p Pool) string { return p.Name })
	for i, name := range c.names {
		if !exists[name] {
			errs = append(errs, field.NotFound(field.NewPath("spec", "ipAddressPools").Index(i), name))
			errs[len(errs)-1].Detail = fmt.Sprintf("pool %q doesn't exist or is not used; create it or correct it", name)
		}
	}
	return chosen, errs
}

// setOf returns the names of all.
func setOf[T any](all []T, name func(T) string) map[string]bool {
	set := map[string]bool{}
	for _, v := range all {
		set[name(v)] = true
	}
	return set
}

func namesOf(pools []Pool) []string {
	var names []string
	for _, p := range pools {
		names = append(names, p.Name)
	}
	slices.Sort(names)
	return names
}

// sortedSet returns the strings sorted and each once, and leaves its argument as it is.
func sortedSet(all []string) []string {
	all = slices.Clone(all)
	slices.Sort(all)
	return slices.Compact(all)
}
