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

// routes are the node's routes to Services, by way of routeLink. They bring packets of the node's own processes to the programs,
// if the socket programs did not serve the process, because it is not in the node's cgroup. The Service ranges have a route,
// and each external IP and load balancer's address has one: without it the node would look for that address on its network,
// although this very node may serve it.
type routes struct {
	h    *netlink.Handle
	link int
	// ipv6 says that the cluster has IPv6. Otherwise it is off on routeLink, which can have no IPv6 route then.
	ipv6 bool
	// sources are the source addresses of the routes, because routeLink has no address.
	sources []netip.Addr
	// want counts for each prefix the Services that need a route to it; a Service range counts as one.
	want map[netip.Prefix]int
	vips map[types.NamespacedName]map[netip.Prefix]bool
	// nodes are the addresses of all nodes. If a Service has one of them as an external IP, it gets no route: that would
	// cut the node off from all but the Service.
	nodes map[netip.Addr]bool
}

func newRoutes(h *netlink.Handle, link int, ipv6 bool, ranges []netip.Prefix) *routes {
	r := &routes{h: h, link: link, ipv6: ipv6, want: map[netip.Prefix]int{}, vips: map[types.NamespacedName]map[netip.Prefix]bool{}}
	for _, p := range ranges {
		r.want[p.Masked()]++
	}
	return r
}

// setSources sets all routes anew with other source addresses.
func (r *routes) setSources(own []netip.Addr) error {
	r.sources = own
	for p := range r.want {
		if err := r.set(p); err != nil {
			return err
		}
	}
	return nil
}

// setNodes takes over changed addresses of nodes.
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

// apply sets and removes the routes to the external IPs and load balancer's addresses of one Service.
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
		// The kernel refuses a source address that is on none of the node's interfaces.
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

// sweep removes routes of an earlier process that no Service needs.
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
