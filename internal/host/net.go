package host

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Net changes links, addresses, routes and neighbours of one network
// namespace over one netlink socket. It is safe for concurrent use.
type Net struct {
	ns Netns
	h  *netlink.Handle
}

// OpenNet opens ns for changes.
func OpenNet(ns Netns) (*Net, error) {
	h, err := ns.Handle()
	if err != nil {
		return nil, err
	}
	return &Net{ns: ns, h: h}, nil
}

// Close closes the netlink socket; what was made stays.
func (n *Net) Close() { n.h.Close() }

// VethEnd is one end of a veth pair.
type VethEnd struct {
	Netns Netns
	Name  string
	MAC   net.HardwareAddr // made up by the kernel where nil
}

// Link is what callers need to know of an interface.
type Link struct {
	Index int
	Name  string
	MAC   net.HardwareAddr
	MTU   int
}

// Link returns the interface of that name; ok is false where there is none.
func (n *Net) Link(name string) (link Link, ok bool, err error) {
	l, err := n.h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return Link{}, false, nil
	}
	if err != nil {
		return Link{}, false, fmt.Errorf("look up link %s: %w", name, err)
	}
	a := l.Attrs()
	return Link{Index: a.Index, Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU}, true, nil
}

// interruptions bounds how often a list is begun anew because links came or
// went meanwhile.
const interruptions = 20

// ListLinks lists all links of the handle's namespace.
func ListLinks(h *netlink.Handle) (links []netlink.Link, err error) {
	for range interruptions {
		if links, err = h.LinkList(); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	if err != nil {
		return nil, fmt.Errorf("list links: %w", err)
	}
	return links, nil
}

// Links lists the interfaces of the namespace.
func (n *Net) Links() ([]Link, error) {
	all, err := ListLinks(n.h)
	if err != nil {
		return nil, err
	}
	links := make([]Link, 0, len(all))
	for _, l := range all {
		a := l.Attrs()
		links = append(links, Link{Index: a.Index, Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU})
	}
	return links, nil
}

// EnsureBridge makes a bridge that is up and has the addresses.
func (n *Net) EnsureBridge(name string, mtu int, addresses ...netip.Prefix) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.Flags = name, mtu, net.FlagUp
	// A bridge without a hardware address of its own has that of one of its ports.
	// It would change as ports come and go, and packets of neighbours that have
	// cached the old one would be lost.
	attrs.HardwareAddr = make(net.HardwareAddr, 6)
	rand.Read(attrs.HardwareAddr)
	attrs.HardwareAddr[0] = attrs.HardwareAddr[0]&^1 | 2 // for one receiver, given locally
	br := &netlink.Bridge{LinkAttrs: attrs}
	if err := n.h.LinkAdd(br); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("create bridge %s: %w", name, err)
	}
	for _, a := range addresses {
		if a.Addr().Is6() {
			if err := n.ns.Sysctls(ownIPv6("net/ipv6/conf/" + name)); err != nil {
				return err
			}
		}
		if err := n.AddAddress(name, a); err != nil {
			return err
		}
	}
	return n.SetUp(name, "")
}

// AddVeth makes a veth pair between this namespace's end and the peer's, both
// with the MTU and both up. master is a bridge for this end, or empty. An
// interface of this end's name that exists already is left as it is.
func (n *Net) AddVeth(name, master string, mac net.HardwareAddr, peer VethEnd, mtu int) error {
	if _, ok, err := n.Link(name); ok || err != nil {
		return err
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.MTU, attrs.HardwareAddr, attrs.Flags = name, mtu, mac, net.FlagUp
	if master != "" {
		m, err := n.h.LinkByName(master)
		if err != nil {
			return fmt.Errorf("create link %s: master %s: %w", name, master, err)
		}
		attrs.MasterIndex = m.Attrs().Index
	}
	veth := &netlink.Veth{LinkAttrs: attrs, PeerName: peer.Name, PeerHardwareAddr: peer.MAC, PeerMTU: uint32(mtu)}
	if peer.Netns.Path != "" {
		target, err := netns.GetFromPath(peer.Netns.Path)
		if err != nil {
			return fmt.Errorf("create link %s: %w", name, err)
		}
		defer target.Close()
		veth.PeerNamespace = netlink.NsFd(target)
	}
	if err := n.h.LinkAdd(veth); err != nil {
		return fmt.Errorf("create link %s with peer %s in namespace %q: %w", name, peer.Name, peer.Netns.Name, err)
	}
	return nil
}

// SetUp sets the interface up, in the bridge master unless that is empty.
func (n *Net) SetUp(name, master string) error {
	l, err := n.h.LinkByName(name)
	if err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	if master != "" {
		m, err := n.h.LinkByName(master)
		if err != nil {
			return fmt.Errorf("set link %s up: master %s: %w", name, master, err)
		}
		if err := n.h.LinkSetMaster(l, m); err != nil {
			return fmt.Errorf("put link %s in bridge %s: %w", name, master, err)
		}
	}
	if err := n.h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set link %s up: %w", name, err)
	}
	return nil
}

