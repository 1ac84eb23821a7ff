package zone

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ptr[T any](v T) *T { return &v }

func newTable(t testing.TB) *Table {
	t.Helper()
	tab, err := New(Config{
		Domain:      "cluster.local",
		NameServers: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
		Owned:       []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:96::/108")},
	})
	if err != nil {
		t.Fatal(err)
	}
	return tab
}

// svc makes a Service; ports are "name/number/proto".
func svc(namespace, name, clusterIPs string, ports ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.ClusterIPs = strings.Split(clusterIPs, ",")
	s.Spec.ClusterIP = s.Spec.ClusterIPs[0]
	for _, p := range ports {
		name, number, proto := portSpec(p)
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: name, Port: number, Protocol: proto})
	}
	return s
}

func externalName(namespace, name, target string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	s.Spec.Type = corev1.ServiceTypeExternalName
	s.Spec.ExternalName = target
	return s
}

func portSpec(p string) (string, int32, corev1.Protocol) {
	parts := strings.Split(p, "/")
	n := int32(0)
	for _, c := range parts[1] {
		n = n*10 + c - '0'
	}
	return parts[0], n, corev1.Protocol(parts[2])
}

// eps makes an EndpointSlice; an endpoint is "address", "address=hostname", or either with "!" in front when not ready.
func eps(namespace, service, name string, ports []string, endpoints ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	for _, p := range ports {
		name, number, proto := portSpec(p)
		s.Ports = append(s.Ports, discoveryv1.EndpointPort{Name: &name, Port: &number, Protocol: &proto})
	}
	for i, e := range endpoints {
		ep := discoveryv1.Endpoint{}
		if strings.HasPrefix(e, "!") {
			e = e[1:]
			ep.Conditions.Ready = ptr(false)
		} else if i%2 == 0 { // both ways of saying ready
			ep.Conditions.Ready = ptr(true)
		}
		addr, host, found := strings.Cut(e, "=")
		if found {
			ep.Hostname = &host
		}
		ep.Addresses = []string{addr}
		s.Endpoints = append(s.Endpoints, ep)
	}
	return s
}

// ask returns the answer's records as sorted lines, and its code.
func ask(t testing.TB, s *Snapshot, name, rrtype string) (Answer, bool) {
	t.Helper()
	typ, ok := dns.StringToType[rrtype]
	if !ok {
		t.Fatalf("no such type: %s", rrtype)
	}
	return s.Lookup(Question{Name: name, Type: typ})
}

func lines(rrs []dns.RR) []string {
	var out []string
	for _, rr := range rrs {
		out = append(out, strings.Join(strings.Fields(rr.String()), " "))
	}
	slices.Sort(out)
	return out
}
