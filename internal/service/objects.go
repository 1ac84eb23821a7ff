package service

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"minato/internal/service/route"
)

// Objects are the cluster's Services and EndpointSlices, as far as this process has heard of them. How they are kept is
// not the controller's business: it asks for one Service at a time.
type Objects interface {
	// Follow tells of every Service that there is, and then of each one that changes, by itself or by a slice that names
	// it; Service gives its new state by then. triggered is when a change of endpoints came about, if its author says
	// so, and zero otherwise. changed is not called any more once stop has been. All that there was has been told once
	// everything of synced is done.
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

// Triggered is when the last change of a slice came about, zero if its author does not say.
func Triggered(s *discoveryv1.EndpointSlice) time.Time {
	at, err := time.Parse(time.RFC3339Nano, s.Annotations[corev1.EndpointsLastChangeTriggerTime])
	if err != nil {
		return time.Time{}
	}
	return at
}
