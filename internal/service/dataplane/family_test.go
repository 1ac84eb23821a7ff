package dataplane

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/service/route"
)

// family is the world of the tests as one family sees it. Its addresses are written so that a port can be appended.
type family struct {
	name                    string
	ipv6                    bool
	lan, n1, n2, p1, q1, p2 string
	// router is somebody who is neither a node nor a pod, and foreign an address that the cluster does not know.
	router, foreign string
	tcp, udp        string // as networks to dial
	// long has translated packets pass the kernel's forwarding, as if somebody inspected them there.
	long bool
}

var (
	v4 = family{
		name: "IPv4", lan: lanIP, n1: n1IP, n2: n2IP, p1: p1IP, q1: q1IP, p2: p2IP,
		router: "172.30.9.9", foreign: "192.0.2.1", tcp: "tcp4", udp: "udp4",
	}
	v6 = family{
		name: "IPv6", ipv6: true, lan: "[fd00:30::1]", n1: "[fd00:30::11]", n2: "[fd00:30::12]",
		p1: "[fd00:244:1::2]", q1: "[fd00:244:1::3]", p2: "[fd00:244:2::2]",
		router: "[fd00:30::99]", foreign: "[2001:db8::1]", tcp: "tcp6", udp: "udp6",
	}
)

func eachFamily(t *testing.T, test func(t *testing.T, f family)) {
	for _, f := range []family{v4, v6} {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// eachWay runs a test of a world for both families and both ways of translated packets.
func eachWay(t *testing.T, test func(t *testing.T, f family)) {
	eachFamily(t, func(t *testing.T, f family) {
		for name, long := range map[string]bool{"straight": false, "forwarded": true} {
			f.long = long
			t.Run(name, func(t *testing.T) { test(t, f) })
		}
	})
}

// localPod is one of many pods of the first node.
func (f family) localPod(i int) string {
	if f.ipv6 {
		return fmt.Sprintf("[fd00:244:1::%x]", i)
	}
	return fmt.Sprintf("10.244.1.%d", i)
}

// remotePod is one of many pods of the second node.
func (f family) remotePod(i int) string {
	if f.ipv6 {
		return fmt.Sprintf("[fd00:244:2::%x]", i)
	}
	return fmt.Sprintf("10.244.2.%d", i)
}

// outsider is one of many clients on the LAN.
func (f family) outsider(i int) string {
	if f.ipv6 {
		return fmt.Sprintf("[fd00:30::1:%x]", i)
	}
	return fmt.Sprintf("172.30.1.%d", i)
}

// vip is an address of the Service range.
func (f family) vip(i int) string {
	if f.ipv6 {
		return fmt.Sprintf("[fd00:96::1:%x]", i)
	}
	return fmt.Sprintf("10.96.1.%d", i)
}

// services is the Service range.
func (f family) services() netip.Prefix {
	if f.ipv6 {
		return netip.MustParsePrefix("fd00:96::/108")
	}
	return netip.MustParsePrefix("10.96.0.0/16")
}

// onLAN is an address of the LAN with its prefix.
func (f family) onLAN(addr string) string {
	if f.ipv6 {
		return ip(addr).String() + "/64"
	}
	return addr + "/16"
}

// pods is the range of a node's pods.
func (f family) pods(node int) string {
	if f.ipv6 {
		return fmt.Sprintf("fd00:244:%d::/64", node)
	}
	return fmt.Sprintf("10.244.%d.0/24", node)
}

// gateway is where pods send everything, an address of their link only.
func (f family) gateway() string {
	if f.ipv6 {
		return "fe80::1"
	}
	return "169.254.1.1"
}

func (f family) everything() string {
	if f.ipv6 {
		return "::/0"
	}
	return "0.0.0.0/0"
}

// single is the range of one address.
func single(addr string) string { return netip.PrefixFrom(ip(addr), ip(addr).BitLen()).String() }

// nodesOf are the nodes of the world with their addresses of some families.
func nodesOf(families ...family) []route.Node {
	n1, n2 := route.Node{Name: "n1"}, route.Node{Name: "n2"}
	for _, f := range families {
		n1.Addrs, n2.Addrs = append(n1.Addrs, ip(f.n1)), append(n2.Addrs, ip(f.n2))
	}
	return []route.Node{n1, n2}
}

func (f family) client() string { return f.lan + ":40000" }

func (f family) nodePort(name string, port uint16, p corev1.Protocol, backends []route.Backend) route.Frontend {
	out := clusterIP(name, f.n1, port, p, backends)
	out.Kind, out.Addr, out.IPv6 = route.NodePort, netip.Addr{}, f.ipv6
	return out
}

// ip reads an address as family has them.
func ip(text string) netip.Addr { return netip.MustParseAddr(strings.Trim(text, "[]")) }
