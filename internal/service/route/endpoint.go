package route

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Endpoint is one address and port behind one Service port, with all that decides whether traffic may go there.
type Endpoint struct {
	Addr netip.AddrPort
	Node string
	Zone string
	// Pod is the name of the pod behind it, if it is one.
	Pod string
	// Local says that it runs on the deciding node.
	Local bool

	Ready       bool
	Serving     bool
	Terminating bool

	NodeHints []string
	ZoneHints []string
}

// endpoints collects what the slices of one address family say about one Service port. The result is ordered by
// address, so that equal snapshots give equal frontends whatever the order of the slices.
func endpoints(port corev1.ServicePort, epSlices []*discoveryv1.EndpointSlice, ipv6 bool, node Node) []Endpoint {
	var all []Endpoint
	for _, slice := range epSlices {
		if slice != nil && ServesSlice(slice) {
			all = append(all, sliceEndpoints(port, slice, ipv6, node)...)
		}
	}
	return deduplicate(all)
}

// sliceEndpoints is what one slice says about one Service port.
func sliceEndpoints(port corev1.ServicePort, slice *discoveryv1.EndpointSlice, ipv6 bool, node Node) []Endpoint {
	if slice.AddressType != addressType(ipv6) {
		return nil
	}
	var all []Endpoint
	for _, p := range slice.Ports {
		number, ok := matchPort(port, p)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			if ep, ok := endpointOf(&slice.Endpoints[i], number, ipv6, node); ok {
				all = append(all, ep)
			}
		}
	}
	return all
}

func addressType(ipv6 bool) discoveryv1.AddressType {
	if ipv6 {
		return discoveryv1.AddressTypeIPv6
	}
	return discoveryv1.AddressTypeIPv4
}

// matchPort pairs a Service port with a slice port: by name, and by protocol because two ports of one name cannot
// exist but a slice written by hand may carry another protocol under that name.
func matchPort(port corev1.ServicePort, p discoveryv1.EndpointPort) (uint16, bool) {
	if p.Port == nil || *p.Port < 1 || *p.Port > 65535 {
		return 0, false
	}
	name, proto := "", corev1.ProtocolTCP
	if p.Name != nil {
		name = *p.Name
	}
	if p.Protocol != nil {
		proto = *p.Protocol
	}
	return uint16(*p.Port), name == port.Name && proto == protocol(port)
}

func protocol(port corev1.ServicePort) corev1.Protocol {
	if port.Protocol == "" {
		return corev1.ProtocolTCP
	}
	return port.Protocol
}

// endpointOf reads one endpoint. Only its first address counts: the others are meant to be aliases of the same thing.
func endpointOf(e *discoveryv1.Endpoint, port uint16, ipv6 bool, node Node) (Endpoint, bool) {
	if len(e.Addresses) == 0 {
		return Endpoint{}, false
	}
	addr, err := netip.ParseAddr(e.Addresses[0])
	if err != nil {
		return Endpoint{}, false
	}
	addr = addr.Unmap().WithZone("")
	if addr.Is6() != ipv6 || addr.IsUnspecified() {
		return Endpoint{}, false
	}
	ep := Endpoint{
		Addr: netip.AddrPortFrom(addr, port),
		// Absent conditions mean: ready, serving, and not terminating.
		Ready:       e.Conditions.Ready == nil || *e.Conditions.Ready,
		Serving:     e.Conditions.Serving == nil || *e.Conditions.Serving,
		Terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating,
	}
	if e.NodeName != nil {
		ep.Node = *e.NodeName
		ep.Local = ep.Node == node.Name
	}
	if e.Zone != nil {
		ep.Zone = *e.Zone
	}
	if e.TargetRef != nil && e.TargetRef.Kind == "Pod" {
		ep.Pod = e.TargetRef.Name
	}
	if e.Hints != nil {
		for _, h := range e.Hints.ForNodes {
			ep.NodeHints = append(ep.NodeHints, h.Name)
		}
		for _, h := range e.Hints.ForZones {
			ep.ZoneHints = append(ep.ZoneHints, h.Name)
		}
	}
	return ep, true
}

// deduplicate sorts by address and keeps the most useful entry of each: while an endpoint moves between slices both
// may name it, and the one that is already gone from service must not hide the other.
func deduplicate(all []Endpoint) []Endpoint {
	rank := func(e Endpoint) int {
		switch {
		case e.Ready:
			return 0
		case e.Serving && e.Terminating:
			return 1
		case e.Serving:
			return 2
		}
		return 3
	}
	slices.SortStableFunc(all, func(a, b Endpoint) int {
		return cmp.Or(a.Addr.Addr().Compare(b.Addr.Addr()), cmp.Compare(a.Addr.Port(), b.Addr.Port()), cmp.Compare(rank(a), rank(b)))
	})
	return slices.CompactFunc(all, func(a, b Endpoint) bool { return a.Addr == b.Addr })
}
