package service

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"minato/internal/service/route"
)

// Objects are the cluster's Services and EndpointSlices, as this process knows them. The controller asks for one Service at a
// time, however they are kept.
type Objects interface {
	// Follow calls changed for every Service that exists, and then for each one that changes, by itself or by a slice that
	// names it; Service returns its new state by then. triggered is the time of a change of endpoints, if the slice has it,
	// and zero otherwise. changed is not called any more after stop has returned. It was called for all Services that
	// existed once everything of synced is done.
	Follow(changed func(service types.NamespacedName, triggered time.Time)) (synced []cache.DoneChecker, stop func(), err error)
	// Service returns a Service, nil if there is none, and the slices that name it. They are not to be changed.
	Service(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice)
	// Names are those of all Services.
	Names() []types.NamespacedName
}

// ServiceOf is the Service whose traffic a slice's endpoints get; its name is empty if there is none. A slice may get a
// label later that takes its endpoints out of service, see route.ServesSlice.
func ServiceOf(s *discoveryv1.EndpointSlice) types.NamespacedName {
	if !route.ServesSlice(s) {
		return types.NamespacedName{Namespace: s.Namespace}
	}
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
}

// Triggered is the time of the last change of a slice's endpoints, zero if the slice does not have it.
func Triggered(s *discoveryv1.EndpointSlice) time.Time {
	at, err := time.Parse(time.RFC3339Nano, s.Annotations[corev1.EndpointsLastChangeTriggerTime])
	if err != nil {
		return time.Time{}
	}
	return at
}
