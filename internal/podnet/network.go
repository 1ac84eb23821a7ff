package podnet

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"minato/internal/host"
)

// Config describes the Pod network of one node.
type Config struct {
	Netns   host.Netns   // the node's network namespace
	NodeIP  netip.Addr   // source address of the node's own packets to Pods
	PodCIDR netip.Prefix // the node's share of the Pod range
	MTU     int          // of the LAN, in bytes
	Dir     string       // where allocated addresses are remembered
	// OnAttach is called with the node's end of a new Pod link before the Pod
	// can send, so that programs are in place for its first packet.
	OnAttach func(link string) error
}

// Network attaches the Pods of one node.
type Network struct {
	cfg       Config
	addresses *addresses
	net       *host.Net
}

// New opens the node's namespace and the record of its addresses.
func New(cfg Config) (*Network, error) {
	addrs, err := openAddresses(cfg.Dir, cfg.PodCIDR)
	if err != nil {
		return nil, err
	}
	n, err := host.OpenNet(cfg.Netns)
	if err != nil {
		return nil, err
	}
	return &Network{cfg: cfg, addresses: addrs, net: n}, nil
}

// Close releases the netlink socket; Pods stay attached.
func (n *Network) Close() { n.net.Close() }

// podLink is the Pod's end of its link.
const podLink = "eth0"

// linkPrefix starts the name of the node's end; the Pod's number in the
// node's range follows, so that 10.244.1.7 is seen as pod7.
const linkPrefix = "pod"

func (n *Network) linkName(ip netip.Addr) string {
	offset, base := ip.AsSlice(), n.addresses.prefix.Addr().AsSlice()
	number := 0
	for i := max(0, len(base)-4); i < len(base); i++ {
		number = number<<8 | int(offset[i]-base[i])
	}
	return fmt.Sprintf("%s%d", linkPrefix, number)
}

// Attach gives the Pod sandbox id, whose namespace is at netnsPath, its
// interface, address and routes. Asked again for the same id it repairs.
func (n *Network) Attach(ctx context.Context, id, netnsPath string) ([]netip.Addr, error) {
	ip, err := n.addresses.allocate(id)
	if err != nil {
		return nil, err
	}
	if err := n.connect(ip, host.Netns{Name: id, Path: netnsPath}); err != nil {
		return nil, fmt.Errorf("attach Pod sandbox %s to the network: %w", id, err)
	}
	return []netip.Addr{ip}, nil
}

func (n *Network) connect(ip netip.Addr, pod host.Netns) error {
	link := n.linkName(ip)
	// Hardware addresses follow from the IP address, so both ends can know
	// each other's for good without asking.
	podMAC, nodeMAC := hardwareAddr(0x0a, ip), hardwareAddr(0x0e, ip)
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
	if err := n.net.ReplaceNeighbor(link, ip, podMAC); err != nil {
		return err
	}
	if err := n.net.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(ip, ip.BitLen()), Link: link, Src: n.cfg.NodeIP}); err != nil {
		return err
	}
	return configurePod(pod, ip, n.addresses.gateway(), nodeMAC)
}

// configurePod sets up the inside: everything goes to the gateway, an address
// that only exists as a neighbour entry.
func configurePod(pod host.Netns, ip, gateway netip.Addr, gatewayMAC net.HardwareAddr) error {
	inside, err := host.OpenNet(pod)
	if err != nil {
		return err
	}
	defer inside.Close()
	if err := inside.SetUp(podLink, ""); err != nil {
		return err
	}
	if err := inside.AddAddress(podLink, netip.PrefixFrom(ip, ip.BitLen())); err != nil {
		return err
	}
	if err := inside.ReplaceNeighbor(podLink, gateway, gatewayMAC); err != nil {
		return err
	}
	if err := inside.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(gateway, gateway.BitLen()), Link: podLink}); err != nil {
		return err
	}
	return inside.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: gateway, Link: podLink})
}

// Detach takes the sandbox's interface and address away. A sandbox that was
// never attached is no error.
func (n *Network) Detach(ctx context.Context, id string) error {
	ip, ok := n.addresses.lookup(id)
	if !ok {
		return nil
	}
	if err := n.net.DeleteLink(n.linkName(ip)); err != nil {
		return fmt.Errorf("detach Pod sandbox %s from the network: %w", id, err)
	}
	return n.addresses.release(ip)
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
