package pool

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

// size is the number of addresses of the shelf.
func (s *shelf) size() int64 {
	n := int64(0)
	for _, r := range s.ranges {
		n = saturating(n, size(r, s.avoid))
	}
	return n
}
