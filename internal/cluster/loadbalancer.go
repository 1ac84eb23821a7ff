package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"minato/internal/loadbalancer/config"
)

// How many addresses of the LAN the cluster's own pool has, and where they are:
// on a LAN with 16 bits of hosts or more at .200.1, otherwise in its last 256
// addresses. On a LAN of 256 addresses they come after those of the nodes.
const (
	poolSize      = 250
	poolBlock     = 200
	lanBlock      = 8
	lanOfPoolSize = 16
)

// defaultPool are the addresses that Services of type LoadBalancer get from a
// LAN: none that a node can have, nor the LAN's first or last one.
func defaultPool(lan netip.Prefix) config.Range {
	bits := lan.Addr().BitLen()
	host := bits - lan.Bits()
	first, last := 1, poolSize
	switch {
	case host >= lanOfPoolSize:
		first, last = poolBlock<<lanBlock+1, poolBlock<<lanBlock+poolSize
	case host > lanBlock:
		block := 1<<host - 1<<lanBlock
		first, last = block+1, block+poolSize
	default:
		first, last = firstNodeLAN+maxNodes+1, poolSize
	}
	return config.Range{First: nth(lan.Addr(), first, bits), Last: nth(lan.Addr(), last, bits)}
}

// noPool, in place of ranges, leaves a cluster without a pool of its own.
const noPool = "none"

// PoolRanges are the addresses of the cluster's own pool for Services of type
// LoadBalancer: a list of CIDRs and of ranges such as
// 172.30.200.1-172.30.200.250 with commas between, or "none". Empty is a range
// of each LAN.
type PoolRanges string

// String implements pflag.Value.
func (r *PoolRanges) String() string { return string(*r) }

// Type implements pflag.Value.
func (r *PoolRanges) Type() string { return "ranges" }

// Set implements pflag.Value.
func (r *PoolRanges) Set(s string) error {
	_, err := PoolRanges(s).parse()
	*r = PoolRanges(s)
	return err
}

// parse reads the ranges; there are none for noPool and where nothing is given.
func (r PoolRanges) parse() ([]config.Range, error) {
	if r == "" || r == noPool {
		return nil, nil
	}
	var out []config.Range
	for part := range strings.SplitSeq(string(r), ",") {
		one, err := config.ParseRange(part)
		if err != nil {
			return nil, err
		}
		for _, other := range out {
			if one.Overlaps(other) {
				return nil, fmt.Errorf("%s overlaps %s; give each address once", one, other)
			}
		}
		out = append(out, one)
	}
	return out, nil
}

// Pool returns the ranges of the cluster's own pool, none if it has none.
func (c Config) Pool() []config.Range {
	ranges, err := c.LoadBalancerRange.parse()
	if err != nil || c.LoadBalancerRange != "" {
		return ranges
	}
	for _, lan := range c.LAN {
		ranges = append(ranges, defaultPool(lan))
	}
	return ranges
}

// validatePool returns an error for the first range that the pool can't have.
func (c Config) validatePool() error {
	ranges, err := c.LoadBalancerRange.parse()
	if err != nil {
		return fmt.Errorf("--load-balancer-range: %w", err)
	}
	for _, r := range ranges {
		if !slices.ContainsFunc(c.IPFamily.families(), func(f family) bool { return f.is6 == r.First.Is6() }) {
			return fmt.Errorf("--load-balancer-range %s: the cluster has no addresses of that IP family; give another range, or another --ip-family than %s", r, c.IPFamily)
		}
		for i, gateway := range c.Gateways() {
			if last := c.NodeIPs(c.lastNumber())[i]; r.Overlaps(config.Range{First: gateway, Last: last}) {
				return fmt.Errorf("--load-balancer-range %s: %s to %s are the addresses of the machine and of the nodes; give a range without them", r, gateway, last)
			}
		}
		for _, p := range slices.Concat(c.PodCIDR, c.ServiceCIDR) {
			if p.Contains(r.First) || r.Contains(p.Addr()) {
				return fmt.Errorf("--load-balancer-range %s: overlaps %s, the range of Pods or Services; give another range", r, p)
			}
		}
	}
	return nil
}
