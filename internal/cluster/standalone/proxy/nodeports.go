package proxy

import (
	"net/netip"
	"slices"
)

func within(ranges []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(a) })
}

// nodePortsAt tells where NodePorts answer; nil is everywhere. What "primary" means on other nodes is theirs to know.
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
