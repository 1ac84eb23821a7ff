package elect

import (
	"maps"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// AnnotationShared permits Services with the same value to share an address. The second is its older name.
const (
	AnnotationShared    = "metallb.io/allow-shared-ip"
	AnnotationSharedOld = "metallb.universe.tf/allow-shared-ip"
)

// Service is what the decisions have to know about a Service.
type Service struct {
	Key    types.NamespacedName
	Labels labels.Set
	// Addresses are those that it was given, in the order of its status. All of them are announced by the node that
	// wins the first one, so that a Service with two IP families is at one place.
	Addresses []netip.Addr
	// Pool is the name of the pool that the addresses are from.
	Pool string
	// Local is the external traffic policy Local: a node may serve with its own endpoints only.
	Local bool
	// Affinity says that a client stays at its endpoint, so its flows must all go to one node.
	Affinity bool
	// Shared says that other Services may have the same addresses.
	Shared bool
	// Serving are the nodes with an endpoint that takes new connections. Draining are those that have only endpoints
	// that are terminating, and serve the connections they have. The name of endpoints without a node is "".
	Serving, Draining map[string]bool
}

// FromService takes what the API objects say. epSlices are the slices that belong to the Service, in any order. Which
// endpoints count is what the Service data plane says, so that flows never go to a node that would drop them: those of
// a headless Service or of another proxy don't, nor does one that is on no port of the Service. One that is published
// before it is ready has the condition ready, and counts.
func FromService(svc *corev1.Service, epSlices []*discoveryv1.EndpointSlice, pool string) Service {
	out := Service{
		Key:      types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name},
		Labels:   svc.Labels,
		Pool:     pool,
		Local:    svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		Affinity: svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP,
		Shared:   sharable(svc),
		Serving:  map[string]bool{},
		Draining: map[string]bool{},
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if addr, err := netip.ParseAddr(in.IP); err == nil {
			out.Addresses = append(out.Addresses, addr.Unmap().WithZone(""))
		}
	}
	// The node that asks matters for topology only, which doesn't matter here.
	for _, port := range route.Explain(svc, epSlices, route.Node{}) {
		for i := range port.Candidates {
			switch e := &port.Candidates[i]; {
			case e.Ready:
				out.Serving[e.Node] = true
			case e.Serving && e.Terminating:
				out.Draining[e.Node] = true
			}
		}
	}
	maps.DeleteFunc(out.Draining, func(node string, _ bool) bool { return out.Serving[node] })
	return out
}

// sharable tells whether there is a sharing key. An empty one under the new name overrules the old name.
func sharable(svc *corev1.Service) bool {
	if key, ok := svc.Annotations[AnnotationShared]; ok {
		return key != ""
	}
	return svc.Annotations[AnnotationSharedOld] != ""
}

// WithSharers is the Service as Announce must see it if others have its address too: one node must announce the
// address for all of them, although their endpoints may differ. Each of the Services with the others gives that node.
func (s Service) WithSharers(others ...Service) Service {
	if len(others) == 0 {
		return s
	}
	s.Shared = true
	s.Serving, s.Draining = maps.Clone(s.Serving), maps.Clone(s.Draining)
	for i := range others {
		s.Local = s.Local || others[i].Local
		s.Serving = union(s.Serving, others[i].Serving)
		s.Draining = union(s.Draining, others[i].Draining)
	}
	maps.DeleteFunc(s.Draining, func(node string, _ bool) bool { return s.Serving[node] })
	return s
}

func union(into, from map[string]bool) map[string]bool {
	if into == nil {
		return maps.Clone(from)
	}
	maps.Copy(into, from)
	return into
}

// seat is the address whose hash places the whole Service. A shared address stands for itself: another Service that
// has it may have other addresses besides, and both must come to the same node.
func (s *Service) seat(addr netip.Addr) netip.Addr {
	if s.Shared || len(s.Addresses) == 0 {
		return addr
	}
	return s.Addresses[0]
}

// anywhere tells whether any endpoint serves.
func (s *Service) anywhere() bool { return len(s.Serving) > 0 || len(s.Draining) > 0 }

// on tells whether an endpoint on the node serves.
func (s *Service) on(node string) bool { return s.Serving[node] || s.Draining[node] }
