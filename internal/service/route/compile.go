package route

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
)

// LabelProxyName hands a Service or an EndpointSlice over to another proxy, whatever its value.
const LabelProxyName = "service.kubernetes.io/service-proxy-name"

// ServesSlice tells whether the endpoints of an EndpointSlice get traffic of its Service. Those of slices for headless
// Services do not, even if the Service has a cluster IP: the label alone decides, as it does in kube-proxy.
func ServesSlice(slice *discoveryv1.EndpointSlice) bool {
	_, headless := slice.Labels[corev1.IsHeadlessService]
	_, elsewhere := slice.Labels[LabelProxyName]
	return !headless && !elsewhere
}

// Compile computes every frontend of one Service as node sees it. epSlices are the slices that belong to the Service,
// in any order. The result depends on nothing else, so an update of one Service touches its own frontends only.
func Compile(svc *corev1.Service, epSlices []*discoveryv1.EndpointSlice, node Node) []Frontend {
	var out []Frontend
	for _, p := range compilePorts(svc, epSlices, node) {
		out = append(out, p.frontends...)
	}
	return out
}

// Routable tells whether a Service has anything to route: headless and ExternalName Services are DNS's business, and
// a Service may name another proxy.
func Routable(svc *corev1.Service) bool {
	if svc == nil || svc.Spec.Type == corev1.ServiceTypeExternalName || len(clusterIPs(svc)) == 0 {
		return false
	}
	_, elsewhere := svc.Labels[LabelProxyName]
	return !elsewhere
}

// compiledPort is one Service port in one family: the endpoint choice and the frontends that share it.
type compiledPort struct {
	port      corev1.ServicePort
	ipv6      bool
	choice    choice
	frontends []Frontend
}

func compilePorts(svc *corev1.Service, epSlices []*discoveryv1.EndpointSlice, node Node) []compiledPort {
	if !Routable(svc) {
		return nil
	}
	var out []compiledPort
	keys := TopologyKeys(svc)
	for _, ip := range clusterIPs(svc) {
		for _, port := range svc.Spec.Ports {
			c := compiledPort{port: port, ipv6: ip.Is6()}
			c.choice = choose(endpoints(port, epSlices, c.ipv6, node), node, keys)
			c.frontends = frontends(svc, port, ip, &c.choice)
			out = append(out, c)
		}
	}
	return out
}

// clusterIPs returns one address per family, none for a headless Service.
func clusterIPs(svc *corev1.Service) []netip.Addr {
	texts := svc.Spec.ClusterIPs
	if len(texts) == 0 {
		texts = []string{svc.Spec.ClusterIP}
	}
	var out []netip.Addr
	for _, t := range texts {
		// "None" and "" don't parse.
		addr, ok := parseAddr(t)
		if ok && !slices.ContainsFunc(out, func(o netip.Addr) bool { return o.Is6() == addr.Is6() }) {
			out = append(out, addr)
		}
	}
	return out
}

func parseAddr(text string) (netip.Addr, bool) {
	addr, err := netip.ParseAddr(text)
	if err != nil || addr.IsUnspecified() {
		return netip.Addr{}, false
	}
	return addr.Unmap().WithZone(""), true
}

// frontends lists the addresses at which one Service port answers in the family of its cluster IP.
func frontends(svc *corev1.Service, port corev1.ServicePort, ip netip.Addr, c *choice) []Frontend {
	base := Frontend{
		Service:  types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name},
		PortName: port.Name,
		IPv6:     ip.Is6(),
		Port:     uint16(port.Port),
		Protocol: protocol(port),
		Cluster:  c.backends(c.cluster),
		Local:    c.backends(c.local),
		Draining: c.draining(),
		Affinity: affinity(svc),
	}
	inside := base
	inside.Kind, inside.Addr = ClusterIP, ip
	inside.Decisions = internalDecisions(svc, c.anywhere, &base)
	out := []Frontend{inside}

	base.Decisions = externalDecisions(svc, c.anywhere, &base)
	if port.NodePort > 0 && svc.Spec.Type != corev1.ServiceTypeClusterIP {
		f := base
		f.Kind, f.Port = NodePort, uint16(port.NodePort)
		out = append(out, f)
	}
	for _, addr := range externalIPs(svc, ip.Is6()) {
		f := base
		f.Kind, f.Addr = ExternalIP, addr
		out = append(out, f)
	}
	for _, addr := range loadBalancerIPs(svc, ip.Is6()) {
		f := base
		f.Kind, f.Addr = LoadBalancer, addr
		f.Restricted, f.SourceRanges = sourceRanges(svc, ip.Is6())
		out = append(out, f)
	}
	return dropRepeated(out)
}

// dropRepeated keeps the first of several frontends at one address: an external IP may repeat a load balancer's, and
// the kernel has one entry per address. A restricted one wins, since it must not be opened by a repetition.
func dropRepeated(all []Frontend) []Frontend {
	var out []Frontend
	for _, f := range all {
		same := slices.IndexFunc(out, func(o Frontend) bool { return f.Kind != NodePort && o.Addr == f.Addr && o.Port == f.Port })
		switch {
		case same < 0:
			out = append(out, f)
		case f.Restricted && out[same].Kind == ExternalIP:
			out[same] = f
		}
	}
	return out
}

func affinity(svc *corev1.Service) time.Duration {
	if svc.Spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

func externalIPs(svc *corev1.Service, ipv6 bool) []netip.Addr {
	var out []netip.Addr
	for _, text := range svc.Spec.ExternalIPs {
		if addr, ok := parseAddr(text); ok && addr.Is6() == ipv6 {
			out = append(out, addr)
		}
	}
	return out
}

// loadBalancerIPs leaves out addresses of mode Proxy: there the balancer ends connections itself, and catching them in
// the node would lose what it adds, such as TLS or the PROXY protocol.
func loadBalancerIPs(svc *corev1.Service, ipv6 bool) []netip.Addr {
	if svc.Spec.Type != corev1.ServiceTypeLoadBalancer {
		return nil
	}
	var out []netip.Addr
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IPMode != nil && *in.IPMode == corev1.LoadBalancerIPModeProxy {
			continue
		}
		if addr, ok := parseAddr(in.IP); ok && addr.Is6() == ipv6 {
			out = append(out, addr)
		}
	}
	return out
}

// sourceRanges returns whether a restriction exists and the ranges of this family.
func sourceRanges(svc *corev1.Service, ipv6 bool) (bool, []netip.Prefix) {
	var out []netip.Prefix
	restricted := false
	for _, text := range svc.Spec.LoadBalancerSourceRanges {
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		restricted = true
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is6() == ipv6 {
			out = append(out, p.Masked())
		}
	}
	return restricted, out
}
