package ingress

import (
	"net/netip"
	"slices"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
	"minato/internal/service/route"
)

// endpoints keeps the endpoints of the backends that are in use up to date in the proxy.
type endpoints struct {
	loop      *loop
	names     *names
	uses      map[table.BackendRef]int
	byService map[types.NamespacedName]map[table.BackendRef]struct{}
	set       map[table.BackendRef][]netip.AddrPort
	named     map[table.BackendRef]named
}

func newEndpoints(l *loop, n *names) *endpoints {
	return &endpoints{
		loop: l, names: n, uses: map[table.BackendRef]int{}, byService: map[types.NamespacedName]map[table.BackendRef]struct{}{},
		set: map[table.BackendRef][]netip.AddrPort{}, named: map[table.BackendRef]named{},
	}
}

// named is a host whose addresses have to be looked up.
type named struct {
	host string
	port uint16
}

func serviceOf(ref table.BackendRef) types.NamespacedName {
	return types.NamespacedName{Namespace: ref.Namespace, Name: ref.Service}
}

// want notes one more use of a backend.
func (e *endpoints) want(ref table.BackendRef) {
	e.uses[ref]++
	n := serviceOf(ref)
	if e.byService[n] == nil {
		e.byService[n] = map[table.BackendRef]struct{}{}
	}
	e.byService[n][ref] = struct{}{}
}

// release notes one use less, and tells whether there is none any more: then forget is to be called.
func (e *endpoints) release(ref table.BackendRef) bool {
	e.uses[ref]--
	return e.uses[ref] <= 0
}

// forget drops the endpoints of a backend that has no use, unless it has been wanted again.
func (e *endpoints) forget(ref table.BackendRef) {
	if e.uses[ref] > 0 {
		return
	}
	n := serviceOf(ref)
	delete(e.uses, ref)
	delete(e.byService[n], ref)
	if len(e.byService[n]) == 0 {
		delete(e.byService, n)
	}
	e.rename(ref, named{})
	if _, has := e.set[ref]; has {
		delete(e.set, ref)
		e.loop.server.SetEndpoints(ref, nil)
	}
}

// update looks at the backends of Services, or at all of them.
func (e *endpoints) update(services map[types.NamespacedName]struct{}, all bool) {
	if all {
		for n := range e.byService {
			e.service(n)
		}
		return
	}
	for n := range services {
		e.service(n)
	}
}

func (e *endpoints) service(n types.NamespacedName) {
	refs := e.byService[n]
	if len(refs) == 0 {
		return
	}
	service := e.loop.Service(n)
	slices := e.loop.slicesOf(n)
	f := &e.loop.facts
	view := view{node: route.Node{Name: f.Node, Zone: f.Zone}, ipv6First: f.IPv6First, noNames: f.Options.NoExternalNames}
	for ref := range refs {
		if e.uses[ref] <= 0 {
			// Its Service may have gone with its last Ingress, but requests that were routed by the table before still use it.
			// It is forgotten later.
			continue
		}
		upstream := false
		if u := e.loop.builder.Upstream(ref); u != nil {
			upstream = u.Options.ServiceUpstream
		}
		list, host := view.resolve(ref, service, slices, upstream)
		e.rename(ref, host)
		if host.host != "" {
			list = e.names.addresses(host.host, host.port)
		}
		e.publish(ref, list)
	}
}

// rename notes the host that a backend stands for; none if it is empty.
func (e *endpoints) rename(ref table.BackendRef, to named) {
	was := e.named[ref]
	if was == to {
		return
	}
	if to.host != "" {
		e.named[ref] = to
		e.names.want(to.host)
	} else {
		delete(e.named, ref)
	}
	if was.host != "" {
		e.names.release(was.host)
	}
}

// renamed looks at the backends that stand for a host, whose addresses may have changed.
func (e *endpoints) renamed() {
	for ref, n := range e.named {
		e.publish(ref, e.names.addresses(n.host, n.port))
	}
}

func (e *endpoints) publish(ref table.BackendRef, list []netip.AddrPort) {
	was, had := e.set[ref]
	if had && slices.Equal(was, list) {
		return
	}
	e.set[ref] = list
	out := make([]proxy.Endpoint, 0, len(list))
	for _, a := range list {
		out = append(out, proxy.Endpoint{Address: a})
	}
	e.loop.server.SetEndpoints(ref, out)
}

// view is a node's view of Services.
type view struct {
	node      route.Node
	ipv6First bool
	noNames   bool
}

