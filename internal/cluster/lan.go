package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"minato/internal/host"
)

// lan is the machine's side of the cluster's network: the bridge, the
// namespaces of the nodes, and the routes that keep the cluster's ranges on
// this machine.
type lan struct {
	cfg     Config
	paths   Paths
	net     *host.Net
	mtu     int
	sysctls sysctls // of the machine
}

// defaultMTU is the LAN's where the machine has no default route.
const defaultMTU = 1500

func openLAN(cfg Config) (*lan, error) {
	n, err := host.OpenNet(host.Netns{})
	if err != nil {
		return nil, err
	}
	l := &lan{cfg: cfg, paths: Paths{Name: cfg.Name}, net: n, mtu: defaultMTU, sysctls: sysctls{sysctlFile, cfg.Name}}
	for _, f := range cfg.IPFamily.families() {
		if uplink, ok, err := n.DefaultLink(f.is6); err != nil {
			return nil, err
		} else if ok {
			// Packets that leave the machine must fit its uplink.
			l.mtu = min(l.mtu, uplink.MTU)
		}
	}
	return l, nil
}

func (l *lan) close() { l.net.Close() }

// up makes the bridge and the machine's routes. What exists already is kept.
func (l *lan) up() error {
	bridge := l.paths.Bridge()
	gateways, first := l.cfg.Gateways(), l.cfg.NodeIPs(1)
	if err := l.net.EnsureBridge(bridge, l.mtu, onLAN(gateways, l.cfg.LAN)...); err != nil {
		return err
	}
	for _, r := range l.blackholes() {
		if err := l.net.ReplaceRoute(r); err != nil {
			return err
		}
	}
	// The machine, and the API server in it, reach Services through the
	// first node, which translates like for any client from outside.
	for i, services := range l.cfg.ServiceCIDR {
		if err := l.net.ReplaceRoute(host.Route{Dst: services, Via: first[i], Link: bridge, Src: gateways[i]}); err != nil {
			return err
		}
	}
	return l.egress()
}

// onLAN gives each address the prefix length of the LAN's range.
func onLAN(addresses []netip.Addr, lan Ranges) []netip.Prefix {
	var out []netip.Prefix
	for i, a := range addresses {
		out = append(out, netip.PrefixFrom(a, lan[i].Bits()))
	}
	return out
}

// blackholes are routes that drop packets for the cluster's ranges, so that none
// leaves the machine. Any route that is more specific or has a smaller metric
// wins.
func (l *lan) blackholes() []host.Route {
	var routes []host.Route
	for _, dst := range slices.Concat(l.cfg.ServiceCIDR, l.cfg.PodCIDR, l.cfg.LAN) {
		routes = append(routes, host.Route{Dst: dst, Blackhole: true, Metric: host.LastResort})
	}
	return routes
}

func (l *lan) masquerade() host.Masquerade {
	inside := slices.Concat(l.cfg.LAN, l.cfg.PodCIDR, l.cfg.ServiceCIDR)
	return host.Masquerade{Table: l.paths.NATTable(), Sources: slices.Concat(l.cfg.LAN, l.cfg.PodCIDR), Internal: inside, LAN: l.paths.Bridge()}
}

// nodeLink is the node's interface on the LAN.
const nodeLink = "eth0"

// port is the bridge's end of the link to node number i.
func (l *lan) port(i int) string { return fmt.Sprintf("%s-n%d", l.cfg.Name, i) }

// addNode makes the namespace of node number i and puts it on the LAN.
func (l *lan) addNode(i int) (host.Netns, error) {
	ns := l.paths.Netns(i)
	ns, err := host.CreateNetns(ns.Name)
	if err != nil {
		return ns, err
	}
	err = ns.Sysctls(map[string]string{
		"net/ipv4/ip_forward":              "1",
		"net/ipv4/conf/all/rp_filter":      "0",
		"net/ipv4/conf/default/rp_filter":  "0",
		"net/ipv6/conf/all/forwarding":     "1",
		"net/ipv4/ip_local_reserved_ports": "30000-32767",
	})
	if err != nil {
		return ns, err
	}
	if l.cfg.IPFamily.has6() {
		if err := ns.EnableIPv6(); err != nil {
			return ns, err
		}
	}
	addresses := l.cfg.NodeIPs(i)
	if err := l.net.AddVeth(l.port(i), l.paths.Bridge(), nil, host.VethEnd{Netns: ns, Name: nodeLink, MAC: nodeMAC(addresses[0])}, l.mtu); err != nil {
		return ns, err
	}
	inside, err := host.OpenNet(ns)
	if err != nil {
		return ns, err
	}
	defer inside.Close()
	err = errors.Join(l.net.SetUp(l.port(i), l.paths.Bridge()), inside.SetUp(nodeLink, ""))
	for _, a := range onLAN(addresses, l.cfg.LAN) {
		err = errors.Join(err, inside.AddAddress(nodeLink, a))
	}
	for _, gateway := range l.cfg.Gateways() {
		err = errors.Join(err, inside.ReplaceRoute(host.Route{Dst: host.Everywhere(gateway), Via: gateway, Link: nodeLink}))
	}
	return ns, err
}

// removeNode takes node number i off the LAN, with its namespace.
func (l *lan) removeNode(i int) error {
	return errors.Join(l.net.DeleteLink(l.port(i)), host.DeleteNetns(l.paths.Netns(i)))
}

// nodeMAC is stable, so that neighbours find a node again after a restart.
func nodeMAC(ip netip.Addr) net.HardwareAddr {
	b := ip.AsSlice()
	return append(net.HardwareAddr{0x06, 0x58}, b[len(b)-4:]...)
}

// down removes everything that up and addNode made, as far as it is there.
func (l *lan) down() error {
	var errs []error
	links, err := l.net.Links()
	errs = append(errs, err)
	for _, link := range links {
		if number, ok := strings.CutPrefix(link.Name, l.cfg.Name+"-n"); ok && isNumber(number) {
			errs = append(errs, l.net.DeleteLink(link.Name))
		}
	}
	namespaces, err := nodeNamespaces(l.cfg.Name)
	errs = append(errs, err)
	for _, ns := range namespaces {
		errs = append(errs, host.DeleteNetns(ns))
	}
	errs = append(errs, l.masquerade().Delete())
	for _, r := range l.blackholes() {
		errs = append(errs, l.net.DeleteRoute(r))
	}
	errs = append(errs, l.net.DeleteLink(l.paths.Bridge()), l.sysctls.restore())
	return errors.Join(errs...)
}

// nodeNamespaces lists the network namespaces of the cluster's nodes,
// whatever its configuration says.
func nodeNamespaces(cluster string) ([]host.Netns, error) {
	entries, err := os.ReadDir(host.NetnsDir)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	var found []host.Netns
	for _, e := range entries {
		if number, ok := strings.CutPrefix(e.Name(), cluster+"-node-"); ok && isNumber(number) {
			found = append(found, host.NamedNetns(e.Name()))
		}
	}
	return found, nil
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
