package proxy

import (
	"errors"
	"testing"

	"minato/internal/host"
	"minato/test/lab"
)

// The machines of the test, each a network namespace:
//
//	lan 172.31.0.1 ─ bridge ─┬─ n1 172.31.0.11 ─┬─ p1 10.245.1.2    routed, an interface each
//	                         │                  └─ q1 10.245.1.3
//	                         └─ n2 172.31.0.12 ─ cni0 ─┬─ p2 10.245.2.2
//	                                                   └─ q2 10.245.2.3
//
// Each address has a twin of IPv6, see lab.Family.
const (
	lanIP = "172.31.0.1"
	n1IP  = "172.31.0.11"
	n2IP  = "172.31.0.12"
	p1IP  = "10.245.1.2"
	q1IP  = "10.245.1.3"
	p2IP  = "10.245.2.2"
	q2IP  = "10.245.2.3"

	n1Pods = "10.245.1.0/24"
	n2Pods = "10.245.2.0/24"
	allPod = "10.245.0.0/16"
	// podGateway is where routed Pods send everything.
	podGateway = "169.254.1.1"
	prefix     = "mt-proxy-"
	mtu        = 1500
)

type network struct {
	lan, n1, n2, p1, q1, p2, q2 host.Netns
}

// forwards are the settings of a node that routes.
var forwards = map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}

func newNetwork(t *testing.T) *network {
	t.Helper()
	w := &network{
		lan: namespace(t, "lan"), n1: namespace(t, "n1"), n2: namespace(t, "n2"),
		p1: namespace(t, "p1"), q1: namespace(t, "q1"), p2: namespace(t, "p2"), q2: namespace(t, "q2"),
	}
	lab.Edit(t, w.lan, func(n *host.Net) error {
		return n.EnsureBridge("br", mtu, lab.Both(lanIP+"/16")...)
	})
	for _, node := range []struct {
		ns         host.Netns
		port, ip   string
		pods       string
		other, via string
	}{{w.n1, "v1", n1IP, n1Pods, n2Pods, n2IP}, {w.n2, "v2", n2IP, n2Pods, n1Pods, n1IP}} {
		lab.Edit(t, w.lan, func(n *host.Net) error {
			return errors.Join(
				n.AddVeth(node.port, "br", nil, host.VethEnd{Netns: node.ns, Name: "eth0"}, mtu), lab.Routes(n, "br", node.pods, node.ip))
		})
		lab.Edit(t, node.ns, func(n *host.Net) error {
			return errors.Join(
				lab.Addresses(n, "eth0", node.ip+"/16"), n.SetUp("eth0", ""),
				lab.Routes(n, "eth0", lab.Everywhere, lanIP), lab.Routes(n, "eth0", node.other, node.via))
		})
		if err := node.ns.Sysctls(forwards); err != nil {
			t.Fatal(err)
		}
	}
	routedPod(t, w.n1, "cali1", w.p1, p1IP)
	routedPod(t, w.n1, "cali2", w.q1, q1IP)
	lab.Edit(t, w.n2, func(n *host.Net) error {
		return n.EnsureBridge("cni0", mtu, lab.Both("10.245.2.1/24")...)
	})
	bridgedPod(t, w.n2, "vethp2", w.p2, p2IP)
	bridgedPod(t, w.n2, "vethq2", w.q2, q2IP)
	return w
}

// namespace makes a network namespace of the test.
func namespace(t *testing.T, name string) host.Netns {
	t.Helper()
	return lab.Namespace(t, prefix+name)
}

// routedPod gives a Pod an interface as Calico or a point-to-point plugin does.
func routedPod(t *testing.T, node host.Netns, link string, pod host.Netns, ip string) {
	t.Helper()
	lab.Edit(t, node, func(n *host.Net) error {
		return errors.Join(n.AddVeth(link, "", nil, host.VethEnd{Netns: pod, Name: "eth0"}, mtu),
			lab.Addresses(n, link, podGateway+"/32"), lab.Routes(n, link, ip+"/32", ""))
	})
	lab.Edit(t, pod, func(n *host.Net) error {
		return errors.Join(lab.Addresses(n, "eth0", ip+"/32"), n.SetUp("eth0", ""),
			lab.Routes(n, "eth0", podGateway+"/32", ""), lab.Routes(n, "eth0", lab.Everywhere, podGateway))
	})
}

// bridgedPod gives a Pod an interface as the bridge plugin does.
func bridgedPod(t *testing.T, node host.Netns, link string, pod host.Netns, ip string) {
	t.Helper()
	lab.Edit(t, node, func(n *host.Net) error {
		return n.AddVeth(link, "cni0", nil, host.VethEnd{Netns: pod, Name: "eth0"}, mtu)
	})
	lab.Edit(t, pod, func(n *host.Net) error {
		return errors.Join(lab.Addresses(n, "eth0", ip+"/24"), n.SetUp("eth0", ""), lab.Routes(n, "eth0", lab.Everywhere, "10.245.2.1"))
	})
}