// DeleteLink removes the interface; none of that name is fine.
func (n *Net) DeleteLink(name string) error {
	l, err := n.h.LinkByName(name)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil
	}
	if err == nil {
		err = n.h.LinkDel(l)
	}
	if err != nil && !errors.Is(err, unix.ENODEV) {
		return fmt.Errorf("delete link %s: %w", name, err)
	}
	return nil
}

// AddAddress gives the interface an address; it may have it already.
func (n *Net) AddAddress(link string, address netip.Prefix) error {
	l, err := n.h.LinkByName(link)
	if err == nil {
		err = n.h.AddrReplace(l, &netlink.Addr{IPNet: ipNet(address), Flags: unix.IFA_F_NODAD})
	}
	if err != nil {
		return fmt.Errorf("give address %s to link %s: %w", address, link, err)
	}
	return nil
}

// LinkAddress is an address of an interface.
type LinkAddress struct {
	Link    string
	Address netip.Addr
}

// Addresses lists the addresses of the namespace that others can reach: of
// global scope, on whichever interface.
func (n *Net) Addresses() ([]LinkAddress, error) {
	all, err := n.h.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	links, err := n.Links()
	if err != nil {
		return nil, err
	}
	names := map[int]string{}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var out []LinkAddress
	for _, a := range all {
		ip, ok := netip.AddrFromSlice(a.IP)
		if name := names[a.LinkIndex]; ok && name != "" && a.Scope == unix.RT_SCOPE_UNIVERSE {
			out = append(out, LinkAddress{Link: name, Address: ip.Unmap()})
		}
	}
	return out, nil
}

// Route is one route. Link, Blackhole or Unreachable says where it leads.
type Route struct {
	Dst       netip.Prefix
	Via       netip.Addr // gateway, or invalid for a destination on the link
	Link      string
	Src       netip.Addr // preferred source address, or invalid
	OnLink    bool       // take the gateway as reachable though no route says so
	Blackhole bool
	// Unreachable has senders told by ICMP, or by EHOSTUNREACH, that there is nothing.
	Unreachable bool
	Metric      int
}

// Everywhere is the destination of a default route of the address's family.
func Everywhere(like netip.Addr) netip.Prefix {
	if like.Is6() {
		return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
}

// LastResort is a metric that any other route to the same prefix beats.
const LastResort = 1<<31 - 1

// ReplaceRoute makes the route, in place of one with the same destination and metric.
func (n *Net) ReplaceRoute(r Route) error {
	nr, err := n.route(r)
	if err == nil {
		err = n.h.RouteReplace(nr)
	}
	if err != nil {
		return fmt.Errorf("set route to %s: %w", r.Dst, err)
	}
	return nil
}

// DeleteRoute removes the route; none like it is fine.
func (n *Net) DeleteRoute(r Route) error {
	nr, err := n.route(r)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		return nil // a route goes with its link
	}
	if err == nil {
		err = n.h.RouteDel(nr)
	}
	// A kernel without IPv6 has no IPv6 routes, and says that it can't list them.
	if err != nil && !errors.Is(err, unix.ESRCH) && !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.EAFNOSUPPORT) {
		return fmt.Errorf("delete route to %s: %w", r.Dst, err)
	}
	return nil
}

func (n *Net) route(r Route) (*netlink.Route, error) {
	nr := &netlink.Route{Dst: ipNet(r.Dst), Priority: r.Metric}
	switch {
	case r.Blackhole:
		nr.Type = unix.RTN_BLACKHOLE
		return nr, nil
	case r.Unreachable:
		nr.Type = unix.RTN_UNREACHABLE
		return nr, nil
	}
	l, err := n.h.LinkByName(r.Link)
	if err != nil {
		return nil, fmt.Errorf("link %s: %w", r.Link, err)
	}
	nr.LinkIndex = l.Attrs().Index
	if r.Via.IsValid() {
		nr.Gw = r.Via.AsSlice()
	} else {
		nr.Scope = netlink.SCOPE_LINK
	}
	if r.Src.IsValid() {
		nr.Src = r.Src.AsSlice()
	}
	if r.OnLink {
		nr.Flags = int(netlink.FLAG_ONLINK)
	}
	return nr, nil
}

