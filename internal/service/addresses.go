package service

import (
	"net/netip"
	"slices"

	"minato/internal/host"
	"minato/internal/service/route"
)

// ownAddresses is the data plane, told of this node what its Node object does not say.
type ownAddresses struct {
	DataPlane
	cfg NodeConfig
}

// SetNodes is the data plane's, with the addresses of this node in another order: the first of a family is the one that
// masqueraded traffic takes, and has to be on an interface.
func (p ownAddresses) SetNodes(nodes []route.Node) error {
	nodes = slices.Clone(nodes)
	for i := range nodes {
		if nodes[i].Name != p.cfg.Name {
			continue
		}
		addrs, err := p.complete(nodes[i].Addrs)
		if err != nil {
			return err
		}
		nodes[i].Addrs = addrs
	}
	return p.DataPlane.SetNodes(nodes)
}

// complete puts the node's own addresses before those of its object, and those of its interfaces at which NodePorts
// answer besides after them.
func (p ownAddresses) complete(object []netip.Addr) ([]netip.Addr, error) {
	out := slices.Clone(p.cfg.Addresses)
	add := func(a netip.Addr) {
		if !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, a := range object {
		add(a)
	}
	if len(p.cfg.NodePortRanges) == 0 {
		return out, nil
	}
	n, err := host.OpenNet(p.cfg.Netns)
	if err != nil {
		return nil, err
	}
	defer n.Close()
	have, err := n.Addresses()
	if err != nil {
		return nil, err
	}
	for _, a := range have {
		if slices.ContainsFunc(p.cfg.NodePortRanges, func(r netip.Prefix) bool { return r.Contains(a.Address) }) {
			add(a.Address)
		}
	}
	return out, nil
}
