package dataplane

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
	"minato/internal/service/route"
)

// TestNarrowPaths puts a link with a smaller MTU on the way to the backend, which neither end knows of: the router in
// front of it must be able to tell the client, past the translation of addresses.
func TestNarrowPaths(t *testing.T) {
	for _, mtu := range []int{1280, 1400} {
		t.Run(fmt.Sprint(mtu), func(t *testing.T) { testNarrowPath(t, mtu) })
	}
}

func testNarrowPath(t *testing.T, mtu int) {
	w := newWorld(t)
	w.inside(w.lan, outsideRoute)
	w.inside(w.n2, func(h *netlink.Handle) error {
		l, err := h.LinkByName("vp2")
		return errors.Join(err, h.LinkSetMTU(l, mtu))
	})
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	tcp := corev1.ProtocolTCP
	w.apply(clusterIP("a", "10.96.1.1", 80, tcp, back(p2IP+":8080")), nodePort("b", 30080, tcp, back(p2IP+":8080")))
	for what, c := range map[string]struct {
		ns   host.Netns
		addr string
	}{
		"outside, masqueraded":    {w.lan, n1IP + ":30080"},
		"outside to a cluster IP": {w.lan, "10.96.1.1:80"},
		"pod":                     {w.q1, "10.96.1.1:80"},
		"node":                    {w.n1, "10.96.1.1:80"},
	} {
		if err := bulk(c.ns, c.addr, 1<<20); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestAddressOfANode has a Service answer at addresses of nodes: they must stay the nodes' for all else.
func TestAddressOfANode(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	w.serveTCP(w.n2, "n2", n2IP+":9000")
	tcp := corev1.ProtocolTCP
	external := func(name, ip string) route.Frontend {
		f := clusterIP(name, ip, 80, tcp, back(p2IP+":8080"))
		f.Kind = route.ExternalIP
		return f
	}
	w.apply(external("here", n1IP), external("there", n2IP), external("else", "192.0.2.1"))
	pod, node := w.helperIn(w.q1), w.helperIn(w.n1)
	wantAnswer(t, "outside", ask(w.lan, "tcp4", n1IP+":80"), "p2", n1IP+":80")
	wantAnswer(t, "socket", pod.ask("tcp4", n2IP+":80"), "p2", n2IP+":80")
	wantAnswer(t, "packets", ask(w.q1, "tcp4", n2IP+":80"), "p2", n2IP+":80")
	wantAnswer(t, "packets of the node to itself", ask(w.n1, "tcp4", n1IP+":80"), "p2", n1IP+":80")
	for what, a := range map[string]answer{
		"pod": ask(w.q1, "tcp4", n2IP+":9000"), "socket of a pod": pod.ask("tcp4", n2IP+":9000"),
		"node": ask(w.n1, "tcp4", n2IP+":9000"), "socket of the node": node.ask("tcp4", n2IP+":9000"),
	} {
		wantAnswer(t, what+" to the node itself", a, "n2", n2IP+":9000")
	}
	all := []string{"10.96.0.0/16", "192.0.2.1/32"}
	if got := vipRoutes(t, w.n1); !slices.Equal(got, all) {
		t.Errorf("routes %v, want %v", got, all)
	}
	// An address that becomes a node's later, and ceases to be one.
	nodes := []route.Node{{Name: "n1", Addrs: []netip.Addr{netip.MustParseAddr(n1IP)}}, {Name: "n2", Addrs: []netip.Addr{netip.MustParseAddr(n2IP)}}}
	later := append(slices.Clone(nodes), route.Node{Name: "n3", Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")}})
	for _, c := range []struct {
		nodes []route.Node
		want  []string
	}{{later, all[:1]}, {nodes, all}} {
		if err := w.dp.SetNodes(c.nodes); err != nil {
			t.Fatal(err)
		}
		if got := vipRoutes(t, w.n1); !slices.Equal(got, c.want) {
			t.Errorf("routes %v, want %v", got, c.want)
		}
	}
}
