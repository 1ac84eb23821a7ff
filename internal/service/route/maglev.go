package route

import (
	"fmt"
	"slices"

	"github.com/cespare/xxhash/v2"
	corev1 "k8s.io/api/core/v1"
)

// AnnotationLoadBalancing on a Service says how traffic from outside the cluster is spread over its endpoints.
const AnnotationLoadBalancing = "minato.local/load-balancing"

// LoadBalancingMaglev is the annotation's value for consistent hashing: every node sends a connection, told by its
// addresses and ports, to the same endpoint, and a change of endpoints moves few of the others. Without it, each
// connection goes to an endpoint at random.
const LoadBalancingMaglev = "maglev"

// consistent tells whether the Service asks for consistent hashing.
func consistent(svc *corev1.Service) bool {
	return svc.Annotations[AnnotationLoadBalancing] == LoadBalancingMaglev
}

// Warning says what of a Service's annotations is not understood, with the remedy; it is empty if all is,
// or if there is no Service.
func Warning(svc *corev1.Service) string {
	if svc == nil {
		return ""
	}
	v, set := svc.Annotations[AnnotationLoadBalancing]
	if !set || v == LoadBalancingMaglev {
		return ""
	}
	return fmt.Sprintf("annotation %s: %q is unknown, and endpoints are picked at random; write %q or remove it", AnnotationLoadBalancing, v, LoadBalancingMaglev)
}

// Sizes of Maglev tables. They are prime, so that every step visits each place, and more than a hundred times the
// endpoints, so that the shares differ by no more than a percent or so. There are few of them, because a change of the
// size moves nearly every connection.
var maglevSizes = []int{16381, 131071}

// MaglevSize is the number of places in the table of so many endpoints.
func MaglevSize(endpoints int) int {
	if endpoints == 0 {
		return 0
	}
	for _, s := range maglevSizes {
		if s > 100*endpoints {
			return s
		}
	}
	return maglevSizes[len(maglevSizes)-1]
}

// MaglevTable spreads endpoints over a table by the algorithm of "Maglev: A Fast and Reliable Software Network Load
// Balancer" (NSDI 2016), section 3.4. Its values are indexes into the list. The result for an endpoint depends on its
// address and port alone, and not on the order of the list, so that nodes agree. It is nil for no endpoints.
func MaglevTable(backends []Backend) []uint32 {
	n := len(backends)
	if n == 0 {
		return nil
	}
	size := MaglevSize(n)
	// The turns of the endpoints are part of the outcome.
	turns := make([]uint32, n)
	for i := range turns {
		turns[i] = uint32(i)
	}
	slices.SortFunc(turns, func(a, b uint32) int { return backends[a].Addr.Compare(backends[b].Addr) })
	m := uint64(size)
	place, skip := make([]uint64, n), make([]uint64, n)
	for i, b := range backends {
		name, _ := b.Addr.MarshalBinary()
		place[i] = xxhash.Sum64(append(name, 'o')) % m
		skip[i] = xxhash.Sum64(append(name, 's'))%(m-1) + 1
	}
	table, taken := make([]uint32, size), make([]bool, size)
	for filled := 0; ; {
		for _, i := range turns {
			for taken[place[i]] {
				place[i] = (place[i] + skip[i]) % m
			}
			table[place[i]], taken[place[i]] = i, true
			if filled++; filled == size {
				return table
			}
		}
	}
}
