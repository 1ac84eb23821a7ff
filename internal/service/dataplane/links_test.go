package dataplane

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

func TestServesLink(t *testing.T) {
	attrs := func(name string, index int) netlink.LinkAttrs {
		return netlink.LinkAttrs{Name: name, Index: index, EncapType: "ether"}
	}
	with := func(a netlink.LinkAttrs, edit func(*netlink.LinkAttrs)) netlink.LinkAttrs { edit(&a); return a }
	uplinks := []netlink.Link{
		&netlink.Device{LinkAttrs: attrs("eth0", 2)},
		&netlink.Bond{LinkAttrs: attrs("bond0", 3)},
		&netlink.Vlan{LinkAttrs: with(attrs("eth5.7", 4), func(a *netlink.LinkAttrs) { a.ParentIndex = 20 })},
		&netlink.Veth{LinkAttrs: with(attrs("wan", 5), func(a *netlink.LinkAttrs) { a.ParentIndex = 21 })},
	}
	for _, c := range []struct {
		link netlink.Link
		want bool
	}{
		{&netlink.Veth{LinkAttrs: attrs("cali0", 10)}, true},
		{&netlink.Bridge{LinkAttrs: attrs("cni0", 11)}, true},
		{&netlink.Vxlan{LinkAttrs: attrs("flannel.1", 12)}, true},
		{&netlink.Tuntap{LinkAttrs: attrs("tap0", 13)}, true},
		{&netlink.Veth{LinkAttrs: with(attrs("vethp", 14), func(a *netlink.LinkAttrs) { a.MasterIndex = 11 })}, true},
		{&netlink.Veth{LinkAttrs: attrs("same number as a peer", 21)}, true},
		{&netlink.Veth{LinkAttrs: attrs(routeLink, 15)}, false},
		{&netlink.Veth{LinkAttrs: attrs(injectLink, 16)}, false},
		{&netlink.Device{LinkAttrs: attrs("eth1", 17)}, false},
		{&netlink.Device{LinkAttrs: with(attrs("lo", 1), func(a *netlink.LinkAttrs) { a.Flags = net.FlagLoopback })}, false},
		{&netlink.Wireguard{LinkAttrs: with(attrs("wg0", 18), func(a *netlink.LinkAttrs) { a.EncapType = "none" })}, false},
		{&netlink.Veth{LinkAttrs: with(attrs("a member of the bond", 19), func(a *netlink.LinkAttrs) { a.MasterIndex = 3 })}, false},
		{&netlink.Bond{LinkAttrs: attrs("below the VLAN", 20)}, false},
		{uplinks[0], false}, {uplinks[1], false}, {uplinks[2], false}, {uplinks[3], false},
	} {
		if got := servesLink(c.link, uplinks); got != c.want {
			t.Errorf("%s %s is served: %t, want %t", c.link.Type(), c.link.Attrs().Name, got, c.want)
		}
	}
}

// With AllLinks nobody says which interfaces are Pods': those that are there, those that come and those that stay when
// the process changes are served, until Remove.
func TestAllLinks(t *testing.T) { eachWay(t, testAllLinks) }

func testAllLinks(t *testing.T, fam family) {
	w := newWorld(t)
	w.dp.Close()
	if err := Remove(w.cfg); err != nil {
		t.Fatal(err)
	}
	w.cfg.AllLinks = true
	w.open()
	w.shortcut(!fam.long)
	w.serveTCP(w.p2, "p2", fam.p2+":8080")
	w.apply(clusterIP("web", fam.vip(1), 80, corev1.ProtocolTCP, back(fam.p2+":8080")))
	w.ownNodes()
	asks := func(what string, ns host.Netns) {
		t.Helper()
		eventually(t, what, func() bool { return ask(ns, "tcp", fam.vip(1)+":80").Server == "p2" })
	}
	asks("a Pod that was there", w.p1)
	w.follow(func() {
		late := netnsFor(t, "late")
		w.pod(w.n1, "vlate", late, func(f family) string { return f.localPod(9) })
		asks("a Pod that came", late)
	})
	missed := netnsFor(t, "missed")
	w.pod(w.n1, "vmissed", missed, func(f family) string { return f.localPod(10) })
	w.dp.Close()
	w.open()
	w.apply(clusterIP("web", fam.vip(1), 80, corev1.ProtocolTCP, back(fam.p2+":8080")))
	asks("a Pod that came between two processes", missed)

	w.dp.Close()
	if err := Remove(w.cfg); err != nil {
		t.Fatal(err)
	}
	w.inside(w.n1, func(h *netlink.Handle) error {
		for _, dir := range []direction{inbound, outbound} {
			left, err := filtered(h, dir)
			if err != nil || len(left) > 0 {
				return errors.Join(err, errors.New(dir.String()+": filters are left"))
			}
		}
		qdiscs, err := h.QdiscList(nil)
		if slices.ContainsFunc(qdiscs, func(q netlink.Qdisc) bool { return q.Type() == "clsact" }) {
			return errors.New("a clsact qdisc is left")
		}
		return err
	})
}

// follow runs fn while new links are noticed.
func (w *world) follow(fn func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error)
	go func() { done <- w.dp.FollowLinks(ctx) }()
	fn()
	cancel()
	select {
	case err := <-done:
		if err != nil {
			w.t.Error(err)
		}
	case <-time.After(10 * time.Second):
		w.t.Fatal("links are followed after the end")
	}
}

// NodePorts answer at those addresses of the node that NodePortsAt allows.
func TestNodePortsAt(t *testing.T) { eachFamily(t, testNodePortsAt) }

func testNodePortsAt(t *testing.T, fam family) {
	w := newWorld(t)
	w.serveTCP(w.p1, "p1", fam.p1+":8080")
	w.apply(fam.nodePort("web", 30080, corev1.ProtocolTCP, back(fam.p1+":8080")))
	if a := ask(w.lan, "tcp", fam.n1+":30080"); a.Server != "p1" {
		t.Errorf("without a restriction: %+v", a)
	}
	w.dp.Close()
	w.cfg.NodePortsAt = func(a netip.Addr) bool { return a != ip(fam.n1) }
	w.open()
	w.ownNodes()
	if a := ask(w.lan, "tcp", fam.n1+":30080"); !a.refused() {
		t.Errorf("an address that is excluded: %+v, want refused by the node", a)
	}
	if a := ask(w.p2, "tcp", fam.n1+":30080"); !a.refused() {
		t.Errorf("an address that is excluded, from a Pod elsewhere: %+v, want refused by the node", a)
	}
}

// ownNodes tells a data plane that was opened anew of the nodes.
func (w *world) ownNodes() {
	w.t.Helper()
	if err := w.dp.SetNodes(nodesOf(v4, v6)); err != nil {
		w.t.Fatal(err)
	}
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 10s: %s", what)
		}
	}
}
