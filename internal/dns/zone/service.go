package zone

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

type serviceKind uint8

const (
	withClusterIP serviceKind = iota
	headless
	external
)

// service is everything the zone knows of one Service. It never changes once
// it is in a snapshot.
type service struct {
	namespace, name string
	kind            serviceKind
	clusterIPs      []netip.Addr
	external        string // absolute; empty when externalName is not a domain name
	externalName    string // as in the spec
	ports           []port // the Service's own; a headless Service's are its endpoints'
	ready           []endpoint
	notReady        []endpoint
	readyAddrs      []netip.Addr // addresses of the ready endpoints, each once; for a headless Service only
	hostAddrs       []netip.Addr // hostAddrs[i] is the address of ready[i]
}

// endpoint is one address behind a Service.
type endpoint struct {
	host  string // lower case: hostname or dashed address
	named bool   // host is a hostname of the endpoint's own
	addr  netip.Addr
	ports []port
}

// port is a port with a record; name and proto are lower case.
type port struct {
	name   string
	proto  string
	number uint16
}

func (s *service) String() string { return "Service " + s.namespace + "/" + s.name }

// rel is the Service's name left of ".svc.<zone>".
func (s *service) rel() string { return s.name + "." + s.namespace }

// exists reports whether the Service's name is in the zone. The name of a headless
// Service without ready endpoints is not, nor is that of an ExternalName Service
// whose externalName is not a domain name.
func (s *service) exists() bool {
	switch s.kind {
	case headless:
		return len(s.ready) > 0
	case external:
		return s.external != ""
	}
	return true
}

// addrs returns the addresses of the Service's own name.
func (s *service) addrs() []netip.Addr {
	if s.kind == withClusterIP {
		return s.clusterIPs
	}
	return s.readyAddrs
}

// host returns the addresses of the ready endpoints whose host name is label, in
// any mixture of upper and lower case. The endpoints are sorted by host name.
func (s *service) host(label string) []netip.Addr {
	var buf [64]byte
	host := appendLower(buf[:0], label)
	first, end := 0, len(s.ready)
	for first < end {
		if mid := (first + end) / 2; s.ready[mid].host < string(host) {
			first = mid + 1
		} else {
			end = mid
		}
	}
	for end < len(s.ready) && s.ready[end].host == string(host) {
		end++
	}
	return s.hostAddrs[first:end]
}

func (s *service) hasProto(proto string) bool {
	return s.anyPort(func(p port) bool { return p.name != "" && equalFold(p.proto, proto) })
}

func (s *service) hasPort(name, proto string) bool {
	return s.anyPort(func(p port) bool { return p.matches(name, proto) })
}

func (s *service) anyPort(fn func(port) bool) bool {
	if s.kind == withClusterIP {
		return slices.ContainsFunc(s.ports, fn)
	}
	for _, e := range s.ready {
		if slices.ContainsFunc(e.ports, fn) {
			return true
		}
	}
	return false
}

func (p port) matches(name, proto string) bool {
	return p.name != "" && equalFold(p.name, name) && equalFold(p.proto, proto)
}

// newService reads a Service; its endpoints are added by withEndpoints.
func newService(in *corev1.Service) *service {
	s := &service{namespace: in.Namespace, name: in.Name}
	switch {
	case in.Spec.Type == corev1.ServiceTypeExternalName:
		s.kind = external
		s.externalName = in.Spec.ExternalName
		s.external = aliasTarget(in.Spec.ExternalName)
		return s
	case in.Spec.ClusterIP == corev1.ClusterIPNone:
		s.kind = headless
		return s
	}
	ips := in.Spec.ClusterIPs
	if len(ips) == 0 {
		ips = []string{in.Spec.ClusterIP}
	}
	for _, ip := range ips {
		if addr, err := netip.ParseAddr(ip); err == nil {
			s.clusterIPs = append(s.clusterIPs, addr.Unmap())
		}
	}
	for _, p := range in.Spec.Ports {
		proto := cmp.Or(p.Protocol, corev1.ProtocolTCP)
		s.ports = append(s.ports, port{
			name: strings.ToLower(p.Name), proto: strings.ToLower(string(proto)), number: uint16(p.Port),
		})
	}
	return s
}

