package main

import (
	"context"
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// manyAddresses do not fit into an answer over UDP.
const manyAddresses = 60

// compareWorld has one of every kind of object, in IPv4, IPv6 and both.
func compareWorld() objects {
	o := manyServices(5)
	o.namespaces = append(o.namespaces, corev1.Namespace{ObjectMeta: meta("", "empty")})
	add := func(name string, spec corev1.ServiceSpec) {
		o.services = append(o.services, corev1.Service{ObjectMeta: meta("ns-1", name), Spec: spec})
	}
	tcp, udp := corev1.ProtocolTCP, corev1.ProtocolUDP
	slice := func(service, name string, family discoveryv1.AddressType, endpoints ...discoveryv1.Endpoint) {
		s := discoveryv1.EndpointSlice{ObjectMeta: meta("ns-1", name), AddressType: family, Endpoints: endpoints}
		s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
		port, portName := int32(8080), "http"
		s.Ports = []discoveryv1.EndpointPort{{Name: &portName, Port: &port, Protocol: &tcp}}
		o.slices = append(o.slices, s)
	}
	endpoint := func(addr, host string, ready bool) discoveryv1.Endpoint {
		e := discoveryv1.Endpoint{Addresses: []string{addr}, Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &ready}}
		if host != "" {
			e.Hostname = &host
		}
		return e
	}
	ports := []corev1.ServicePort{{Name: "http", Protocol: tcp, Port: 80}}
	both := []corev1.ServicePort{{Name: "dns", Protocol: udp, Port: 53}, {Name: "dns-tcp", Protocol: tcp, Port: 53}}
	dual, single := corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack
	v4, v6 := corev1.IPv4Protocol, corev1.IPv6Protocol
	add("dual", corev1.ServiceSpec{ClusterIP: "10.96.200.1", ClusterIPs: []string{"10.96.200.1", "fd00:96::a1"}, IPFamilyPolicy: &dual, IPFamilies: []corev1.IPFamily{v4, v6}, Ports: ports})
	slice("dual", "dual-4", discoveryv1.AddressTypeIPv4, endpoint("10.244.2.1", "", true))
	slice("dual", "dual-6", discoveryv1.AddressTypeIPv6, endpoint("fd00:244:2::1", "", true))
	add("six", corev1.ServiceSpec{ClusterIP: "fd00:96::6", ClusterIPs: []string{"fd00:96::6"}, IPFamilyPolicy: &single, IPFamilies: []corev1.IPFamily{v6}, Ports: both})
	add("headless", corev1.ServiceSpec{ClusterIP: "None", IPFamilyPolicy: &dual, Ports: ports})
	slice("headless", "headless-4", discoveryv1.AddressTypeIPv4, endpoint("10.244.1.1", "db-0", true), endpoint("10.244.1.2", "db-1", true), endpoint("10.244.1.3", "", true), endpoint("10.244.1.4", "db-3", false))
	slice("headless", "headless-6", discoveryv1.AddressTypeIPv6, endpoint("fd00:244::1", "db-0", true), endpoint("fd00:244::9", "", true))
	add("lonely", corev1.ServiceSpec{ClusterIP: "None", Ports: ports})
	add("external", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "www.example.com"})
	add("inside", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "dual.ns-1.svc.cluster.local"})
	add("many", corev1.ServiceSpec{ClusterIP: "None", Ports: ports})
	var all []discoveryv1.Endpoint
	for i := range manyAddresses {
		all = append(all, endpoint(fmt.Sprintf("10.244.5.%d", i+1), "", true))
	}
	slice("many", "many-4", discoveryv1.AddressTypeIPv4, all...)
	return o
}

// compareTypes are asked of every name.
func compareTypes() []uint16 {
	return []uint16{dns.TypeA, dns.TypeAAAA, dns.TypeSRV, dns.TypePTR, dns.TypeTXT, dns.TypeCNAME, dns.TypeSOA, dns.TypeNS, dns.TypeMX, dns.TypeHTTPS}
}

