package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"minato/internal/host"
)

// lan is the machine's side of the cluster's network: the bridge, the
// namespaces of the nodes, and the routes that keep the cluster's ranges on
// this machine.
type lan struct {
	cfg   Config
	paths Paths
	net   *host.Net
	mtu   int
}

// defaultMTU is the LAN's where the machine has no default route.
const defaultMTU = 1500

func openLAN(cfg Config) (*lan, error) {
	n, err := host.OpenNet(host.Netns{})
	if err != nil {
		return nil, err
	}
	l := &lan{cfg: cfg, paths: Paths{Name: cfg.Name}, net: n, mtu: defaultMTU}
	if uplink, ok, err := n.DefaultLink(); err != nil {
		return nil, err
	} else if ok {
		// Packets that leave the machine must fit its uplink.
		l.mtu = min(l.mtu, uplink.MTU)
	}
	return l, nil
}

func (l *lan) close() { l.net.Close() }

// up makes the bridge and the machine's routes. What is there is kept.
func (l *lan) up() error {
	bridge := l.paths.Bridge()
	if err := l.net.EnsureBridge(bridge, netip.PrefixFrom(l.cfg.Gateway(), l.cfg.LAN.Bits()), l.mtu); err != nil {
		return err
	}
	for _, r := range l.blackholes() {
		if err := l.net.ReplaceRoute(r); err != nil {
			return err
		}
	}
	// The machine, and the API server in it, reach Services through the
	// first node, which translates like for any client from outside.
	if err := l.net.ReplaceRoute(host.Route{Dst: l.cfg.ServiceCIDR, Via: l.cfg.NodeIP(1), Link: bridge, Src: l.cfg.Gateway()}); err != nil {
		return err
	}
	return l.egress()
}

// blackholes keep a stray packet for one of the cluster's ranges from leaving
// the machine; any route that is more specific, or less of a last resort, wins.
func (l *lan) blackholes() []host.Route {
	var routes []host.Route
	for _, dst := range []netip.Prefix{l.cfg.ServiceCIDR, l.cfg.PodCIDR, l.cfg.LAN} {
		routes = append(routes, host.Route{Dst: dst, Blackhole: true, Metric: host.LastResort})
	}
	return routes
}

// egress lets nodes and Pods out through the machine with its own address.
// Forwarding is switched on for the two links that need it, not for all.
func (l *lan) egress() error {
	if err := host.Sysctl(forwardingSysctl(l.paths.Bridge()), "1"); err != nil {
		return err
	}
	uplink, ok, err := l.net.DefaultLink()
	if err != nil || !ok {
		return err
	}
	was, err := host.ReadSysctl(forwardingSysctl(uplink.Name))
	if err != nil {
		return err
	}
	if was != "1" {
		if err := writeFile(l.forwardingRecord(uplink.Name), []byte(was), 0o600); err != nil {
			return err
		}
		if err := host.Sysctl(forwardingSysctl(uplink.Name), "1"); err != nil {
			return err
		}
	}
	return l.masquerade().Ensure()
}

func forwardingSysctl(link string) string { return "net/ipv4/conf/" + link + "/forwarding" }

// forwardingRecord remembers that the link did not forward before us.
func (l *lan) forwardingRecord(link string) string {
	return filepath.Join(l.paths.Run(), "forwarding", link)
}

func (l *lan) masquerade() host.Masquerade {
	inside := []netip.Prefix{l.cfg.LAN, l.cfg.PodCIDR, l.cfg.ServiceCIDR}
	return host.Masquerade{Table: l.paths.NATTable(), Sources: []netip.Prefix{l.cfg.LAN, l.cfg.PodCIDR}, Internal: inside}
}

// nodeLink is the node's interface on the LAN.
const nodeLink = "eth0"

// port is the bridge's end of the link to node number i.
func (l *lan) port(i int) string { return fmt.Sprintf("%s-n%d", l.cfg.Name, i) }

// addNode makes the namespace of node number i and puts it on the LAN.
func (l *lan) addNode(i int) (host.Netns, error) {
	ns := l.paths.Netns(NodeName(i))
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
	mac := nodeMAC(l.cfg.NodeIP(i))
	if err := l.net.AddVeth(l.port(i), l.paths.Bridge(), nil, host.VethEnd{Netns: ns, Name: nodeLink, MAC: mac}, l.mtu); err != nil {
		return ns, err
	}
	inside, err := host.OpenNet(ns)
	if err != nil {
		return ns, err
	}
	defer inside.Close()
	return ns, errors.Join(
		l.net.SetUp(l.port(i), l.paths.Bridge()),
		inside.SetUp(nodeLink, ""),
		inside.AddAddress(nodeLink, netip.PrefixFrom(l.cfg.NodeIP(i), l.cfg.LAN.Bits())),
		inside.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: l.cfg.Gateway(), Link: nodeLink}),
	)
}

// nodeMAC is stable, so that neighbours find a node again after a restart.
func nodeMAC(ip netip.Addr) net.HardwareAddr {
	b := ip.As4()
	return net.HardwareAddr{0x06, 0x58, b[0], b[1], b[2], b[3]}
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
	errs = append(errs, l.net.DeleteLink(l.paths.Bridge()), l.restoreForwarding())
	return errors.Join(errs...)
}

func (l *lan) restoreForwarding() error {
	records, err := filepath.Glob(l.forwardingRecord("*"))
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range records {
		was, err := os.ReadFile(path)
		if err == nil {
			err = host.Sysctl(forwardingSysctl(filepath.Base(path)), string(was))
		}
		if err == nil {
			err = os.Remove(path)
		}
		errs = append(errs, err)
	}
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
