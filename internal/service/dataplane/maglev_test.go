package dataplane

import (
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/service/route"
)

func TestPacketMaglev(t *testing.T) { eachFamily(t, testPacketMaglev) }

// Two nodes send each connection to the same backend, whatever numbers they gave to Services and backends and whatever
// order they know them in.
func testPacketMaglev(t *testing.T, fam family) {
	var addrs []string
	for i := range 8 {
		addrs = append(addrs, fam.remotePod(i+2)+":8080")
	}
	maglev := func(backends []route.Backend) route.Frontend {
		f := fam.nodePort("a", 30001, corev1.ProtocolTCP, backends)
		f.Decisions[route.FromOutside].Consistent = true
		return f
	}
	one, two := newRig(t), newRig(t)
	one.apply(maglev(back(addrs...)))
	two.apply(clusterIP("b", fam.vip(2), 80, corev1.ProtocolTCP, back(addrs[3])))
	reversed := back(addrs...)
	slices.Reverse(reversed)
	two.apply(maglev(reversed))

	connect := func(r *rig, port int) string {
		t.Helper()
		_, out := r.ingress(r.uplink, segment{from: fmt.Sprintf("%s:%d", fam.lan, port), to: fam.n1 + ":30001", flags: syn}.packet())
		return parse(t, out).to
	}
	seen := map[string]int{}
	for port := 1000; port < 1400; port++ {
		to := connect(one, port)
		if other := connect(two, port); other != to {
			t.Fatalf("from port %d one node sends to %s, the other to %s", port, to, other)
		}
		seen[to]++
	}
	for _, a := range addrs {
		if n := seen[a]; n < 20 || n > 100 {
			t.Errorf("%s got %d of 400 connections; want about 50", a, n)
		}
	}

	// A backend that goes takes few others' connections with it.
	two.apply(maglev(slices.DeleteFunc(reversed, func(b route.Backend) bool { return b.Addr.String() == addrs[0] })))
	moved := 0
	for port := 2000; port < 2400; port++ {
		before, after := connect(one, port), connect(two, port)
		switch {
		case after == addrs[0]:
			t.Fatalf("from port %d to %s, which is gone", port, after)
		case before != addrs[0] && before != after:
			moved++
		}
	}
	if moved > 40 {
		t.Errorf("%d of 400 connections moved needlessly", moved)
	}

	// Without consistency there is no table any more.
	f := maglev(reversed)
	f.Decisions[route.FromOutside].Consistent = false
	two.apply(f)
	two.reconciler.maglev.each(func(k maglevKey, _ *maglevTable) { t.Errorf("table %+v is left", k) })
}
