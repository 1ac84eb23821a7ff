package foreign

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// Interfaces are how a node is connected to the outside.
type Interfaces struct {
	// Uplinks have the node's addresses; IPs are one of these of each family.
	Uplinks []string
	IPs     []netip.Addr
	// Object are all addresses of the Node object.
	Object []netip.Addr
}

// Equal tells whether nothing has changed.
func (i Interfaces) Equal(o Interfaces) bool {
	return slices.Equal(i.Uplinks, o.Uplinks) && slices.Equal(i.IPs, o.IPs) && slices.Equal(i.Object, o.Object)
}

// Has tells whether the node has an address of the family of another one.
func (i Interfaces) Has(like netip.Addr) bool {
	return slices.ContainsFunc(i.IPs, func(ip netip.Addr) bool { return ip.Is6() == like.Is6() })
}

// FindInterfaces reads the interfaces of this network namespace. If uplinks are given, they are the only ones.
func FindInterfaces(node *corev1.Node, uplinks []string) (Interfaces, error) {
	n, err := host.OpenNet(host.Netns{})
	if err != nil {
		return Interfaces{}, err
	}
	defer n.Close()
	have, err := n.Addresses()
	if err != nil {
		return Interfaces{}, err
	}
	return Choose(node, have, uplinks)
}

// FindGateways returns the routers of default routes that leave by the uplinks, of the families that the node has.
func (i Interfaces) FindGateways() ([]netip.Addr, error) {
	n, err := host.OpenNet(host.Netns{})
	if err != nil {
		return nil, err
	}
	defer n.Close()
	all, err := n.Gateways(i.Uplinks...)
	return slices.DeleteFunc(all, func(gw netip.Addr) bool { return !i.Has(gw) }), err
}

// Choose picks the node's addresses: those of its Node object that an interface has, internal ones first; if no interface
// has one, the addresses of the uplinks that were given.
func Choose(node *corev1.Node, have []host.LinkAddress, uplinks []string) (Interfaces, error) {
	out := Interfaces{Uplinks: slices.Clone(uplinks), Object: addressesOf(node)}
	take := func(a host.LinkAddress) {
		if !out.Has(a.Address) {
			out.IPs = append(out.IPs, a.Address)
		}
	}
	for _, ip := range out.Object {
		i := slices.IndexFunc(have, func(a host.LinkAddress) bool { return a.Address == ip })
		if i < 0 || len(uplinks) > 0 && !slices.Contains(uplinks, have[i].Link) {
			continue
		}
		if !slices.Contains(out.Uplinks, have[i].Link) {
			out.Uplinks = append(out.Uplinks, have[i].Link)
		}
		take(have[i])
	}
	if len(out.IPs) == 0 {
		for _, a := range have {
			if slices.Contains(uplinks, a.Link) {
				take(a)
			}
		}
	}
	if len(out.IPs) == 0 {
		return out, fmt.Errorf("no interface has one of the addresses of Node %s, %v; name the interface towards the outside with --uplink", node.Name, out.Object)
	}
	return out, nil
}
