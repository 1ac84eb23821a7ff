package loadbalancer

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"minato/internal/loadbalancer/pool"
)

// Finalizer keeps a Service until its address is free again.
const Finalizer = "service.kubernetes.io/load-balancer-cleanup"

// entry is what the Controller knows of one Service. It belongs to the loop of Run.
type entry struct {
	key types.NamespacedName
	// service is the newest state that is known: the informer's, or the answer to an own write that the informer has not
	// shown yet. It is never changed.
	service *corev1.Service
	// published are the addresses in its status.
	published []netip.Addr
	// ours says that the Service is to have an address from here. One that is not ours any more is freed and forgotten.
	ours bool
	// input is what decides about the Service, and decision what was decided; decided says that there is one.
	input    pool.Service
	decision pool.Decision
	decided  bool

	// running says that a write is under way, queued that one is due.
	running, queued bool
	// wrote is what the last write wanted, answer the status that the API made of it.
	wrote  *target
	answer []corev1.LoadBalancerIngress
	// retry is for writes that failed, corrections for what was written and then changed by somebody else.
	retry, corrections backoff
	told               told
}

// target is what the API is to hold about a Service.
type target struct {
	// marked says that finalizer and annotation are to be there; pool is the annotation's value.
	marked bool
	pool   string
	// status says that the status is this Controller's to write; ingress is what it is to list.
	status  bool
	ingress []corev1.LoadBalancerIngress
}

func (t target) equal(o target) bool {
	return t.marked == o.marked && t.pool == o.pool && t.status == o.status && sameIngress(t.ingress, o.ingress)
}

// backoff is when something is tried again.
type backoff struct {
	failures int
	at       time.Time
}

// failed makes the next attempt wait, twice as long each time.
func (b *backoff) failed(now time.Time, first, last time.Duration) {
	delay := first << min(b.failures, 20)
	b.failures++
	b.at = now.Add(min(delay, last))
}

// keyOf names a Service.
func keyOf(s *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
}

// isNewer tells whether a is a later state of the object than b. What can't be compared counts as newer, as the informer
// shows states in their order.
func isNewer(a, b *corev1.Service) bool {
	order, err := resourceversion.CompareResourceVersion(a.ResourceVersion, b.ResourceVersion)
	return err != nil || order > 0
}

// hasMarks tells whether a Service has the finalizer and the annotation which the Controller writes together.
func hasMarks(s *corev1.Service) bool {
	return slices.Contains(s.Finalizers, Finalizer) && s.Annotations[pool.AnnotationAllocatedFrom] != ""
}

// publishedBy are the addresses of a Service's status.
func publishedBy(s *corev1.Service) []netip.Addr {
	var out []netip.Addr
	for _, i := range s.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(i.IP); err == nil {
			out = append(out, a.Unmap())
		}
	}
	return out
}

// ingress makes the status of addresses. It lists all ports of the Service at each of them.
func ingress(s *corev1.Service, addresses []netip.Addr) []corev1.LoadBalancerIngress {
	var ports []corev1.PortStatus
	for _, p := range s.Spec.Ports {
		ports = append(ports, corev1.PortStatus{Port: p.Port, Protocol: cmp.Or(p.Protocol, corev1.ProtocolTCP)})
	}
	out := make([]corev1.LoadBalancerIngress, 0, len(addresses))
	for _, a := range addresses {
		mode := corev1.LoadBalancerIPModeVIP
		out = append(out, corev1.LoadBalancerIngress{IP: a.String(), IPMode: &mode, Ports: ports})
	}
	return out
}

func sameIngress(a, b []corev1.LoadBalancerIngress) bool {
	return slices.EqualFunc(a, b, func(a, b corev1.LoadBalancerIngress) bool {
		sameMode := a.IPMode == nil && b.IPMode == nil || a.IPMode != nil && b.IPMode != nil && *a.IPMode == *b.IPMode
		return a.IP == b.IP && a.Hostname == b.Hostname && sameMode && slices.EqualFunc(a.Ports, b.Ports, samePort)
	})
}

func samePort(a, b corev1.PortStatus) bool {
	return a.Port == b.Port && a.Protocol == b.Protocol && (a.Error == nil) == (b.Error == nil) && (a.Error == nil || *a.Error == *b.Error)
}

// reference is how events name a Service.
func reference(s *corev1.Service) corev1.ObjectReference {
	return corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: s.Namespace, Name: s.Name, UID: s.UID, ResourceVersion: s.ResourceVersion,
	}
}
