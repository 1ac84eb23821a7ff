package proxy

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/test/lab"
)

// tunnelRules are those of a plugin whose Pods are behind tunnels: what is no Pod's takes the tunnel's address on its
// way to another node's Pod.
const tunnelRules = `
table IP tunnel {
	chain egress {
		type nat hook postrouting priority srcnat
		IP saddr PODS IP daddr PODS return
		IP saddr PODS masquerade
		IP daddr OWN return
		IP daddr PODS masquerade
	}
}
`

// Where Pods of other nodes are behind a tunnel, all traffic to them goes through it, with an address for which the
// answers come back through it. Nodes refuse everything else.
func (w *world) testTunnel(t *testing.T) {
	w.tunnel()
	far := w.Service("far", func(s *corev1.Service) {
		s.Spec.Type = corev1.ServiceTypeNodePort
		s.Spec.Ports[0].NodePort, s.Spec.Ports[1].NodePort = 30083, 30083
	})
	w.Endpoints("far", lab.Endpoint("n2", p2IP))
	for what, c := range map[string]struct {
		ask     asker
		outside bool
		client  string
	}{
		"from outside":        {packets(w.lan), true, "10.245.1.0"},
		"packets of a Pod":    {packets(w.q1), false, q1IP},
		"process of a Pod":    {sockets(t, w.p1, w.one.cgroup.V2()), false, p1IP},
		"packets of the node": {packets(w.n1), false, "10.245.1.0"},
		"process of the node": {sockets(t, w.n1, w.one.cgroup.V2()), false, "10.245.1.0"},
	} {
		for _, k := range lab.Kinds {
			addr := k.At(n1IP, 30083)
			if !c.outside {
				addr = k.VIP(far)
			}
			w.settled(what, c.ask, k.Network, addr, func(a lab.Answer) bool { return a.Server == "p2" && a.Client == k.Of(c.client) })
		}
	}
}

// tunnel leads what each node sends to the other's Pods through an interface of its own, until the part ends.
func (w *world) tunnel() {
	w.Helper()
	lab.Edit(w.T, w.n1, func(n *host.Net) error {
		return n.AddVeth("tunnel", "", nil, host.VethEnd{Netns: w.n2, Name: "tunnel"}, mtu)
	})
	w.Cleanup(func() { lab.Edit(w.T, w.n1, func(n *host.Net) error { return n.DeleteLink("tunnel") }) })
	for _, node := range []struct {
		ns             host.Netns
		own, pods, via string
		lan            string
		ownPods        string
	}{{w.n1, "10.245.1.0", n2Pods, "10.245.2.0", n2IP, n1Pods}, {w.n2, "10.245.2.0", n1Pods, "10.245.1.0", n1IP, n2Pods}} {
		lab.Edit(w.T, node.ns, func(n *host.Net) error {
			return errors.Join(lab.Addresses(n, "tunnel", node.own+"/32"), n.SetUp("tunnel", ""), lab.Routes(n, "tunnel", node.via+"/32", ""),
				lab.Routes(n, "tunnel", node.pods, node.via))
		})
		w.Cleanup(func() {
			lab.Edit(w.T, node.ns, func(n *host.Net) error { return lab.Routes(n, "eth0", node.pods, node.lan) })
		})
		w.strict(node.ns, "1")
		w.Cleanup(func() { w.strict(node.ns, "0") })
		for _, f := range lab.Families {
			table := map[lab.Family]string{lab.IPv4: "ip", lab.IPv6: "ip6"}[f]
			w.nft(node.ns, strings.NewReplacer("IP", table, "PODS", f.Prefix(allPod).String(), "OWN", f.Prefix(node.ownPods).String()).Replace(tunnelRules))
			w.Cleanup(func() { w.nft(node.ns, "delete table "+table+" tunnel") })
		}
	}
}

// strict says whether packets whose answers would leave by another interface are refused.
func (w *world) strict(ns host.Netns, filter string) {
	w.Helper()
	err := ns.Sysctls(map[string]string{"net/ipv4/conf/eth0/rp_filter": filter, "net/ipv4/conf/tunnel/rp_filter": filter})
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) nft(ns host.Netns, script string) {
	w.Helper()
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	err := ns.Do(func() error {
		out, err := cmd.CombinedOutput()
		if err != nil {
			w.Logf("%s", out)
		}
		return err
	})
	if err != nil {
		w.Fatal(err)
	}
}
