package config

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"minato/internal/loadbalancer/config/metallb"
)

// Admit decides about an object of one of MetalLB's kinds that is to be stored beside the existing ones, in place of the
// one of its name if there is one. It returns the errors for which it must be refused, those that Read finds as well,
// and as warnings what Read would find beyond. A caller should ask only if the spec changes: an object that has become
// bad must not keep its labels, finalizers and status from being changed, and deleting one is never wrong.
func Admit(existing Objects, content map[string]any) (field.ErrorList, []string) {
	var one Objects
	if err := one.Add(content); err != nil {
		return field.ErrorList{field.Invalid(field.NewPath("spec"), field.OmitValueType{}, err.Error())}, nil
	}
	object, errs := admit(&existing, one)
	if len(errs) > 0 || object == (Object{}) {
		return errs, nil
	}
	config := Read(existing)
	var warnings []string
	for _, p := range config.ProblemsOf(object) {
		warnings = append(warnings, p.text())
	}
	return nil, warnings
}

// admit checks the one object beside the others, and then puts it among them.
func admit(all *Objects, one Objects) (Object, field.ErrorList) {
	switch {
	case len(one.Pools) > 0:
		return admitOne(metallb.KindIPAddressPool, &all.Pools, one.Pools[0], CheckPool)
	case len(one.L2Advertisements) > 0:
		return admitOne(metallb.KindL2Advertisement, &all.L2Advertisements, one.L2Advertisements[0], alone(CheckL2Advertisement))
	case len(one.BGPAdvertisements) > 0:
		check := func(a metallb.BGPAdvertisement) field.ErrorList { return CheckBGPAdvertisement(a, all.Communities) }
		return admitOne(metallb.KindBGPAdvertisement, &all.BGPAdvertisements, one.BGPAdvertisements[0], alone(check))
	case len(one.Peers) > 0:
		return admitOne(metallb.KindBGPPeer, &all.Peers, one.Peers[0], CheckPeer)
	case len(one.BFDProfiles) > 0:
		return admitOne(metallb.KindBFDProfile, &all.BFDProfiles, one.BFDProfiles[0], alone(CheckBFDProfile))
	case len(one.Communities) > 0:
		return admitOne(metallb.KindCommunity, &all.Communities, one.Communities[0], CheckCommunity)
	}
	return Object{}, nil
}

// alone makes a check of one that has no use for the other objects.
func alone[T any](check func(T) field.ErrorList) func(T, []T) field.ErrorList {
	return func(object T, _ []T) field.ErrorList { return check(object) }
}

func admitOne[T any, P object[T]](kind string, list *[]T, one T, check func(T, []T) field.ErrorList) (Object, field.ErrorList) {
	errs := check(one, *list)
	o := objectOf(kind, P(&one))
	others := slices.DeleteFunc(slices.Clone(*list), func(other T) bool { return objectOf(kind, P(&other)) == o })
	*list = append(others, one)
	return o, errs
}
