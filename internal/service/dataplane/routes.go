package dataplane

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// routes leads what the node's own processes send to Services to the programs, for those processes that are not in the
// node's cgroup. Addresses for the outside have a route each, for they lie in no range of ours; without it the packet
// would look for the address on the wire, where this very node may be the one that answers for it.
type routes struct {
	h    *netlink.Handle
	link int
	// ipv6 says that the cluster has it. Without it the link has no IPv6 either, and nothing can be routed there.
	ipv6 bool
	// sources are the addresses that the node's processes take, since the link they send through has none.
	sources []netip.Addr
	// want are the prefixes in use, each with the number of its users.
	want map[netip.Prefix]int
	vips map[types.NamespacedName]map[netip.Prefix]bool
	// nodes are addresses of nodes. A Service may answer at one of them, but it stays the node's: a route would take
	// the way to the node from all else.
	nodes map[netip.Addr]bool
}

func newRoutes(h *netlink.Handle, link int, ipv6 bool, ranges []netip.Prefix) *routes {
	r := &routes{h: h, link: link, ipv6: ipv6, want: map[netip.Prefix]int{}, vips: map[types.NamespacedName]map[netip.Prefix]bool{}}
	for _, p := range ranges {
		r.want[p.Masked()]++
	}
	return r
}

// setSources takes other source addresses and sets all routes anew.
func (r *routes) setSources(own []netip.Addr) error {
	r.sources = own
	for p := range r.want {
		if err := r.set(p); err != nil {
			return err
		}
	}
	return nil
}

// setNodes follows the addresses of nodes.
func (r *routes) setNodes(nodes map[netip.Addr]bool) error {
	was := r.nodes
	r.nodes = nodes
	for p := range r.want {
		if !p.IsSingleIP() || was[p.Addr()] == nodes[p.Addr()] {
			continue
		}
		change := r.set
		if nodes[p.Addr()] {
			change = r.remove
		}
		if err := change(p); err != nil {
			return err
		}
	}
	return nil
}

// apply follows the outside addresses of one Service.
func (r *routes) apply(key types.NamespacedName, frontends []route.Frontend) error {
	now := map[netip.Prefix]bool{}
	for i := range frontends {
		f := &frontends[i]
		if (f.Kind == route.ExternalIP || f.Kind == route.LoadBalancer) && (f.Addr.Is4() || r.ipv6) {
			now[netip.PrefixFrom(f.Addr, f.Addr.BitLen())] = true
		}
	}
	was := r.vips[key]
	if maps.Equal(was, now) {
		return nil
	}
	for p := range now {
		if was[p] {
			continue
		}
		if err := r.set(p); err != nil {
			return err
		}
	}
	for p := range was {
		if !now[p] && r.want[p] == 1 {
			if err := r.remove(p); err != nil {
				return err
			}
		}
	}
	r.count(was, -1)
	r.count(now, 1)
	if r.vips[key] = now; len(now) == 0 {
		delete(r.vips, key)
	}
	return nil
}

func (r *routes) count(prefixes map[netip.Prefix]bool, by int) {
	for p := range prefixes {
		if r.want[p] += by; r.want[p] == 0 {
			delete(r.want, p)
		}
	}
}

func (r *routes) route(p netip.Prefix) *netlink.Route {
	return &netlink.Route{
		LinkIndex: r.link,
		Scope:     netlink.SCOPE_LINK,
		Dst:       &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())},
	}
}

func (r *routes) set(p netip.Prefix) error {
	if p.IsSingleIP() && r.nodes[p.Addr()] {
		return nil
	}
	rt := r.route(p)
	for _, a := range r.sources {
		if a.Is6() == p.Addr().Is6() {
			rt.Src = a.AsSlice()
		}
	}
	err := r.h.RouteReplace(rt)
	if errors.Is(err, unix.EINVAL) && rt.Src != nil {
		// The node may be known by an address that is not on any of its interfaces.
		rt.Src = nil
		err = r.h.RouteReplace(rt)
	}
	if err != nil {
		return fmt.Errorf("route %s to link %s: %w", p, routeLink, err)
	}
	return nil
}

func (r *routes) remove(p netip.Prefix) error {
	if err := r.h.RouteDel(r.route(p)); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("remove route %s to link %s: %w", p, routeLink, err)
	}
	return nil
}

// sweep removes routes of an earlier process that nobody asked for again.
func (r *routes) sweep() error {
	have, err := r.h.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: r.link}, netlink.RT_FILTER_OIF)
	if err != nil {
		return fmt.Errorf("list routes of link %s: %w", routeLink, err)
	}
	for _, rt := range have {
		if rt.Dst == nil || rt.Protocol == unix.RTPROT_KERNEL {
			continue
		}
		ip, _ := netip.AddrFromSlice(rt.Dst.IP)
		bits, _ := rt.Dst.Mask.Size()
		p := netip.PrefixFrom(ip.Unmap(), bits)
		if r.want[p] == 0 || p.IsSingleIP() && r.nodes[p.Addr()] {
			if err := r.remove(p); err != nil {
				return err
			}
		}
	}
	return nil
}
