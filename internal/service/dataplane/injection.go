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
	// The node's routes to the Service ranges lead to routeLink. It is one end of a veth pair, and packets that are sent to
	// it arrive at the other end, injectLink.
	routeLink  = "svc0"
	injectLink = "svc1"

	loopbackIndex = 1
)

// injectMAC is the MAC address of both ends. ARP is off, so a packet that is sent has the sender's MAC address as its
// destination, and the receiver accepts it because it has the same one.
var injectMAC = net.HardwareAddr{0x02, 0x6d, 0x6e, 0x73, 0x76, 0x63}

// loose is an address that injectLink gets where reverse path filtering can't be switched off: without any, the kernel
// applies the strict filter.
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

// ensureInjection makes the veth pair for rewritten packets and sets its sysctls.
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
		return false, fmt.Errorf("link %s exists already and is a %s, where the data plane needs a veth of this name; rename that link", routeLink, l.Type())
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

// tolerate makes injectLink accept packets whose source is an address of the node or one that is routed to another
// interface. Nobody but the programs and the node itself can send to it.
func (d *DataPlane) tolerate(inject netlink.Link) error {
	conf := "net/ipv4/conf/" + injectLink + "/"
	filter := "0"
	err := d.cfg.Netns.Do(func() error {
		// The kernel takes the higher value of this interface's setting and the one of "all". 2, loose, is higher than 1,
		// strict.
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

// setIPv6 enables IPv6 on both links if the cluster has it, without link-local addresses and router advertisements. IPv6 has
// no reverse path filter to switch off.
func (d *DataPlane) setIPv6() error {
	const noAddress = "1"
	values := map[string]string{}
	if d.cfg.ipv6() {
		values[d.forwarding6()] = "1"
		values["net/ipv6/conf/"+injectLink+"/forwarding"] = "1" // bpf_fib_lookup requires it
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

// forwarding6 is the sysctl by which the kernel forwards rewritten IPv6 packets. Before Linux 6.17 there is one for all
// interfaces together; there, an uplink that learns its routes from router advertisements needs accept_ra=2.
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
