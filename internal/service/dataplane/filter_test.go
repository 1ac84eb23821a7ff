package dataplane

import (
	"testing"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"

	"minato/internal/host/bpf"
)

// TestEarlierClassifiersGo has the programs where a process of an earlier version attached them.
func TestEarlierClassifiersGo(t *testing.T) {
	w := newWorld(t)
	w.serveTCP(w.p1, "p1", v4.p1+":8080")
	other := bpf.Classifier{Name: "somebody else's", Handle: filterHandle + 1, Priority: earlierFilters[0].Priority, Protocol: earlierFilters[0].Protocol}
	links := map[string][]direction{"eth0": {inbound, outbound}, "vp1": {inbound}, injectLink: {inbound}}
	w.inside(w.n1, func(h *netlink.Handle) error {
		for name, dirs := range links {
			l, err := h.LinkByName(name)
			if err != nil {
				return err
			}
			for _, dir := range dirs {
				for i := range filters {
					p := w.dp.collection.Programs[programFor(dir, i == 1)]
					if err := earlierFilters[i].Set(h, l.Attrs().Index, dir, p.FD()); err != nil {
						return err
					}
					if err := filters[i].Remove(h, l.Attrs().Index, dir); err != nil {
						return err
					}
				}
			}
		}
		l, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		return other.Set(h, l.Attrs().Index, inbound, w.dp.collection.Programs["ingress"].FD())
	})
	w.dp.Close()
	w.open()
	w.ownNodes()
	w.inside(w.n1, func(h *netlink.Handle) error {
		for name, dirs := range links {
			for _, dir := range dirs {
				have := priorities(t, h, name, dir)
				if len(have) != 2 || have[0] != 3 || have[1] != 4 {
					t.Errorf("%s, %s: classifiers have priorities %v, want 3 and 4", name, dir, have)
				}
			}
		}
		kept, err := other.Links(h, inbound)
		if len(kept) != 1 {
			t.Error("somebody else's classifier is gone")
		}
		return err
	})
	w.apply(nodePort("web", 30080, corev1.ProtocolTCP, back(v4.p1+":8080")))
	wantAnswer(t, "after the change", ask(w.lan, "tcp", v4.n1+":30080"), "p1", "")
	w.inside(w.n1, func(h *netlink.Handle) error {
		l, err := h.LinkByName("eth0")
		if err != nil {
			return err
		}
		return other.Remove(h, l.Attrs().Index, inbound)
	})
}

// priorities are those of our classifiers of an interface.
func priorities(t *testing.T, h *netlink.Handle, link string, dir direction) (out []uint16) {
	t.Helper()
	l, err := h.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	all, err := h.FilterList(l, uint32(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if filters[0].Has([]netlink.Filter{f}) {
			out = append(out, f.Attrs().Priority)
		}
	}
	return out
}
