// Package lab is what the benchmarks of the Service data plane have in common:
// small worlds of network namespaces, load generators inside of them, an API
// server with as many Services as asked for, and the proxies that are compared.
//
// Everything it makes has a name with the same prefix and is gone after Close;
// what a killed run left is removed by Clean.
package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"minato/internal/host"
)

// prefix starts the names of all namespaces.
const prefix = "mnb-"

// root is the cgroup below which every process of a world runs.
var root = host.Cgroup{Path: "minato-bench"}

// runDir has the mounts.
const runDir = "/run/minato-bench"

// The addresses, the same in each world: nothing of a world is reachable from
// another one.
//
//	outside 172.31.0.1 ── 172.31.0.11 node ─┬─ 10.244.1.2 client
//	                                        ├─ 10.244.1.3 server
//	                                        └─ 10.244.1.4 other server
var (
	OutsideIP = netip.MustParseAddr("172.31.0.1")
	NodeIP    = netip.MustParseAddr("172.31.0.11")
	ClientIP  = netip.MustParseAddr("10.244.1.2")
	ServerIP  = netip.MustParseAddr("10.244.1.3")
	OtherIP   = netip.MustParseAddr("10.244.1.4")
	PodCIDR   = netip.MustParsePrefix("10.244.0.0/16")
	gateway   = netip.MustParseAddr("169.254.1.1")
	// balancers are the addresses of load balancers, which outside routes to the node.
	balancers = netip.MustParsePrefix("198.18.0.0/24")
)

const mtu = 1500

// World is one node with Pods and a client outside of the cluster.
type World struct {
	Name                                 string
	Node, Outside, Client, Server, Other host.Netns
	Inside                               host.Cgroup // of everything on the node
	Beyond                               host.Cgroup // of everything outside of it
	Proxy                                host.Cgroup // of the proxy alone, so that its memory can be told
	Dir                                  string      // for files of its proxy
	BPF                                  string      // a mounted bpf file system

	processes []*Process
}

// NewWorld makes the namespaces and the network between them.
func NewWorld(name string) (*World, error) {
	own := root.Child(name)
	w := &World{Name: name, Inside: own.Child("node"), Beyond: own.Child("outside"), Proxy: own.Child("proxy"), Dir: filepath.Join(runDir, name)}
	w.BPF = filepath.Join(w.Dir, "bpf")
	if err := w.make(); err != nil {
		return nil, errors.Join(fmt.Errorf("make world %s: %w", name, err), w.Close())
	}
	return w, nil
}

func (w *World) make() error {
	for part, ns := range map[string]*host.Netns{"node": &w.Node, "outside": &w.Outside, "client": &w.Client, "server": &w.Server, "other": &w.Other} {
		var err error
		if *ns, err = host.CreateNetns(prefix + w.Name + "-" + part); err != nil {
			return err
		}
	}
	for _, c := range []host.Cgroup{w.Inside, w.Beyond, w.Proxy} {
		if err := c.Create(); err != nil {
			return err
		}
	}
	if err := host.MountBPF(w.BPF); err != nil {
		return err
	}
	if err := w.Node.Sysctls(map[string]string{"net/ipv4/ip_forward": "1"}); err != nil {
		return err
	}
	if err := w.uplink(); err != nil {
		return err
	}
	return errors.Join(w.pod(w.Client, ClientIP), w.pod(w.Server, ServerIP), w.pod(w.Other, OtherIP))
}

// uplink joins the node with the outside.
func (w *World) uplink() error {
	n, err := host.OpenNet(w.Outside)
	if err != nil {
		return err
	}
	defer n.Close()
	if err := n.AddVeth("eth0", "", nil, host.VethEnd{Netns: w.Node, Name: "eth0"}, mtu); err != nil {
		return err
	}
	inside, err := host.OpenNet(w.Node)
	if err != nil {
		return err
	}
	defer inside.Close()
	return errors.Join(
		n.SetUp("eth0", ""), inside.SetUp("eth0", ""),
		n.AddAddress("eth0", netip.PrefixFrom(OutsideIP, 24)), inside.AddAddress("eth0", netip.PrefixFrom(NodeIP, 24)),
		n.ReplaceRoute(host.Route{Dst: PodCIDR, Via: NodeIP, Link: "eth0"}),
		n.ReplaceRoute(host.Route{Dst: balancers, Via: NodeIP, Link: "eth0"}),
		inside.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: OutsideIP, Link: "eth0"}),
	)
}

// PodLink is the node's end of a Pod's link.
func PodLink(ip netip.Addr) string { return fmt.Sprintf("pod%d", ip.As4()[3]) }

// pod joins a Pod with the node the way that Minato's own Pod network does.
func (w *World) pod(ns host.Netns, ip netip.Addr) error {
	n, err := host.OpenNet(w.Node)
	if err != nil {
		return err
	}
	defer n.Close()
	inside, err := host.OpenNet(ns)
	if err != nil {
		return err
	}
	defer inside.Close()
	last, link := ip.As4()[3], PodLink(ip)
	nodeMAC, podMAC := net.HardwareAddr{0x0e, 0, 0, 0, 0, last}, net.HardwareAddr{0x0a, 0, 0, 0, 0, last}
	if err := n.AddVeth(link, "", nodeMAC, host.VethEnd{Netns: ns, Name: "eth0", MAC: podMAC}, mtu); err != nil {
		return err
	}
	return errors.Join(
		n.SetUp(link, ""), n.ReplaceNeighbor(link, ip, podMAC),
		n.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(ip, 32), Link: link, Src: NodeIP}),
		inside.SetUp("eth0", ""), inside.AddAddress("eth0", netip.PrefixFrom(ip, 32)),
		inside.ReplaceNeighbor("eth0", gateway, nodeMAC),
		inside.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(gateway, 32), Link: "eth0"}),
		inside.ReplaceRoute(host.Route{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: gateway, Link: "eth0"}),
	)
}

// Close ends the world's processes and removes all that it is made of.
func (w *World) Close() error {
	for _, p := range w.processes {
		p.Stop()
	}
	var failures []error
	for _, ns := range []host.Netns{w.Node, w.Outside, w.Client, w.Server, w.Other} {
		if ns.Path != "" {
			failures = append(failures, host.DeleteNetns(ns))
		}
	}
	return errors.Join(append(failures, root.Child(w.Name).Delete(), host.Unmount(w.BPF), os.RemoveAll(w.Dir))...)
}

// Clean removes what an earlier run left because it was killed. It must be the
// only run on the machine.
func Clean(ctx context.Context) error {
	failures := []error{root.Kill(ctx), root.Delete()}
	namespaces, _ := os.ReadDir(host.NetnsDir) // none at all is fine
	for _, ns := range namespaces {
		if strings.HasPrefix(ns.Name(), prefix) {
			failures = append(failures, host.DeleteNetns(host.NamedNetns(ns.Name())))
		}
	}
	worlds, _ := os.ReadDir(runDir)
	for _, w := range worlds {
		failures = append(failures, host.Unmount(filepath.Join(runDir, w.Name(), "bpf")))
	}
	return errors.Join(append(failures, os.RemoveAll(runDir))...)
}
