package pool

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

// PoolUsage is how much of a pool is used. An address that several Services share counts once. Numbers too large for an
// int64 are the largest one.
type PoolUsage struct {
	AssignedIPv4, AssignedIPv6   int64
	AvailableIPv4, AvailableIPv6 int64
	// TotalIPv4 and TotalIPv6 are the pool's size, without the addresses that it avoids or that belong to another pool.
	TotalIPv4, TotalIPv6 int64
	// Services is the number of Services with an address of the pool.
	Services int64
}

// Usage counts for every pool, by name, what the decisions use of it.
func Usage(pools []config.Pool, decisions map[types.NamespacedName]Decision) map[string]PoolUsage {
	all := newSpaces(pools)
	out := make(map[string]PoolUsage, len(pools))
	for name, s := range all.byName {
		out[name] = PoolUsage{TotalIPv4: s.v4.size(), TotalIPv6: s.v6.size()}
	}
	seen := make(map[netip.Addr]bool, len(decisions))
	for _, d := range decisions {
		u, ok := out[d.Pool]
		if !ok || len(d.Addresses) == 0 {
			continue
		}
		u.Services++
		for _, a := range d.Addresses {
			if s, _ := all.owner(a); s == nil || s.pool.Name != d.Pool || seen[a] {
				continue
			}
			seen[a] = true
			if familyOf(a) == corev1.IPv4Protocol {
				u.AssignedIPv4++
			} else {
				u.AssignedIPv6++
			}
		}
		out[d.Pool] = u
	}
	for name, u := range out {
		u.AvailableIPv4 = u.TotalIPv4 - u.AssignedIPv4
		u.AvailableIPv6 = u.TotalIPv6 - u.AssignedIPv6
		out[name] = u
	}
	return out
}

// size is the number of addresses of the shelf.
func (s *shelf) size() int64 {
	n := int64(0)
	for _, r := range s.ranges {
		n = saturating(n, size(r, s.avoid))
	}
	return n
}
