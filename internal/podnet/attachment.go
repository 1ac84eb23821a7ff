package podnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"

	"minato/internal/host"
)

// PodLink is the name of a Pod's interface in its own namespace.
const PodLink = podLink

// Attachment is how a sandbox is connected.
type Attachment struct {
	// Link is the node's end, whose hardware address is NodeMAC; the Pod's end is PodLink with PodMAC.
	Link            string
	NodeMAC, PodMAC net.HardwareAddr
	MTU             int
	// IPs are the Pod's addresses, and Gateways what its default routes lead to: one of each family.
	IPs, Gateways []netip.Addr
}

// Attachment describes the sandbox id; ok is false where it has no addresses.
func (n *Network) Attachment(id string) (a Attachment, ok bool) {
	for _, family := range n.addresses {
		ip, has := family.lookup(id)
		if !has {
			return Attachment{}, false
		}
		a.IPs, a.Gateways = append(a.IPs, ip), append(a.Gateways, family.gateway())
	}
	a.Link, a.MTU = n.linkName(a.IPs[0]), n.cfg.MTU
	a.PodMAC, a.NodeMAC = hardwareAddr(podMACPrefix, a.IPs[0]), hardwareAddr(nodeMACPrefix, a.IPs[0])
	return a, true
}

// Owners are the sandboxes that have addresses, in no order.
func (n *Network) Owners() []string { return n.addresses[0].owners() }

// Check tells whether the sandbox id is connected as Attach has left it.
func (n *Network) Check(id, netnsPath string) error {
	a, ok := n.Attachment(id)
	if !ok {
		return fmt.Errorf("sandbox %s has no addresses", id)
	}
	if _, there, err := n.net.Link(a.Link); err != nil || !there {
		return errorOr(err, "the node has no interface %s", a.Link)
	}
	inside, err := host.OpenNet(host.Netns{Name: id, Path: netnsPath})
	if err != nil {
		return err
	}
	defer inside.Close()
	have, err := inside.Addresses()
	if err != nil {
		return err
	}
	for _, ip := range a.IPs {
		if !slices.ContainsFunc(have, func(h host.LinkAddress) bool { return h.Link == podLink && h.Address == ip }) {
			return fmt.Errorf("the interface %s of the sandbox has no address %s", podLink, ip)
		}
	}
	return nil
}

func errorOr(err error, format string, args ...any) error {
	if err != nil {
		return err
	}
	return fmt.Errorf(format, args...)
}