func compareQuestions() []dns.Question {
	const z = "cluster.local."
	names := []string{
		z, "svc." + z, "pod." + z, "dns-version." + z, "dns." + z, "ns.dns." + z, "nope." + z, "ns-1.svc." + z, "ns-1.pod." + z, "empty.svc." + z, "nowhere.svc." + z,
		"kubernetes.default.svc." + z, "_https._tcp.kubernetes.default.svc." + z,
		"service-1.ns-1.svc." + z, "SERVICE-1.ns-1.SVC." + z, "service-1.ns-2.svc." + z, "_http._tcp.service-1.ns-1.svc." + z, "_http._udp.service-1.ns-1.svc." + z, "_nope._tcp.service-1.ns-1.svc." + z, "_tcp.service-1.ns-1.svc." + z,
		"http.tcp.service-1.ns-1.svc." + z, "*.ns-1.svc." + z, "x.service-1.ns-1.svc." + z, "a.b.c.service-1.ns-1.svc." + z,
		"dual.ns-1.svc." + z, "_http._tcp.dual.ns-1.svc." + z, "10-244-2-1.dual.ns-1.svc." + z, "fd00-244-2--1.dual.ns-1.svc." + z,
		"six.ns-1.svc." + z, "_dns._udp.six.ns-1.svc." + z, "_dns-tcp._tcp.six.ns-1.svc." + z,
		"headless.ns-1.svc." + z, "db-0.headless.ns-1.svc." + z, "db-3.headless.ns-1.svc." + z, "10-244-1-3.headless.ns-1.svc." + z, "10-244-1-1.headless.ns-1.svc." + z, "fd00-244--9.headless.ns-1.svc." + z,
		"_http._tcp.headless.ns-1.svc." + z, "lonely.ns-1.svc." + z, "external.ns-1.svc." + z, "inside.ns-1.svc." + z, "many.ns-1.svc." + z,
		"10-244-9-9.ns-1.pod." + z, "10-244-9-9.nowhere.pod." + z, "web-0.ns-1.pod." + z, "fd00--7.ns-1.pod." + z,
		"www.example.com.", "name.nowhere.", "www.example.com.ns-1.svc." + z,
		"10.in-addr.arpa.", "96.10.in-addr.arpa.", "in-addr.arpa.", "ip6.arpa.",
	}
	for _, addr := range []string{
		clusterIP(1), "10.96.200.1", "fd00:96::a1", "fd00:96::6", "10.96.77.77", "fd00:96::77", // of Services, and of none
		"10.244.1.1", "10.244.1.3", "10.244.1.4", "10.244.2.1", "10.244.9.9", "fd00:244::1", "fd00:244::9", "fd00:244:2::1", "fd00:244::77", // of endpoints
	} {
		names = append(names, reverseName(netip.MustParseAddr(addr)))
	}
	var out []dns.Question
	for _, n := range names {
		for _, t := range compareTypes() {
			out = append(out, dns.Question{Name: n, Qtype: t, Qclass: dns.ClassINET})
		}
	}
	return out
}

func reverseName(addr netip.Addr) string {
	name, err := dns.ReverseAddr(addr.String())
	if err != nil {
		panic(err) // an address has a reverse name
	}
	return name
}

// store makes the objects with an API server.
func store(ctx context.Context, client kubernetes.Interface, o objects) error {
	fresh := func(m *metav1.ObjectMeta) { m.UID, m.ResourceVersion = "", "" }
	for _, n := range o.namespaces {
		fresh(&n.ObjectMeta)
		if _, err := client.CoreV1().Namespaces().Create(ctx, &n, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for _, s := range o.services {
		fresh(&s.ObjectMeta)
		if _, err := client.CoreV1().Services(s.Namespace).Create(ctx, &s, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	for _, s := range o.slices {
		fresh(&s.ObjectMeta)
		if _, err := client.DiscoveryV1().EndpointSlices(s.Namespace).Create(ctx, &s, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return nil
}
