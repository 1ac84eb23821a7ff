package pool

import (
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
)

// PoolUsage is how much of a pool is used. An address that several Services share counts once. Numbers too large for an
// int64 are the largest one.
type PoolUsage struct {
	AssignedIPv4, AssignedIPv6   int64
	AvailableIPv4, AvailableIPv6 int64
	// TotalIPv4 and TotalIPv6 are the pool's size.
	TotalIPv4, TotalIPv6 int64
	// Services is the number of Services with an address of the pool.
	Services int64
}

// Usage counts for every pool, by name, what the decisions use of it.
func Usage(pools []config.Pool, decisions map[types.NamespacedName]Decision) map[string]PoolUsage {
	panic("in work")
}