// aliasTarget makes an externalName absolute. It returns "" for what cannot be the
// target of a CNAME record, such as an address.
func aliasTarget(name string) string {
	name = strings.TrimSuffix(name, ".")
	if name == "" || len(name) > 253 {
		return ""
	}
	if _, err := netip.ParseAddr(name); err == nil {
		return ""
	}
	for _, label := range strings.Split(name, ".") {
		if label == "" || len(label) > 63 || strings.ContainsAny(label, "\\ \t\r\n\";()") {
			return ""
		}
	}
	return name + "."
}

// slice is one EndpointSlice of a Service.
type slice struct {
	service  string // "<svc>.<ns>"
	ready    []endpoint
	notReady []endpoint
}

func newSlice(in *discoveryv1.EndpointSlice) *slice {
	out := &slice{}
	if name := in.Labels[discoveryv1.LabelServiceName]; name != "" {
		out.service = name + "." + in.Namespace
	}
	if in.AddressType == discoveryv1.AddressTypeFQDN {
		return out
	}
	ports := slicePorts(in.Ports)
	for _, ep := range in.Endpoints {
		for _, text := range ep.Addresses {
			addr, err := netip.ParseAddr(text)
			if err != nil {
				continue
			}
			e := endpoint{addr: addr.Unmap(), ports: ports}
			if ep.Hostname != nil && *ep.Hostname != "" {
				e.host, e.named = strings.ToLower(*ep.Hostname), true
			} else {
				e.host = dashed(e.addr)
			}
			// An unknown readiness counts as ready, as the API asks of consumers.
			if ready := ep.Conditions.Ready; ready == nil || *ready {
				out.ready = append(out.ready, e)
			} else {
				out.notReady = append(out.notReady, e)
			}
		}
	}
	return out
}

func slicePorts(in []discoveryv1.EndpointPort) []port {
	var out []port
	for _, p := range in {
		if p.Port == nil || *p.Port <= 0 { // "all ports" has no number to publish
			continue
		}
		q := port{proto: "tcp", number: uint16(*p.Port)}
		if p.Protocol != nil {
			q.proto = strings.ToLower(string(*p.Protocol))
		}
		if p.Name != nil {
			q.name = strings.ToLower(*p.Name)
		}
		out = append(out, q)
	}
	return out
}

// withEndpoints returns a copy of s with the endpoints of its slices. An
// endpoint may be in two slices while it moves between them; it counts once.
func (s *service) withEndpoints(parts map[string]*slice) *service {
	out := *s
	out.ready, out.notReady, out.hostAddrs, out.readyAddrs = nil, nil, nil, nil
	if s.kind == external || len(parts) == 0 {
		return &out
	}
	var ready, notReady []endpoint
	for _, p := range parts {
		ready = append(ready, p.ready...)
		notReady = append(notReady, p.notReady...)
	}
	out.ready = mergeEndpoints(ready)
	out.notReady = mergeEndpoints(notReady)
	out.hostAddrs = make([]netip.Addr, len(out.ready))
	for i, e := range out.ready {
		out.hostAddrs[i] = e.addr
	}
	if s.kind == headless {
		out.readyAddrs = make([]netip.Addr, 0, len(out.ready))
		for _, e := range out.ready {
			out.readyAddrs = append(out.readyAddrs, e.addr)
		}
		slices.SortFunc(out.readyAddrs, netip.Addr.Compare)
		out.readyAddrs = slices.Compact(out.readyAddrs)
	}
	return &out
}

// mergeEndpoints sorts by host and address and joins the ports of equal ones.
func mergeEndpoints(all []endpoint) []endpoint {
	slices.SortStableFunc(all, func(a, b endpoint) int {
		return cmp.Or(strings.Compare(a.host, b.host), a.addr.Compare(b.addr))
	})
	out := all[:0]
	for _, e := range all {
		if n := len(out); n > 0 && out[n-1].host == e.host && out[n-1].addr == e.addr {
			out[n-1].named = out[n-1].named || e.named
			out[n-1].ports = joinPorts(out[n-1].ports, e.ports)
			continue
		}
		out = append(out, e)
	}
	return slices.Clip(out)
}

func joinPorts(a, b []port) []port {
	out := slices.Clip(a) // a is shared by every endpoint of its slice
	for _, p := range b {
		if !slices.Contains(out, p) {
			out = append(out, p)
		}
	}
	return out
}
