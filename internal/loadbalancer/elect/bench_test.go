package elect

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func many(services, nodes int) ([]Service, []Node) {
	var texts []string
	for i := range nodes {
		texts = append(texts, fmt.Sprintf("node-%02d", i+1))
	}
	var out []Service
	for i := range services {
		s := named(service(texts...), fmt.Sprintf("web-%d", i))
		s.Addresses = []netip.Addr{netip.AddrFrom4([4]byte{10, 1, byte(i >> 8), byte(i)})}
		out = append(out, s)
	}
	return out, cluster(texts...)
}

// BenchmarkNodeDies is all that is computed when a node dies in a cluster with 2,000 Services.
func BenchmarkNodeDies(b *testing.B) {
	for _, n := range []int{3, 20} {
		services, nodes := many(2000, n)
		nodes[0].Alive = false
		ads := lan()
		b.Run(fmt.Sprintf("announce/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for i := range services {
					Announce(services[i], services[i].Addresses[0], nodes, ads, false)
				}
			}
		})
		b.Run(fmt.Sprintf("spread/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for i := range services {
					Spread(services[i], nodes)
				}
			}
		})
	}
}

func BenchmarkFromService(b *testing.B) {
	svc, slices := object(), []*discoveryv1.EndpointSlice{endpoints("ready", "ready", "ready")}
	svc.Spec.Ports = append(svc.Spec.Ports, corev1.ServicePort{Name: "https", Port: 443})
	b.ReportAllocs()
	for b.Loop() {
		FromService(svc, slices, "lan")
	}
}