// resolve returns the endpoints of a backend as this node sees them, by the same rules as the Service's own addresses: ready
// ones, those that end but still serve where none is ready, near ones where hints say so. Services without a cluster IP and
// external names are as ingress-nginx has them. For an external name, the host is returned.
func (v view) resolve(ref table.BackendRef, s *corev1.Service, epSlices []*discoveryv1.EndpointSlice, upstream bool) ([]netip.AddrPort, named) {
	if s == nil {
		return nil, named{}
	}
	port, ok := portOf(ref, s)
	if !ok {
		return nil, named{}
	}
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		if v.noNames {
			return nil, named{}
		}
		return external(s.Spec.ExternalName, port)
	}
	headless := s.Spec.ClusterIP == corev1.ClusterIPNone
	if upstream && !headless {
		return v.clusterIPs(s, port), named{}
	}
	for _, c := range v.candidates(s, port, epSlices, headless) {
		var out []netip.AddrPort
		for i := range c {
			if c[i].Cluster.In() {
				out = append(out, c[i].Addr)
			}
		}
		if len(out) > 0 {
			return out, named{}
		}
	}
	return nil, named{}
}

// candidates are the endpoints of one Service port, in the family that the Service prefers and then in the other.
func (v view) candidates(s *corev1.Service, port corev1.ServicePort, epSlices []*discoveryv1.EndpointSlice, headless bool) [][]route.Candidate {
	if headless && len(s.Spec.Ports) == 0 {
		epSlices = withPort(epSlices, port)
	}
	var out [][]route.Candidate
	for _, ipv6 := range v.families(s) {
		out = append(out, route.Endpoints(port, epSlices, ipv6, headless, v.node))
	}
	return out
}

// families are the Service's IP families.
func (v view) families(s *corev1.Service) []bool {
	if len(s.Spec.IPFamilies) == 0 {
		return []bool{v.ipv6First, !v.ipv6First}
	}
	out := make([]bool, 0, 2)
	for _, f := range s.Spec.IPFamilies {
		out = append(out, f == corev1.IPv6Protocol)
	}
	return out
}

// withPort gives slices of a headless Service without ports the one that the Ingress names.
func withPort(epSlices []*discoveryv1.EndpointSlice, port corev1.ServicePort) []*discoveryv1.EndpointSlice {
	out := make([]*discoveryv1.EndpointSlice, 0, len(epSlices))
	for _, s := range epSlices {
		out = append(out, &discoveryv1.EndpointSlice{
			ObjectMeta: s.ObjectMeta, AddressType: s.AddressType, Endpoints: s.Endpoints,
			Ports: []discoveryv1.EndpointPort{{Name: new(""), Port: new(port.Port), Protocol: new(corev1.ProtocolTCP)}},
		})
	}
	return out
}

func (v view) clusterIPs(s *corev1.Service, port corev1.ServicePort) []netip.AddrPort {
	texts := s.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{s.Spec.ClusterIP}
	}
	if a, err := netip.ParseAddr(texts[0]); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), uint16(port.Port))}
	}
	return nil
}

// portOf finds the port of a Service that a backend names: by number, name or target port. A Service without ports has the
// one that is named.
func portOf(ref table.BackendRef, s *corev1.Service) (corev1.ServicePort, bool) {
	if ref.Port == "" && len(s.Spec.Ports) > 0 {
		return s.Spec.Ports[0], true
	}
	for _, p := range s.Spec.Ports {
		if strconv.Itoa(int(p.Port)) == ref.Port || p.Name == ref.Port || p.TargetPort.String() == ref.Port {
			return p, true
		}
	}
	if len(s.Spec.Ports) > 0 || s.Spec.Type != corev1.ServiceTypeExternalName && s.Spec.ClusterIP != corev1.ClusterIPNone {
		return corev1.ServicePort{}, false
	}
	n, err := strconv.ParseUint(ref.Port, 10, 16)
	if err != nil || n == 0 {
		return corev1.ServicePort{}, false
	}
	return corev1.ServicePort{Port: int32(n)}, true
}

// external is where an external name leads: an address, or a host that has to be looked up.
func external(host string, p corev1.ServicePort) ([]netip.AddrPort, named) {
	port := p.Port
	if n := p.TargetPort.IntValue(); n > 0 {
		port = int32(n)
	}
	if host == "" || port < 1 || port > 65535 {
		return nil, named{}
	}
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(a.Unmap(), uint16(port))}, named{}
	}
	return nil, named{host: host, port: uint16(port)}
}
