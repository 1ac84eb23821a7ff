package dataplane

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// restrict opens the data plane anew for some families.
func (w *world) restrict(families ...family) {
	w.t.Helper()
	w.dp.Close()
	if err := Remove(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	w.cfg.NodeIPs, w.cfg.ServiceCIDRs = nil, nil
	for _, f := range families {
		w.cfg.NodeIPs = append(w.cfg.NodeIPs, ip(f.n1))
		w.cfg.ServiceCIDRs = append(w.cfg.ServiceCIDRs, f.services())
	}
	w.open()
	if err := w.dp.SetNodes(nodesOf(families...)); err != nil {
		w.t.Fatal(err)
	}
	if err := w.dp.AttachPod("vq1"); err != nil {
		w.t.Fatal(err)
	}
}

// filtersOf counts our programs at an interface.
func filtersOf(t *testing.T, ns host.Netns, name string) int {
	t.Helper()
	h, err := ns.Handle()
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	l, err := h.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	filters, err := h.FilterList(l, uint32(inbound))
	if err != nil {
		t.Fatal(err)
	}
	return len(filters)
}

// TestEachFamilyAlone runs clusters of one family: it is served whole, and nothing is there for the other's packets.
func TestEachFamilyAlone(t *testing.T) {
	w := newWorld(t)
	w.inside(w.lan, outsideRoute)
	for _, f := range []family{v4, v6} {
		w.serveTCP(w.p2, "p2", f.p2+":8080")
		w.serveUDP(w.p2, "p2", f.p2+":8080")
	}
	if got := filtersOf(t, w.n1, "vq1"); got != 2 {
		t.Errorf("%d programs at a pod's interface of a cluster with both families", got)
	}
	for _, f := range []family{v4, v6} {
		w.restrict(f)
		programs := 1
		if f.ipv6 {
			programs = 2 // IPv4's are always loaded
		}
		if got := filtersOf(t, w.n1, "vq1"); got != programs {
			t.Errorf("%s: %d programs at a pod's interface", f.name, got)
		}
		if got := w.dp.self(); !slices.Equal(got, []netip.Addr{ip(f.n1)}) {
			t.Errorf("%s: masquerading as %v", f.name, got)
		}
		w.apply(clusterIP("a", f.vip(1), 80, corev1.ProtocolTCP, back(f.p2+":8080")), f.nodePort("a", 30001, corev1.ProtocolTCP, back(f.p2+":8080")))
		pod := w.helperIn(w.q1)
		wantAnswer(t, f.name+" socket", pod.ask(f.tcp, f.vip(1)+":80"), "p2", f.vip(1)+":80")
		wantAnswer(t, f.name+" packets", ask(w.q1, f.tcp, f.vip(1)+":80"), "p2", f.vip(1)+":80")
		wantAnswer(t, f.name+" node", ask(w.n1, f.tcp, f.vip(1)+":80"), "p2", f.vip(1)+":80")
		wantAnswer(t, f.name+" outside", ask(w.lan, f.tcp, f.n1+":30001"), "p2", f.n1+":30001")
		wantRefused(t, f.name+" wrong port", ask(w.q1, f.tcp, f.vip(1)+":81"))
	}
	// Frontends of a family that the cluster has not are served at sockets, and no route is tried for them.
	w.restrict(v4)
	lb := loadBalancer("six", v6.foreign, 80, corev1.ProtocolTCP, back(v6.p2+":8080"))
	w.apply(lb)
	wantAnswer(t, "socket", w.helperIn(w.q1).ask(v6.tcp, v6.foreign+":80"), "p2", v6.foreign+":80")
	if got := vipRoutes(t, w.n1, v6); len(got) != 0 {
		t.Errorf("routes %v", got)
	}
}

// TestTablesOfAnOlderLayout: an upgrade makes tables of its own and leaves none of the old ones behind.
func TestTablesOfAnOlderLayout(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p2, "p2", p2IP+":8080")
	w.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")))
	w.dp.Close()
	old := filepath.Join(w.cfg.PinDir, "maps-1")
	if err := os.Rename(w.dp.pins().Path(), old); err != nil {
		t.Fatal(err)
	}
	wantAnswer(t, "before", ask(w.q1, "tcp4", "10.96.1.1:80"), "p2", "")
	w.open()
	if _, err := os.Stat(old); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", old, err)
	}
	d, err := w.dp.Dump()
	if err != nil {
		t.Fatal(err)
	}
	if len(d.Frontends)+len(d.Backends) != 0 {
		t.Errorf("the new tables are not new:\n%s", d)
	}
	w.apply(clusterIP("a", "10.96.1.1", 80, corev1.ProtocolTCP, back(p2IP+":8080")))
	wantAnswer(t, "after", ask(w.q1, "tcp4", "10.96.1.1:80"), "p2", "")
}

// TestLinksHaveNoAddresses: what the kernel would send out of them by itself would only meet the programs.
func TestLinksHaveNoAddresses(t *testing.T) {
	w := newWorld(t)
	w.inside(w.n1, func(h *netlink.Handle) error {
		for _, name := range []string{routeLink, injectLink} {
			l, err := h.LinkByName(name)
			if err != nil {
				return err
			}
			addrs, err := h.AddrList(l, netlink.FAMILY_V6)
			if err != nil {
				return err
			}
			if len(addrs) != 0 {
				t.Errorf("%s has %v", name, addrs)
			}
		}
		return nil
	})
}

// TestForwardingIsNotSwitchedOn: a node that learns its routes from routers would lose them if it forwarded IPv6 in
// general.
func TestForwardingIsNotSwitchedOn(t *testing.T) {
	w := newWorld(t)
	const all = "net/ipv6/conf/all/forwarding"
	if err := w.n1.Sysctls(map[string]string{all: "0"}); err != nil {
		t.Fatal(err)
	}
	w.restrict(v6)
	if w.dp.forwarding6() == all {
		t.Skip("needs Linux 6.17")
	}
	w.serveTCP(w.p2, "p2", v6.p2+":8080")
	w.apply(clusterIP("a", v6.vip(1), 80, corev1.ProtocolTCP, back(v6.p2+":8080")))
	wantAnswer(t, "node", ask(w.n1, v6.tcp, v6.vip(1)+":80"), "p2", v6.vip(1)+":80")
	err := w.n1.Do(func() error {
		if value, err := host.ReadSysctl(all); err != nil || value != "0" {
			return fmt.Errorf("%s is %q, %w", all, value, err)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
