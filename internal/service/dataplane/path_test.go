package dataplane

import (
	"errors"
	"fmt"
	"net"
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
	eachWay(t, func(t *testing.T, fam family) {
		for _, mtu := range []int{1280, 1400} {
			t.Run(fmt.Sprint(mtu), func(t *testing.T) { testNarrowPath(t, fam, mtu) })
		}
	})
}

func testNarrowPath(t *testing.T, fam family, mtu int) {
	w := worldOf(t, fam)
	w.inside(w.lan, outsideRoute)
	// Only the way there is narrow: a link that is so at one end would drop what comes from the other without a word.
	w.inside(w.n2, func(h *netlink.Handle) error {
		routes, err := h.RouteGet(ip(fam.p2).AsSlice())
		if err != nil {
			return err
		}
		_, dst, err := net.ParseCIDR(single(fam.p2))
		return errors.Join(err, h.RouteReplace(&netlink.Route{LinkIndex: routes[0].LinkIndex, Dst: dst, Scope: netlink.SCOPE_LINK, MTU: mtu, MTULock: true}))
	})
	w.serveTCP(w.p2, "p2", fam.p2+":8080")
	tcp := corev1.ProtocolTCP
	w.apply(clusterIP("a", fam.vip(1), 80, tcp, back(fam.p2+":8080")), fam.nodePort("b", 30080, tcp, back(fam.p2+":8080")))
	for what, c := range map[string]struct {
		ns   host.Netns
		addr string
	}{
		"outside, masqueraded":    {w.lan, fam.n1 + ":30080"},
		"outside to a cluster IP": {w.lan, fam.vip(1) + ":80"},
		"pod":                     {w.q1, fam.vip(1) + ":80"},
		"node":                    {w.n1, fam.vip(1) + ":80"},
	} {
		if err := bulk(c.ns, c.addr, 1<<20); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if t.Failed() {
		t.Log(w.dp.Dump())
	}
}

// TestAddressOfANode has a Service answer at addresses of nodes: they must stay the nodes' for all else.
func TestAddressOfANode(t *testing.T) { eachFamily(t, testAddressOfANode) }

func testAddressOfANode(t *testing.T, fam family) {
	w := newWorld(t)
	w.serveTCP(w.p2, "p2", fam.p2+":8080")
	w.serveTCP(w.n2, "n2", fam.n2+":9000")
	tcp := corev1.ProtocolTCP
	external := func(name, addr string) route.Frontend {
		f := clusterIP(name, addr, 80, tcp, back(fam.p2+":8080"))
		f.Kind = route.ExternalIP
		return f
	}
	w.apply(external("here", fam.n1), external("there", fam.n2), external("else", fam.foreign))
	pod, node := w.helperIn(w.q1), w.helperIn(w.n1)
	wantAnswer(t, "outside", ask(w.lan, fam.tcp, fam.n1+":80"), "p2", fam.n1+":80")
	wantAnswer(t, "socket", pod.ask(fam.tcp, fam.n2+":80"), "p2", fam.n2+":80")
	wantAnswer(t, "packets", ask(w.q1, fam.tcp, fam.n2+":80"), "p2", fam.n2+":80")
	wantAnswer(t, "packets of the node to itself", ask(w.n1, fam.tcp, fam.n1+":80"), "p2", fam.n1+":80")
	for what, a := range map[string]answer{
		"pod": ask(w.q1, fam.tcp, fam.n2+":9000"), "socket of a pod": pod.ask(fam.tcp, fam.n2+":9000"),
		"node": ask(w.n1, fam.tcp, fam.n2+":9000"), "socket of the node": node.ask(fam.tcp, fam.n2+":9000"),
	} {
		wantAnswer(t, what+" to the node itself", a, "n2", fam.n2+":9000")
	}
	services := []string{fam.services().String()}
	all := append(services, single(fam.foreign))
	slices.Sort(all)
	if got := vipRoutes(t, w.n1, fam); !slices.Equal(got, all) {
		t.Errorf("routes %v, want %v", got, all)
	}
	// An address that becomes a node's later, and ceases to be one.
	nodes := nodesOf(fam)
	later := append(slices.Clone(nodes), route.Node{Name: "n3", Addrs: []netip.Addr{ip(fam.foreign)}})
	for _, c := range []struct {
		nodes []route.Node
		want  []string
	}{{later, services}, {nodes, all}} {
		if err := w.dp.SetNodes(c.nodes); err != nil {
			t.Fatal(err)
		}
		if got := vipRoutes(t, w.n1, fam); !slices.Equal(got, c.want) {
			t.Errorf("routes %v, want %v", got, c.want)
		}
	}
}
