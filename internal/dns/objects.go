package dns

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// endpointPort is one port of the cluster DNS: its number on the Service and on a node.
type endpointPort struct {
	name     string
	protocol corev1.Protocol
	service  int32
	node     int32
}

func (r *Registration) ports() []endpointPort {
	ports := []endpointPort{
		{"dns", corev1.ProtocolUDP, servicePort, int32(r.cfg.Port)},
		{"dns-tcp", corev1.ProtocolTCP, servicePort, int32(r.cfg.Port)},
	}
	if r.cfg.MetricsPort != 0 {
		ports = append(ports, endpointPort{"metrics", corev1.ProtocolTCP, int32(r.cfg.MetricsPort), int32(r.cfg.MetricsPort)})
	}
	return ports
}

// service is the kube-dns Service. It has no selector: its endpoints are the nodes'
// DNS servers. The internal traffic policy Local has each Pod's questions answered on
// its own node.
func (r *Registration) service() *corev1.Service {
	local := corev1.ServiceInternalTrafficPolicyLocal
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ServiceNamespace,
			Name:      ServiceName,
			Labels: map[string]string{
				"k8s-app":                       "kube-dns",
				"kubernetes.io/cluster-service": "true",
				"kubernetes.io/name":            "Minato-DNS",
			},
		},
		Spec: corev1.ServiceSpec{
			Type:                  corev1.ServiceTypeClusterIP,
			ClusterIP:             r.cfg.ServiceIPs[0].String(),
			InternalTrafficPolicy: &local,
		},
	}
	for _, ip := range r.cfg.ServiceIPs {
		svc.Spec.ClusterIPs = append(svc.Spec.ClusterIPs, ip.String())
	}
	if len(r.cfg.ServiceIPs) > 1 {
		dual := corev1.IPFamilyPolicyPreferDualStack
		svc.Spec.IPFamilyPolicy = &dual
	}
	for _, p := range r.ports() {
		svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{
			Name: p.name, Protocol: p.protocol, Port: p.service, TargetPort: intstr.FromInt32(p.node),
		})
	}
	return svc
}

// slices are this node's EndpointSlices, one for each IP family it has.
func (r *Registration) slices() []*discoveryv1.EndpointSlice {
	var v4, v6 []string
	for _, ip := range r.cfg.NodeIPs {
		if ip = ip.Unmap(); ip.Is4() {
			v4 = append(v4, ip.String())
		} else {
			v6 = append(v6, ip.String())
		}
	}
	var out []*discoveryv1.EndpointSlice
	if len(v4) > 0 {
		out = append(out, r.slice(discoveryv1.AddressTypeIPv4, v4))
	}
	if len(v6) > 0 {
		out = append(out, r.slice(discoveryv1.AddressTypeIPv6, v6))
	}
	return out
}

func (r *Registration) slice(family discoveryv1.AddressType, addresses []string) *discoveryv1.EndpointSlice {
	yes, no := true, false
	node := r.cfg.NodeName
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: ServiceNamespace,
			Name:      sliceName(node, family == discoveryv1.AddressTypeIPv6),
			Labels: map[string]string{
				discoveryv1.LabelServiceName: ServiceName,
				discoveryv1.LabelManagedBy:   ManagedBy,
			},
		},
		AddressType: family,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  addresses[:1], // the API takes the first address of an endpoint only
			NodeName:   &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
		}},
	}
	for _, p := range r.ports() {
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &p.name, Protocol: &p.protocol, Port: &p.node})
	}
	return s
}

func sliceName(nodeName string, v6 bool) string {
	name := ServiceName + "-" + nodeName
	if v6 {
		name += "-ipv6"
	}
	return name
}

// AddrPort joins the cluster DNS address and its port, for ServerConfig.Self.
func AddrPort(serviceIP netip.Addr) netip.AddrPort {
	return netip.AddrPortFrom(serviceIP, servicePort)
}
