package proxy

import (
	"net/netip"
	"slices"

	"minato/internal/host"
	"minato/internal/service/dataplane"
	"minato/internal/service/route"
)

// plane is the data plane, told of this node what its object does not say.
type plane struct {
	*dataplane.DataPlane
	node  string
	ips   []netip.Addr
	ports []netip.Prefix // where NodePorts answer, besides
}

// SetNodes is the data plane's, with the addresses of this node in another order: the first of a family is the one that
// masqueraded traffic takes, and has to be on an interface.
func (p plane) SetNodes(nodes []route.Node) error {
	nodes = slices.Clone(nodes)
	for i := range nodes {
		if nodes[i].Name != p.node {
			continue
		}
		addrs, err := p.ownAddrs(nodes[i].Addrs)
		if err != nil {
			return err
		}
		nodes[i].Addrs = addrs
	}
	return p.DataPlane.SetNodes(nodes)
}

func (p plane) ownAddrs(object []netip.Addr) ([]netip.Addr, error) {
	out := slices.Clone(p.ips)
	add := func(a netip.Addr) {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, a := range object {
		add(a)
	}
	if len(p.ports) == 0 {
		return out, nil
	}
	n, err := host.OpenNet(host.Netns{})
	if err != nil {
		return nil, err
	}
	defer n.Close()
	have, err := n.Addresses()
	if err != nil {
		return nil, err
	}
	for _, a := range have {
		if within(p.ports, a.Address) {
			add(a.Address)
		}
	}
	return out, nil
}

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
