package loadbalancer

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// crowded is a node among n with 2,000 Services, whose endpoints are on three nodes each.
func crowded(t testing.TB, n int) *stage {
	var nodes []string
	for i := range n {
		nodes = append(nodes, fmt.Sprintf("node-%d", i+1))
	}
	s := newStage(t, "node-1", nodes...)
	for i := range 2000 {
		at := []string{nodes[i%n], nodes[(i/n+i+1)%n], nodes[(i/7+i+2)%n]}
		s.set(fmt.Sprintf("web-%d", i), fmt.Sprintf("172.30.%d.%d", 200+i/250, i%250+1), at)
	}
	s.hears(nodes...)
	s.must(s.all())
	s.announcer.took()
	return s
}

// Only what a death changes is brought to the uplinks.
func TestADeathAmongManyServices(t *testing.T) {
	s := crowded(t, 3)
	s.hears("node-2")
	began := time.Now()
	s.must(s.all())
	t.Logf("decided in %v", time.Since(began))
	first := 0
	for _, op := range s.announcer.took() {
		if op != "" {
			first++
		}
	}
	if first == 0 || first > 2000+700 {
		t.Errorf("%d calls for 2,000 Services", first)
	}
	s.must(s.all())
	s.wantOps()
}

// BenchmarkOneServiceAmong2000 is the cost of one change of a Service, without the kernel.
func BenchmarkOneServiceAmong2000(b *testing.B) {
	for _, n := range []int{3, 20} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			s := crowded(b, n)
			i := 0
			for b.Loop() {
				i++
				s.set("web-7", "172.30.200.8", []string{"node-1", fmt.Sprintf("node-%d", i%2+2)})
				s.must(s.changed())
			}
		})
	}
}

// BenchmarkADeathAmong2000 is the cost of the death of a node and of its return, without the kernel.
func BenchmarkADeathAmong2000(b *testing.B) {
	for _, n := range []int{3, 20} {
		b.Run(fmt.Sprintf("nodes=%d", n), func(b *testing.B) {
			s := crowded(b, n)
			var all []string
			for _, node := range s.list {
				all = append(all, node.Name)
			}
			for b.Loop() {
				s.hears(all[:n-1]...)
				s.must(s.all())
				s.hears(all...)
				s.must(s.all())
			}
		})
	}
}

// BenchmarkSharedBy500 is the cost of one change of a Service that shares its address with 500 others.
func BenchmarkSharedBy500(b *testing.B) {
	s := newStage(b, "node-1", threeNodes...)
	for i := range 500 {
		s.set(fmt.Sprintf("web-%d", i), "172.30.200.1", threeNodes, annotated("metallb.io/allow-shared-ip", "key"),
			func(s *corev1.Service) { s.Spec.Ports[0].Port = int32(i + 1) })
	}
	s.must(s.all())
	i := 0
	for b.Loop() {
		i++
		s.set("web-7", "172.30.200.1", threeNodes[i%3:], annotated("metallb.io/allow-shared-ip", "key"), func(s *corev1.Service) { s.Spec.Ports[0].Port = 8 })
		s.must(s.changed())
	}
}