// ReplaceNeighbor makes a permanent neighbour entry for ip on the link, so that
// no packet waits for ARP.
func (n *Net) ReplaceNeighbor(link string, ip netip.Addr, mac net.HardwareAddr) error {
	l, err := n.h.LinkByName(link)
	if err == nil {
		err = n.h.NeighSet(&netlink.Neigh{LinkIndex: l.Attrs().Index, State: netlink.NUD_PERMANENT, IP: ip.AsSlice(), HardwareAddr: mac})
	}
	if err != nil {
		return fmt.Errorf("set neighbour %s on link %s: %w", ip, link, err)
	}
	return nil
}

// Used is a range that the machine uses already.
type Used struct {
	Prefix netip.Prefix
	Link   string // empty for a route without a link
}

// UsedRanges lists the ranges that the namespace's own addresses and routes
// cover, without default routes.
func (n *Net) UsedRanges() ([]Used, error) {
	routes, err := n.h.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	names := map[int]string{}
	links, err := n.Links()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		names[l.Index] = l.Name
	}
	var used []Used
	for _, r := range routes {
		if r.Dst == nil {
			continue
		}
		p, ok := prefix(r.Dst)
		if ok && p.Bits() > 0 && !p.Addr().IsLinkLocalUnicast() && !p.Addr().IsMulticast() {
			link := names[r.LinkIndex]
			if r.Type == unix.RTN_BLACKHOLE { // an IPv6 one is said to be on the loopback
				link = ""
			}
			used = append(used, Used{Prefix: p, Link: link})
		}
	}
	return used, nil
}

// NextHops lists the gateways of the namespace's routes.
func (n *Net) NextHops() ([]netip.Addr, error) {
	routes, err := n.h.RouteList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var out []netip.Addr
	add := func(ip net.IP) {
		if a, ok := netip.AddrFromSlice(ip); ok {
			out = append(out, a.Unmap())
		}
	}
	for _, r := range routes {
		add(r.Gw)
		for _, hop := range r.MultiPath {
			add(hop.Gw)
		}
	}
	return out, nil
}

// SourceTo returns the interface through which the namespace sends to an
// address, and the source address that it takes; neither where there is no route.
func (n *Net) SourceTo(ip netip.Addr) (link string, source netip.Addr, err error) {
	routes, err := n.h.RouteGet(ip.AsSlice())
	if err != nil || len(routes) == 0 {
		return "", netip.Addr{}, nil // the kernel says so by errors of many kinds
	}
	l, err := n.h.LinkByIndex(routes[0].LinkIndex)
	if err != nil {
		return "", netip.Addr{}, fmt.Errorf("find the interface towards %s: %w", ip, err)
	}
	source, _ = netip.AddrFromSlice(routes[0].Src)
	return l.Attrs().Name, source.Unmap(), nil
}

// DefaultLink returns the interface of the default route of one family; ok is
// false where the machine has none.
func (n *Net) DefaultLink(ipv6 bool) (link Link, ok bool, err error) {
	family := netlink.FAMILY_V4
	if ipv6 {
		family = netlink.FAMILY_V6
	}
	routes, err := n.h.RouteList(nil, family)
	if err != nil {
		return Link{}, false, fmt.Errorf("list routes: %w", err)
	}
	for _, r := range routes {
		if r.Dst != nil && !isDefault(r.Dst) || r.LinkIndex == 0 || r.Type != unix.RTN_UNICAST {
			continue
		}
		l, err := n.h.LinkByIndex(r.LinkIndex)
		if err != nil {
			return Link{}, false, fmt.Errorf("look up the default route's link: %w", err)
		}
		a := l.Attrs()
		return Link{Index: a.Index, Name: a.Name, MAC: a.HardwareAddr, MTU: a.MTU}, true, nil
	}
	return Link{}, false, nil
}

func isDefault(n *net.IPNet) bool {
	ones, _ := n.Mask.Size()
	return ones == 0
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	addr, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(addr.Unmap(), ones), ok
}
