package ingress

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"minato/internal/ingress/table"
	"minato/internal/service/route"
)

// endpointOf describes an endpoint: its address, and what is said of it.
func endpointOf(ip string, change func(*discoveryv1.Endpoint)) discoveryv1.Endpoint {
	e := discoveryv1.Endpoint{Addresses: []string{ip}}
	if change != nil {
		change(&e)
	}
	return e
}

func unready(e *discoveryv1.Endpoint) { e.Conditions.Ready = new(false) }
func ending(e *discoveryv1.Endpoint) {
	e.Conditions.Ready, e.Conditions.Serving, e.Conditions.Terminating = new(false), new(true), new(true)
}
func nearNode(name string) func(*discoveryv1.Endpoint) {
	return func(e *discoveryv1.Endpoint) {
		e.Hints = &discoveryv1.EndpointHints{ForNodes: []discoveryv1.ForNode{{Name: name}}}
	}
}

func TestResolve(t *testing.T) {
	plain := func(ports ...corev1.ServicePort) *corev1.Service {
		return &corev1.Service{Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.7", ClusterIPs: []string{"10.96.0.7"}, Ports: ports}}
	}
	web := corev1.ServicePort{Name: "web", Port: 80, TargetPort: intstr.FromString("http")}
	headless := plain(web)
	headless.Spec.ClusterIP, headless.Spec.ClusterIPs = corev1.ClusterIPNone, []string{corev1.ClusterIPNone}
	bare := plain()
	bare.Spec.ClusterIP, bare.Spec.ClusterIPs = corev1.ClusterIPNone, nil
	elsewhere := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "db.example.com", Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8080)}}}}
	address := elsewhere.DeepCopy()
	address.Spec.ExternalName, address.Spec.Ports = "192.0.2.9", nil
	dual := plain(web)
	dual.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}

	slice := func(port string, number int32, eps ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
		s := &discoveryv1.EndpointSlice{AddressType: discoveryv1.AddressTypeIPv4, Endpoints: eps}
		if number != 0 {
			s.Ports = []discoveryv1.EndpointPort{{Name: &port, Port: &number}}
		}
		return s
	}
	six := slice("web", 8080, endpointOf("fd00::1", nil))
	six.AddressType = discoveryv1.AddressTypeIPv6
	without := slice("", 0, endpointOf("10.0.0.1", nil))
	without.Labels = map[string]string{corev1.IsHeadlessService: ""}
	headlessSlice := slice("web", 8080, endpointOf("10.0.0.1", nil))
	headlessSlice.Labels = without.Labels

	for _, c := range []struct {
		name     string
		port     string
		service  *corev1.Service
		slices   []*discoveryv1.EndpointSlice
		upstream bool
		want     string
	}{
		{"no Service", "80", nil, nil, false, "[]"},
		{"by number", "80", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nil))}, false, "[10.0.0.1:8080]"},
		{"by name", "web", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nil))}, false, "[10.0.0.1:8080]"},
		{"by target port", "http", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nil))}, false, "[10.0.0.1:8080]"},
		{"the first port", "", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nil))}, false, "[10.0.0.1:8080]"},
		{"no such port", "81", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nil))}, false, "[]"},
		{"ready ones", "80", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", unready), endpointOf("10.0.0.2", nil), endpointOf("10.0.0.3", ending))}, false, "[10.0.0.2:8080]"},
		{"ending ones that serve, if none is ready", "80", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", unready), endpointOf("10.0.0.3", ending))}, false, "[10.0.0.3:8080]"},
		{"near ones", "80", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nearNode("node-2")), endpointOf("10.0.0.2", nearNode("node-1")))}, false, "[10.0.0.2:8080]"},
		{"all, if none is near", "80", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nearNode("node-2")), endpointOf("10.0.0.2", nearNode("node-3")))}, false, "[10.0.0.1:8080 10.0.0.2:8080]"},
		{"the cluster IP", "web", plain(web), []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nil))}, true, "[10.96.0.7:80]"},
		{"headless", "80", headless, []*discoveryv1.EndpointSlice{headlessSlice}, false, "[10.0.0.1:8080]"},
		{"headless has no cluster IP", "80", headless, []*discoveryv1.EndpointSlice{headlessSlice}, true, "[10.0.0.1:8080]"},
		{"headless without ports", "9376", bare, []*discoveryv1.EndpointSlice{without}, false, "[10.0.0.1:9376]"},
		{"a slice for a headless Service, of one that is not", "80", plain(web), []*discoveryv1.EndpointSlice{headlessSlice}, false, "[]"},
		{"an external name", "80", elsewhere, nil, false, "db.example.com:8080"},
		{"an external address, without ports", "443", address, nil, false, "[192.0.2.9:443]"},
		{"the Service's first family", "80", dual, []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nil)), six}, false, "[[fd00::1]:8080]"},
		{"the other family, if there is none", "80", dual, []*discoveryv1.EndpointSlice{slice("web", 8080, endpointOf("10.0.0.1", nil))}, false, "[10.0.0.1:8080]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			v := view{node: route.Node{Name: "node-1"}}
			list, host := v.resolve(table.BackendRef{Namespace: "default", Service: "web", Port: c.port}, c.service, c.slices, c.upstream)
			got := fmt.Sprint(list)
			if host.host != "" {
				got = fmt.Sprintf("%s:%d", host.host, host.port)
			}
			if list == nil && host.host == "" {
				got = fmt.Sprint([]netip.AddrPort{})
			}
			if got != c.want {
				t.Errorf("got %s, want %s", got, c.want)
			}
		})
	}
	for _, external := range []*corev1.Service{elsewhere, address} {
		v := view{noNames: true}
		if list, host := v.resolve(table.BackendRef{Namespace: "default", Service: "web", Port: "80"}, external, nil, false); len(list) > 0 || host.host != "" {
			t.Errorf("%s, where external names are not honoured: %v, %v", external.Spec.ExternalName, list, host)
		}
	}
}
