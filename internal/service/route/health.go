package route

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// HealthCheck is what a node answers at a Service's healthCheckNodePort.
type HealthCheck struct {
	Service types.NamespacedName
	// UID is that of the Service, empty if who keeps the Services does not know it.
	UID  types.UID
	Port uint16
	// LocalEndpoints counts the addresses on this node that are ready.
	LocalEndpoints int
}

// Health returns the check of a Service, false if it has none. Only ready endpoints count, not terminating ones that
// still serve: the check is what makes an outside load balancer move away in time.
func Health(svc *corev1.Service, epSlices []*discoveryv1.EndpointSlice, node Node) (HealthCheck, bool) {
	if !Routable(svc) || svc.Spec.Type != corev1.ServiceTypeLoadBalancer || svc.Spec.HealthCheckNodePort <= 0 ||
		svc.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return HealthCheck{}, false
	}
	local := map[netip.Addr]bool{}
	for _, p := range compilePorts(svc, epSlices, node) {
		for _, e := range p.choice.endpoints {
			if e.Local && e.Ready {
				local[e.Addr.Addr()] = true
			}
		}
	}
	return HealthCheck{
		Service:        types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name},
		UID:            svc.UID,
		Port:           uint16(svc.Spec.HealthCheckNodePort),
		LocalEndpoints: len(local),
	}, true
}
