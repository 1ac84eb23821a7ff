package config

import (
	"fmt"
	"math"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

// CheckBGPAdvertisement returns what keeps a BGPAdvertisement from being used, but for names of communities, pools and
// peers that no object defines yet. The communities given are those that may define a name.
func CheckBGPAdvertisement(object metallb.BGPAdvertisement, communities []metallb.Community) field.ErrorList {
	known := aliases{}
	for _, c := range communities {
		if c.Namespace == Namespace {
			known.add(c)
		}
	}
	_, _, errs := readBGP(object, known)
	return errs
}

// readBGP converts a BGPAdvertisement but for its pools, which it returns as they were selected.
func readBGP(object metallb.BGPAdvertisement, known aliases) (BGPAdvertisement, poolChoice, field.ErrorList) {
	spec := field.NewPath("spec")
	errs := checkMeta(&object)
	pools, more := readPoolChoice(object.Spec.IPAddressPools, object.Spec.IPAddressPoolSelectors)
	errs = append(errs, more...)
	nodes, more := selectors(spec.Child("nodeSelectors"), object.Spec.NodeSelectors)
	errs = append(errs, more...)
	services, more := selectors(spec.Child("serviceSelectors"), object.Spec.ServiceSelectors)
	errs = append(errs, more...)
	errs = append(errs, checkAttributes(spec, object.Spec)...)
	communities, more, _ := known.resolve(spec.Child("communities"), object.Spec.Communities)
	errs = append(errs, more...)
	v4, more := aggregation(spec.Child("aggregationLength"), object.Spec.AggregationLength, 1, 32, len(services) > 0)
	errs = append(errs, more...)
	v6, more := aggregation(spec.Child("aggregationLengthV6"), object.Spec.AggregationLengthV6, 0, 128, len(services) > 0)
	errs = append(errs, more...)
	return BGPAdvertisement{
		Name:                object.Name,
		Object:              objectOf(metallb.KindBGPAdvertisement, &object),
		AggregationLength:   v4,
		AggregationLengthV6: v6,
		LocalPref:           uint32(object.Spec.LocalPref),
		Communities:         communities,
		NodeSelectors:       nodes,
		Peers:               sortedSet(object.Spec.Peers),
		ServiceSelectors:    services,
	}, pools, errs
}

// checkAttributes finds numbers out of their range.
func checkAttributes(spec *field.Path, s metallb.BGPAdvertisementSpec) field.ErrorList {
	var errs field.ErrorList
	if s.LocalPref < 0 || s.LocalPref > math.MaxUint32 {
		errs = append(errs, field.Invalid(spec.Child("localPref"), s.LocalPref, fmt.Sprintf("%d is not from 0 to %d", s.LocalPref, uint32(math.MaxUint32))))
	}
	if s.ASPathPrepend < 0 || s.ASPathPrepend > 10 {
		errs = append(errs, field.Invalid(spec.Child("asPathPrepend"), s.ASPathPrepend, fmt.Sprintf("%d is not from 0 to 10", s.ASPathPrepend)))
	}
	return errs
}

func aggregation(path *field.Path, value *int64, low, high int64, selective bool) (int, field.ErrorList) {
	switch {
	case value == nil:
		return int(high), nil
	case *value < low || *value > high:
		return 0, field.ErrorList{field.Invalid(path, *value, fmt.Sprintf("%d is not from %d to %d", *value, low, high))}
	case selective && *value != high:
		return 0, field.ErrorList{field.Invalid(path, *value, fmt.Sprintf(
			"a prefix of length %d has addresses of Services that serviceSelectors leave out; use %d, or no serviceSelectors", *value, high))}
	}
	return int(*value), nil
}

// tooShort returns a range of the pool in which no prefix of the advertisement's length fits, so that what is announced
// would have addresses that are not the pool's.
func (a *BGPAdvertisement) tooShort(pool Pool) (Range, int, bool) {
	for _, r := range pool.Ranges {
		length := a.AggregationLength
		if r.First.Is6() {
			length = a.AggregationLengthV6
		}
		if length < r.First.BitLen() && length < r.widest() {
			return r, length, true
		}
	}
	return Range{}, 0, false
}

// conflicts tells whether two advertisements would announce the same prefixes of a pool to the same peers with different
// preferences. If either is restricted to some nodes or Services they may have none in common, and are left alone.
func (a *BGPAdvertisement) conflicts(o *BGPAdvertisement, pool Pool) bool {
	if a.LocalPref == o.LocalPref || len(a.ServiceSelectors)+len(o.ServiceSelectors)+len(a.NodeSelectors)+len(o.NodeSelectors) > 0 {
		return false
	}
	same := false
	for _, r := range pool.Ranges {
		if r.First.Is6() {
			same = same || a.AggregationLengthV6 == o.AggregationLengthV6
		} else {
			same = same || a.AggregationLength == o.AggregationLength
		}
	}
	return same && (len(a.Peers) == 0 || len(o.Peers) == 0 || intersect(a.Peers, o.Peers))
}

func intersect(a, b []string) bool {
	in := setOf(a, func(s string) string { return s })
	return slices.ContainsFunc(b, func(s string) bool { return in[s] })
}
