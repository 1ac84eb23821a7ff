package route

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

func maglevBackends(n int) []Backend {
	out := make([]Backend, n)
	for i := range out {
		out[i].Addr = netip.MustParseAddrPort(fmt.Sprintf("10.244.%d.%d:8080", i/250, i%250+1))
	}
	return out
}

// owners is the table with addresses in place of indexes.
func owners(backends []Backend) []netip.AddrPort {
	table := MaglevTable(backends)
	out := make([]netip.AddrPort, len(table))
	for i, b := range table {
		out[i] = backends[b].Addr
	}
	return out
}

func TestMaglevTableSpreadsEvenly(t *testing.T) {
	for _, n := range []int{1, 2, 3, 7, 100, 163, 164, 1000} {
		table := MaglevTable(maglevBackends(n))
		if want := 100 * n; len(table) <= want {
			t.Errorf("%d endpoints: table of %d places; want more than %d", n, len(table), want)
		}
		share := make([]int, n)
		for _, b := range table {
			share[b]++
		}
		ideal := float64(len(table)) / float64(n)
		for b, got := range share {
			if off := float64(got)/ideal - 1; off > 0.02 || off < -0.02 {
				t.Errorf("%d endpoints: endpoint %d has %d places; want about %.0f", n, b, got, ideal)
				break
			}
		}
	}
	if got := MaglevTable(nil); got != nil {
		t.Errorf("no endpoints: %d places; want none", len(got))
	}
}

func TestMaglevTableIgnoresOrder(t *testing.T) {
	backends := maglevBackends(17)
	want := owners(backends)
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(backends), func(i, j int) { backends[i], backends[j] = backends[j], backends[i] })
	backends[3].Local = true // what differs from node to node
	for i, got := range owners(backends) {
		if got != want[i] {
			t.Fatalf("place %d: %s in another order; want %s", i, got, want[i])
		}
	}
}

// One endpoint less must move that endpoint's places and few others.
func TestMaglevTableMovesLittle(t *testing.T) {
	for _, n := range []int{3, 10, 100} {
		before := owners(maglevBackends(n))
		after := owners(maglevBackends(n)[:n-1])
		gone := maglevBackends(n)[n-1].Addr
		moved := 0
		for i := range before {
			if before[i] != gone && before[i] != after[i] {
				moved++
			}
		}
		if limit := len(before) / 20; moved > limit {
			t.Errorf("%d endpoints: %d of %d places moved needlessly; want at most %d", n, moved, len(before), limit)
		}
	}
}

// Consistent hashing is for traffic from outside, through each of a Service's addresses, and for what is forwarded.
func TestConsistentDecisions(t *testing.T) {
	annotated := func(value string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Annotations = map[string]string{AnnotationLoadBalancing: value} }
	}
	for _, tc := range []struct {
		name    string
		service *corev1.Service
		slice   *discoveryv1.EndpointSlice
		want    bool // from outside
	}{
		{"asked for", svc(loadBalancer("198.51.100.9"), annotated("maglev")), slice("1 n1 ready", "2 n2 ready"), true},
		{"asked for, policy Local", svc(loadBalancer("198.51.100.9"), externalLocal, annotated("maglev")), slice("1 n1 ready", "2 n2 ready"), true},
		{"nobody to forward to", svc(loadBalancer("198.51.100.9"), annotated("maglev")), slice(), false},
		{"another value", svc(loadBalancer("198.51.100.9"), annotated("random")), slice("1 n1 ready", "2 n2 ready"), false},
		{"not asked for", svc(loadBalancer("198.51.100.9")), slice("1 n1 ready", "2 n2 ready"), false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			frontends := Compile(tc.service, []*discoveryv1.EndpointSlice{tc.slice}, here)
			_, asked := tc.service.Annotations[AnnotationLoadBalancing]
			if warning := Warning(tc.service); (warning != "") != (asked && tc.name == "another value") {
				t.Errorf("warning %q", warning)
			}
			if len(frontends) < 3 {
				t.Fatalf("%d frontends; want a cluster IP, a NodePort and a load balancer's address", len(frontends))
			}
			for _, f := range frontends {
				for c, d := range f.Decisions {
					if want := tc.want && Class(c) == FromOutside; d.Consistent != want {
						t.Errorf("%s from %s: consistent is %v; want %v", f.String(), Class(c), d.Consistent, want)
					}
				}
			}
		})
	}
}
