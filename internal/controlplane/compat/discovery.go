package compat

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
)

// Discovery hides resources whose objects another group has as well from those
// who ask for all preferred resources: garbage collection, quota and the
// deletion of namespaces would work twice, with a watch each.
type Discovery struct {
	discovery.DiscoveryInterface
}

// ServerPreferredResources implements discovery.ServerResourcesInterface.
func (d Discovery) ServerPreferredResources() ([]*metav1.APIResourceList, error) {
	lists, err := d.DiscoveryInterface.ServerPreferredResources()
	return withoutTwins(lists), err
}

// ServerPreferredNamespacedResources implements discovery.ServerResourcesInterface.
func (d Discovery) ServerPreferredNamespacedResources() ([]*metav1.APIResourceList, error) {
	lists, err := d.DiscoveryInterface.ServerPreferredNamespacedResources()
	return withoutTwins(lists), err
}

// withoutTwins drops the resources of old versions that are of another group than
// today's. In the same group there is one preferred version anyway.
func withoutTwins(lists []*metav1.APIResourceList) []*metav1.APIResourceList {
	var out []*metav1.APIResourceList
	for _, list := range lists {
		gv, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			out = append(out, list) // it is of no old version
			continue
		}
		kept := slices.DeleteFunc(slices.Clone(list.APIResources), func(a metav1.APIResource) bool {
			r := find(gv.WithResource(a.Name))
			return r != nil && r.old.Group != r.today.Group
		})
		if len(kept) > 0 {
			out = append(out, &metav1.APIResourceList{TypeMeta: list.TypeMeta, GroupVersion: list.GroupVersion, APIResources: kept})
		}
	}
	return out
}
