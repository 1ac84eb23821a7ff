package proxy

import (
	"net/netip"
	"slices"
)

func within(ranges []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}

// nodePortsAt tells at which node addresses NodePorts answer; nil is all of them. With "primary", other nodes decide for
// their own addresses.
func nodePortsAt(cfg *Config, node []netip.Addr, ips []netip.Addr) (func(netip.Addr) bool, []netip.Prefix, error) {
	ranges, err := cfg.nodePortRanges()
	switch {
	case err != nil || len(cfg.NodePortAddresses) == 0:
		return nil, nil, err
	case len(ranges) == 0:
		return func(a netip.Addr) bool { return slices.Contains(ips, a) || !slices.Contains(node, a) }, nil, nil
	}
	return func(a netip.Addr) bool { return within(ranges, a) }, ranges, nil
}
