package config

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
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
		return field.ErrorList{field.Invalid(nil, field.OmitValueType{}, err.Error())}, nil
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
	for _, p := range one.Pools {
		errs := CheckPool(p, all.Pools)
		all.Pools = put(all.Pools, p, func(p *metallb.IPAddressPool) *metav1.ObjectMeta { return &p.ObjectMeta })
		return objectOf(metallb.KindIPAddressPool, &p.ObjectMeta), errs
	}
	for _, p := range one.L2Advertisements {
		all.L2Advertisements = put(all.L2Advertisements, p, func(p *metallb.L2Advertisement) *metav1.ObjectMeta { return &p.ObjectMeta })
		return objectOf(metallb.KindL2Advertisement, &p.ObjectMeta), CheckL2Advertisement(p)
	}
	for _, p := range one.BGPAdvertisements {
		all.BGPAdvertisements = put(all.BGPAdvertisements, p, func(p *metallb.BGPAdvertisement) *metav1.ObjectMeta { return &p.ObjectMeta })
		return objectOf(metallb.KindBGPAdvertisement, &p.ObjectMeta), CheckBGPAdvertisement(p, all.Communities)
	}
	for _, p := range one.Peers {
		errs := CheckPeer(p, all.Peers)
		all.Peers = put(all.Peers, p, func(p *metallb.BGPPeer) *metav1.ObjectMeta { return &p.ObjectMeta })
		return objectOf(metallb.KindBGPPeer, &p.ObjectMeta), errs
	}
	for _, p := range one.BFDProfiles {
		all.BFDProfiles = put(all.BFDProfiles, p, func(p *metallb.BFDProfile) *metav1.ObjectMeta { return &p.ObjectMeta })
		return objectOf(metallb.KindBFDProfile, &p.ObjectMeta), CheckBFDProfile(p)
	}
	for _, p := range one.Communities {
		errs := CheckCommunity(p, all.Communities)
		all.Communities = put(all.Communities, p, func(p *metallb.Community) *metav1.ObjectMeta { return &p.ObjectMeta })
		return objectOf(metallb.KindCommunity, &p.ObjectMeta), errs
	}
	return Object{}, nil
}

// put returns a copy of a list with an object in place of the one of its name, or at the end.
func put[T any](list []T, object T, meta func(*T) *metav1.ObjectMeta) []T {
	m := meta(&object)
	list = slices.DeleteFunc(slices.Clone(list), func(o T) bool {
		return meta(&o).Name == m.Name && meta(&o).Namespace == m.Namespace
	})
	return append(list, object)
}
