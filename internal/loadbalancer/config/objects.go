package config

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"minato/internal/loadbalancer/config/metallb"
)

// Objects are what a configuration is read from. Lists may be in any order.
type Objects struct {
	Pools             []metallb.IPAddressPool
	L2Advertisements  []metallb.L2Advertisement
	BGPAdvertisements []metallb.BGPAdvertisement
	Peers             []metallb.BGPPeer
	BFDProfiles       []metallb.BFDProfile
	Communities       []metallb.Community
	// ConfigMap is the key config of the ConfigMap config in Namespace; nil if there is none.
	ConfigMap *string
	// DefaultRanges are the cluster's own pool; none for no such pool.
	DefaultRanges []Range
	// Problems are objects that could not be decoded.
	Problems []Problem
}

// Add adds an object of one of MetalLB's kinds, given as the content of an unstructured one. One that can't be decoded
// becomes a problem, which the result tells; those of other kinds are ignored.
func (o *Objects) Add(content map[string]any) error {
	u := unstructured.Unstructured{Object: content}
	var err error
	switch u.GetKind() {
	case metallb.KindIPAddressPool:
		err = add(&o.Pools, content)
	case metallb.KindL2Advertisement:
		err = add(&o.L2Advertisements, content)
	case metallb.KindBGPAdvertisement:
		err = add(&o.BGPAdvertisements, content)
	case metallb.KindBGPPeer:
		err = add(&o.Peers, content)
	case metallb.KindBFDProfile:
		err = add(&o.BFDProfiles, content)
	case metallb.KindCommunity:
		err = add(&o.Communities, content)
	}
	if err != nil {
		o.Problems = append(o.Problems, Problem{
			Object:  Object{u.GetKind(), u.GetNamespace(), u.GetName()},
			Message: "the object can't be read (" + err.Error() + "); correct the field that it names",
			Unused:  true,
		})
	}
	return err
}

func add[T any](list *[]T, content map[string]any) error {
	object, err := metallb.Decode[T](content)
	if err == nil {
		*list = append(*list, object)
	}
	return err
}

// object is a pointer to an object of a kind.
type object[T any] interface {
	*T
	metav1.Object
}

func objectOf(kind string, o metav1.Object) Object {
	return Object{Kind: kind, Namespace: o.GetNamespace(), Name: o.GetName()}
}

// byAge sorts a copy of a list so that an object that was there first comes first, one that isn't stored yet last.
func byAge[T any, P object[T]](list []T) []T {
	list = slices.Clone(list)
	slices.SortStableFunc(list, func(a, b T) int {
		x, y := P(&a), P(&b)
		s, t := x.GetCreationTimestamp(), y.GetCreationTimestamp()
		if s.IsZero() != t.IsZero() {
			if s.IsZero() {
				return 1
			}
			return -1
		}
		return cmp.Or(s.Compare(t.Time), cmp.Compare(x.GetName(), y.GetName()), cmp.Compare(x.GetNamespace(), y.GetNamespace()))
	})
	return list
}
