package loadbalancer

import (
	"errors"
	"fmt"
	"testing"

	"minato/internal/host"
	"minato/test/lab"
)

// The machines of the test, each a network namespace:
//
//	lan 172.31.0.1 ─ bridge ─┬─ client 172.31.0.100
//	                         ├─ n1 172.31.0.11 ── p1 10.245.1.2
//	                         ├─ n2 172.31.0.12 ── p2 10.245.2.2
//	                         └─ n3 172.31.0.13 ── p3 10.245.3.2
//
// Each address has a twin of IPv6, see lab.Family.
const (
	lanIP    = "172.31.0.1"
	clientIP = "172.31.0.100"
	nodes    = 3
	// podGateway is where Pods send everything.
	podGateway = "169.254.1.1"
	prefix     = "mt-lb-"
	mtu        = 1500
)

func nodeIP(i int) string   { return fmt.Sprintf("172.31.0.%d", 10+i) }
func podIP(i int) string    { return fmt.Sprintf("10.245.%d.2", i) }
func podRange(i int) string { return fmt.Sprintf("10.245.%d.0/24", i) }
func port(i int) string     { return fmt.Sprintf("v%d", i) }

type network struct {
	lan, client host.Netns
	// nodes and pods are by number, from 1 on.
	nodes, pods [nodes + 1]host.Netns
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	w := &network{lan: lab.Namespace(t, prefix+"lan"), client: lab.Namespace(t, prefix+"client")}
	lab.Edit(t, w.lan, func(n *host.Net) error {
		return n.EnsureBridge("br", mtu, lab.Both(lanIP+"/16")...)
	})
	w.plug(t, w.client, port(0), clientIP)
	for i := 1; i <= nodes; i++ {
		w.nodes[i], w.pods[i] = lab.Namespace(t, fmt.Sprint(prefix, "n", i)), lab.Namespace(t, fmt.Sprint(prefix, "p", i))
		w.plug(t, w.nodes[i], port(i), nodeIP(i))
		if err := w.nodes[i].Sysctls(map[string]string{"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1"}); err != nil {
			t.Fatal(err)
		}
		w.addPod(t, i)
	}
	return w
}

// plug connects a machine to the bridge.
func (w *network) plug(t *testing.T, ns host.Netns, port, ip string) {
	t.Helper()
	lab.Edit(t, w.lan, func(n *host.Net) error {
		return n.AddVeth(port, "br", nil, host.VethEnd{Netns: ns, Name: "eth0"}, mtu)
	})
	lab.Edit(t, ns, func(n *host.Net) error {
		return errors.Join(lab.Addresses(n, "eth0", ip+"/16"), n.SetUp("eth0", ""), lab.Routes(n, "eth0", lab.Everywhere, lanIP))
	})
}

// addPod gives a node's Pod its interface, and all other machines the way to it.
func (w *network) addPod(t *testing.T, i int) {
	t.Helper()
	lab.Edit(t, w.nodes[i], func(n *host.Net) error {
		errs := []error{
			n.AddVeth("pod", "", nil, host.VethEnd{Netns: w.pods[i], Name: "eth0"}, mtu),
			lab.Addresses(n, "pod", podGateway+"/32"), lab.Routes(n, "pod", podIP(i)+"/32", ""),
		}
		for other := 1; other <= nodes; other++ {
			if other != i {
				errs = append(errs, lab.Routes(n, "eth0", podRange(other), nodeIP(other)))
			}
		}
		return errors.Join(errs...)
	})
	lab.Edit(t, w.pods[i], func(n *host.Net) error {
		return errors.Join(lab.Addresses(n, "eth0", podIP(i)+"/32"), n.SetUp("eth0", ""),
			lab.Routes(n, "eth0", podGateway+"/32", ""), lab.Routes(n, "eth0", lab.Everywhere, podGateway))
	})
}

// cut takes a node off the bridge, or puts it back.
func (w *network) cut(t *testing.T, i int, state string) {
	t.Helper()
	lab.Command(t, w.lan, "ip", "link", "set", port(i), state)
}
