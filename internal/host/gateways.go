package host

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Gateways lists the routers of the namespace's default routes that leave by one of the interfaces named, each once.
func (n *Net) Gateways(links ...string) ([]netip.Addr, error) {
	routes, err := n.h.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	names := map[int]string{}
	all, err := ListLinks(n.h)
	if err != nil {
		return nil, err
	}
	for _, l := range all {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []netip.Addr
	add := func(ip []byte, link int) {
		a, ok := netip.AddrFromSlice(ip)
		if a = a.Unmap(); ok && slices.Contains(links, names[link]) && !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	for _, r := range routes {
		if r.Dst != nil && !isDefault(r.Dst) || r.Type != unix.RTN_UNICAST {
			continue
		}
		add(r.Gw, r.LinkIndex)
		for _, hop := range r.MultiPath {
			add(hop.Gw, hop.LinkIndex)
		}
	}
	return out, nil
}
