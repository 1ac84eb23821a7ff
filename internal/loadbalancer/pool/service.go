package pool

import (
	"cmp"
	"net/netip"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Service is what a decision needs to know of a Service of type LoadBalancer. FromService reads it from the object.
type Service struct {
	Key types.NamespacedName
	// Created is the creationTimestamp. Of Services that want the same thing, the older one comes first.
	Created         time.Time
	Labels          labels.Set
	NamespaceLabels labels.Set
	// Families are spec.ipFamilies, the primary one first. If it is empty, the Service has no cluster IP yet.
	Families []corev1.IPFamily
	// Policy is spec.ipFamilyPolicy; empty for SingleStack.
	Policy corev1.IPFamilyPolicy
	Ports  []Port
	// Local is externalTrafficPolicy Local. Its selector then limits with whom it can share an address.
	Local    bool
	Selector labels.Set
	// SharingKey permits sharing an address with Services that have the same one; empty for none.
	SharingKey string
	// Requested are the addresses asked for: one, or one of each family.
	Requested []netip.Addr
	// RequestedPool is the name of the pool asked for.
	RequestedPool string
	// Current is what the Service has: by its status, or by a newer decision of the caller.
	Current []netip.Addr
	// Invalid says why the request for addresses can't be understood; Requested is empty then. A Service keeps the
	// address that it has, since a slip of the pen shall not cut its clients off.
	Invalid string
	// Deprecated are the names of the annotations of MetalLB's old prefix that were used.
	Deprecated []string
}

// Port is a port that a Service takes at its address.
type Port struct {
	Protocol corev1.Protocol
	Port     uint16
}

// String is in the form of MetalLB's messages, as in TCP/80.
func (p Port) String() string { return string(p.Protocol) + "/" + strconv.Itoa(int(p.Port)) }

// name is the Service's name as messages quote it.
func (s *Service) name() string { return s.Key.Namespace + "/" + s.Key.Name }

// older orders Services by creation time, then by namespace and name.
func older(a, b *Service) int {
	return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.Key.Namespace, b.Key.Namespace), cmp.Compare(a.Key.Name, b.Key.Name))
}

// wanted are the families of which the Service wants an address, the primary one first.
func (s *Service) wanted() []corev1.IPFamily {
	if len(s.Families) > 1 && !s.prefersDual() && !s.requiresDual() {
		return s.Families[:1]
	}
	return s.Families
}

func (s *Service) prefersDual() bool  { return s.Policy == corev1.IPFamilyPolicyPreferDualStack }
func (s *Service) requiresDual() bool { return s.Policy == corev1.IPFamilyPolicyRequireDualStack }

// familyOf is the family of an address that is not an IPv4-mapped one.
func familyOf(a netip.Addr) corev1.IPFamily {
	if a.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// of returns the first address of a family, or the zero Addr.
func of(addrs []netip.Addr, family corev1.IPFamily) netip.Addr {
	for _, a := range addrs {
		if familyOf(a) == family {
			return a
		}
	}
	return netip.Addr{}
}

// status sorts addresses as a status lists them: IPv4 first.
func status(addrs []netip.Addr) []netip.Addr {
	slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return cmp.Compare(a.BitLen(), b.BitLen()) })
	return addrs
}

// subset tells whether every address of a is one of b.
func subset(a, b []netip.Addr) bool {
	return !slices.ContainsFunc(a, func(x netip.Addr) bool { return !slices.Contains(b, x) })
}
