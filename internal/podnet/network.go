package podnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"minato/internal/host"
)

// Config describes the Pod network of one node.
type Config struct {
	Netns host.Netns // the node's network namespace
	// NodeIPs are the source addresses of the node's own packets to Pods,
	// PodCIDRs the node's share of the Pod ranges: one of each family, in the
	// same order, the primary family first.
	NodeIPs  []netip.Addr
	PodCIDRs []netip.Prefix
	MTU      int    // of the LAN, in bytes
	Dir      string // where allocated addresses are remembered
	// OnAttach is called with the node's end of a new Pod link before the Pod
	// can send, so that programs are in place for its first packet.
	OnAttach func(link string) error
}

// Network attaches the Pods of one node.
type Network struct {
	cfg       Config
	addresses []*addresses // of each family
	net       *host.Net
}

// New opens the node's namespace and the record of its addresses.
func New(cfg Config) (*Network, error) {
	if len(cfg.PodCIDRs) == 0 || len(cfg.PodCIDRs) != len(cfg.NodeIPs) {
		return nil, fmt.Errorf("Pod network: PodCIDRs %v and NodeIPs %v do not match; give one of each IP family", cfg.PodCIDRs, cfg.NodeIPs)
	}
	n := &Network{cfg: cfg}
	for i, cidr := range cfg.PodCIDRs {
		if cidr.Addr().Is6() != cfg.NodeIPs[i].Is6() {
			return nil, fmt.Errorf("Pod network: PodCIDRs %v and NodeIPs %v do not match; give them in the same order of IP families", cfg.PodCIDRs, cfg.NodeIPs)
		}
		addrs, err := openAddresses(cfg.Dir, cidr)
		if err != nil {
			return nil, err
		}
		n.addresses = append(n.addresses, addrs)
	}
	var err error
	if n.net, err = host.OpenNet(cfg.Netns); err != nil {
		return nil, err
	}
	if err := n.closeRanges(); err != nil {
		n.net.Close()
		return nil, fmt.Errorf("Pod network: %w", err)
	}
	return n, nil
}

// closeRanges has whoever sends to an address of the node's ranges that no Pod has be told so at once. The node's default
// route leads to the machine, which would send the packet back, and so on until its time to live is over.
func (n *Network) closeRanges() error {
	for _, cidr := range n.cfg.PodCIDRs {
		if err := n.net.ReplaceRoute(host.Route{Dst: cidr, Unreachable: true, Metric: host.LastResort}); err != nil {
			return err
		}
	}
	return nil
}

// Close releases the netlink socket; Pods stay attached.
func (n *Network) Close() { n.net.Close() }

// podLink is the Pod's end of its link.
const podLink = "eth0"

// The first bytes of the hardware addresses of both ends.
const (
	podMACPrefix  = 0x0a
	nodeMACPrefix = 0x0e
)

// linkPrefix starts the name of the node's end; the Pod's number in the
// node's primary range follows, so that 10.244.1.7 is seen as pod7.
const linkPrefix = "pod"

func (n *Network) linkName(ip netip.Addr) string {
	offset, base := ip.AsSlice(), n.addresses[0].prefix.Addr().AsSlice()
	number := 0
	for i := max(0, len(base)-4); i < len(base); i++ {
		number = number<<8 | int(offset[i]-base[i])
	}
	return fmt.Sprintf("%s%d", linkPrefix, number)
}

// Attach gives the Pod sandbox id, whose namespace is at netnsPath, its
// interface, addresses and routes. Called again for the same id, it makes what
// is missing.
func (n *Network) Attach(ctx context.Context, id, netnsPath string) ([]netip.Addr, error) {
	var ips []netip.Addr
	for _, a := range n.addresses {
		ip, err := a.allocate(id)
		if err != nil {
			return nil, err
		}
		ips = append(ips, ip)
	}
	if err := n.connect(ips, host.Netns{Name: id, Path: netnsPath}); err != nil {
		return nil, fmt.Errorf("attach Pod sandbox %s to the network: %w", id, err)
	}
	return ips, nil
}

func (n *Network) connect(ips []netip.Addr, pod host.Netns) error {
	link := n.linkName(ips[0])
	if slices.ContainsFunc(ips, netip.Addr.Is6) {
		if err := pod.EnableIPv6(); err != nil {
			return err
		}
	}
	// Hardware addresses are derived from the IP address, so each end gets a
	// permanent neighbour entry for the other one and never asks.
	podMAC, nodeMAC := hardwareAddr(podMACPrefix, ips[0]), hardwareAddr(nodeMACPrefix, ips[0])
	if err := n.net.AddVeth(link, "", nodeMAC, host.VethEnd{Netns: pod, Name: podLink, MAC: podMAC}, n.cfg.MTU); err != nil {
		return err
	}
	if n.cfg.OnAttach != nil {
		if err := n.cfg.OnAttach(link); err != nil {
			return err
		}
	}
	if err := n.net.SetUp(link, ""); err != nil {
		return err
	}
	for i, ip := range ips {
		if err := n.net.ReplaceNeighbor(link, ip, podMAC); err != nil {
			return err
		}
		if err := n.net.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(ip, ip.BitLen()), Link: link, Src: n.cfg.NodeIPs[i]}); err != nil {
			return err
		}
	}
	return n.configurePod(pod, ips, nodeMAC)
}

// configurePod sets up the Pod's end: its routes lead to the gateways,
// addresses that exist only as permanent neighbour entries.
func (n *Network) configurePod(pod host.Netns, ips []netip.Addr, gatewayMAC net.HardwareAddr) error {
	inside, err := host.OpenNet(pod)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := inside.SetUp(podLink, ""); err != nil {
		return err
	}
	for i, ip := range ips {
		gateway := n.addresses[i].gateway()
		if err := inside.AddAddress(podLink, netip.PrefixFrom(ip, ip.BitLen())); err != nil {
			return err
		}
		if err := inside.ReplaceNeighbor(podLink, gateway, gatewayMAC); err != nil {
			return err
		}
		if err := inside.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(gateway, gateway.BitLen()), Link: podLink}); err != nil {
			return err
		}
		if err := inside.ReplaceRoute(host.Route{Dst: host.Everywhere(gateway), Via: gateway, Link: podLink}); err != nil {
			return err
		}
	}
	return nil
}

// Detach takes the sandbox's interface and addresses away. A sandbox that was
// never attached is no error.
func (n *Network) Detach(ctx context.Context, id string) error {
	if ip, ok := n.addresses[0].lookup(id); ok {
		if err := n.net.DeleteLink(n.linkName(ip)); err != nil {
			return fmt.Errorf("detach Pod sandbox %s from the network: %w", id, err)
		}
	}
	for _, a := range n.addresses {
		if ip, ok := a.lookup(id); ok {
			if err := a.release(ip); err != nil {
				return err
			}
		}
	}
	return nil
}

// Links lists the node's ends of all Pod links, for programs to be attached
// to after a restart.
func (n *Network) Links() ([]string, error) {
	all, err := n.net.Links()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, l := range all {
		if strings.HasPrefix(l.Name, linkPrefix) {
			names = append(names, l.Name)
		}
	}
	return names, nil
}

// hardwareAddr derives a locally administered address from ip.
func hardwareAddr(first byte, ip netip.Addr) net.HardwareAddr {
	b := ip.AsSlice()
	return append(net.HardwareAddr{first, 0x58}, b[len(b)-4:]...)
}
