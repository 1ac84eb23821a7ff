package dataplane

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

const (
	// routeLink carries the node's own routes to the Service ranges; what is sent there comes out of injectLink.
	routeLink  = "svc0"
	injectLink = "svc1"

	loopbackIndex = 1
)

// injectMAC is the address of both ends. Neither uses ARP, so a packet sent to one is addressed to the other too.
var injectMAC = net.HardwareAddr{0x02, 0x6d, 0x6e, 0x73, 0x76, 0x63}

// loose is the address that the injection interface gets where reverse path filtering can't be switched off.
var loose = netip.MustParsePrefix("169.254.254.254/32")

// injection is what the programs need to know of the node's interfaces.
type injection struct {
	index   int // of the link where they come in
	route   int // of the other end
	mac     net.HardwareAddr
	uplinks []int
	// fresh says that the links were not there before, so no earlier process left anything attached.
	fresh bool
}

// ensureInjection makes the pair of links for rewritten packets and sets what the kernel must tolerate on it.
func (d *DataPlane) ensureInjection() (injection, error) {
	h := d.links
	in := injection{mac: injectMAC}
	mtu := 1500
	for i, name := range d.cfg.Uplinks {
		l, err := h.LinkByName(name)
		if err != nil {
			return in, fmt.Errorf("uplink %s of node %s: %w", name, d.cfg.NodeName, err)
		}
		if i == 0 {
			mtu = l.Attrs().MTU
		}
		in.uplinks = append(in.uplinks, l.Attrs().Index)
	}
	fresh, err := ensureLinks(h, mtu)
	if err != nil {
		return in, err
	}
	in.fresh = fresh
	r, err := h.LinkByName(routeLink)
	if err != nil {
		return in, fmt.Errorf("look up link %s: %w", routeLink, err)
	}
	l, err := h.LinkByName(injectLink)
	if err != nil {
		return in, fmt.Errorf("look up link %s: %w", injectLink, err)
	}
	in.index, in.route = l.Attrs().Index, r.Attrs().Index
	if err := errors.Join(d.tolerate(l), d.setIPv6()); err != nil {
		return in, err
	}
	return in, errors.Join(upWithoutARP(h, r), upWithoutARP(h, l))
}

func ensureLinks(h *netlink.Handle, mtu int) (fresh bool, err error) {
	l, err := h.LinkByName(routeLink)
	if errors.As(err, new(netlink.LinkNotFoundError)) {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU, attrs.HardwareAddr = routeLink, mtu, injectMAC
		veth := &netlink.Veth{LinkAttrs: attrs, PeerName: injectLink, PeerHardwareAddr: injectMAC, PeerMTU: uint32(mtu)}
		if err := h.LinkAdd(veth); err != nil {
			return false, fmt.Errorf("create links %s and %s: %w", routeLink, injectLink, err)
		}
		fresh = true
		l, err = h.LinkByName(routeLink)
	}
	if err != nil {
		return false, fmt.Errorf("look up link %s: %w", routeLink, err)
	}
	if _, isVeth := l.(*netlink.Veth); !isVeth {
		return false, fmt.Errorf("link %s exists and is not ours but a %s; rename it", routeLink, l.Type())
	}
	return fresh, nil
}

// upWithoutARP also spares IPv6 from looking for neighbours: there is one, and its address is known.
func upWithoutARP(h *netlink.Handle, l netlink.Link) error {
	if l.Attrs().Flags&net.FlagUp != 0 {
		return nil
	}
	if err := h.LinkSetARPOff(l); err != nil {
		return fmt.Errorf("switch ARP off on link %s: %w", l.Attrs().Name, err)
	}
	if err := h.LinkSetUp(l); err != nil {
		return fmt.Errorf("set link %s up: %w", l.Attrs().Name, err)
	}
	return nil
}

// tolerate lets packets in at the injection interface that have an address of the node as their source, or one that
// is routed elsewhere. Nobody but the programs and the node itself can send there.
func (d *DataPlane) tolerate(inject netlink.Link) error {
	conf := "net/ipv4/conf/" + injectLink + "/"
	filter := "0"
	err := d.cfg.Netns.Do(func() error {
		// The kernel takes the stricter of this interface's filter and the one of "all", and calls 2 stricter than 1
		// although it is looser.
		if all, err := host.ReadSysctl("net/ipv4/conf/all/rp_filter"); err != nil {
			return err
		} else if all != "0" {
			filter = "2"
		}
		return nil
	})
	if err != nil {
		return err
	}
	if filter == "2" {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: loose.Addr().AsSlice(), Mask: net.CIDRMask(32, 32)}, Scope: unix.RT_SCOPE_LINK}
		if err := d.links.AddrReplace(inject, addr); err != nil {
			return fmt.Errorf("add address %s to link %s: %w", loose, injectLink, err)
		}
	}
	return d.cfg.Netns.Sysctls(map[string]string{
		conf + "rp_filter":    filter,
		conf + "accept_local": "1",
		conf + "forwarding":   "1",
	})
}

// setIPv6 has the links carry IPv6 if the cluster has it. They get no addresses of their own and listen to no router.
// IPv6 has no filter for sources, so nothing needs to be tolerated.
func (d *DataPlane) setIPv6() error {
	const noAddress = "1"
	values := map[string]string{}
	if d.cfg.ipv6() {
		values[d.forwarding6()] = "1"
		values["net/ipv6/conf/"+injectLink+"/forwarding"] = "1" // which a look-up of a route asks about
	}
	for _, name := range []string{routeLink, injectLink} {
		conf := "net/ipv6/conf/" + name + "/"
		if !d.cfg.ipv6() {
			values[conf+"disable_ipv6"] = "1"
			continue
		}
		values[conf+"disable_ipv6"], values[conf+"addr_gen_mode"], values[conf+"accept_ra"] = "0", noAddress, "0"
	}
	return d.cfg.Netns.Sysctls(values)
}

// forwarding6 is the setting that has rewritten packets forwarded. Before Linux 6.17, IPv6 forwards what comes in at any
// interface or at none; there, a node whose uplinks learn routes from routers needs accept_ra=2 on them.
func (d *DataPlane) forwarding6() string {
	here := "net/ipv6/conf/" + injectLink + "/force_forwarding"
	err := d.cfg.Netns.Do(func() error {
		_, err := host.ReadSysctl(here)
		return err
	})
	if err != nil {
		return "net/ipv6/conf/all/forwarding"
	}
	return here
}
