package config

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/loadbalancer/config/metallb"
)

func randomRange(r *rand.Rand) Range {
	if r.IntN(10) == 0 {
		return Range{} // one that could not be read
	}
	first := r.IntN(200)
	last := first + r.IntN(20)
	addr := func(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(n)}) }
	if r.IntN(2) == 0 {
		addr = func(n int) netip.Addr { return netip.AddrFrom16([16]byte{0xfd, 15: byte(n)}) }
	}
	return Range{addr(first), addr(last)}
}

func overlap(a, b Range) bool { return a.First.IsValid() && b.First.IsValid() && a.Overlaps(b) }

// The index and twice find what comparing each with each finds.
func TestOverlapsAgainstAllPairs(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 3000 {
		var pools []Pool
		for i := range r.IntN(4) {
			p := Pool{Name: fmt.Sprint(i)}
			for range r.IntN(4) {
				p.Ranges = append(p.Ranges, randomRange(r))
			}
			pools = append(pools, p)
		}
		x, asked := newIndex(pools), randomRange(r)
		found, ok := x.find(asked)
		want := slices.ContainsFunc(pools, func(p Pool) bool {
			return slices.ContainsFunc(p.Ranges, func(o Range) bool { return overlap(asked, o) })
		})
		if ok != want || ok && !overlap(found.Range, asked) {
			t.Fatalf("%v in %+v: found %v, %v", asked, pools, found, ok)
		}

		var own []Range
		for range r.IntN(6) {
			own = append(own, randomRange(r))
		}
		pairs := twice(own)
		for _, p := range pairs {
			if p[0] >= p[1] || !overlap(own[p[0]], own[p[1]]) {
				t.Fatalf("pair %v of %v", p, own)
			}
		}
		for i := range own {
			has := slices.ContainsFunc(own[:i], func(o Range) bool { return overlap(own[i], o) })
			if has && len(pairs) == 0 {
				t.Fatalf("%v has an overlap at %d", own, i)
			}
		}
	}
}

// A pool as large as the store takes must not stop the API server.
func TestCheckOfAHugePool(t *testing.T) {
	huge := metallb.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: "huge", Namespace: Namespace}}
	for i := range 50_000 {
		huge.Spec.Addresses = append(huge.Spec.Addresses, fmt.Sprintf("10.%d.%d.0/28", i/256, i%256))
	}
	if errs := CheckPool(huge, nil); len(errs) > 0 {
		t.Errorf("errors: %v", errs.ToAggregate())
	}
	other := huge
	other.Name = "other"
	if errs := CheckPool(huge, []metallb.IPAddressPool{other}); len(errs) != maxErrors {
		t.Errorf("%d errors", len(errs))
	}
	for i := range huge.Spec.Addresses {
		huge.Spec.Addresses[i] = "10.0.0.0/8"
	}
	if errs := CheckPool(huge, nil); len(errs) != maxErrors {
		t.Errorf("%d errors", len(errs))
	}
}

func TestIndexThatGrows(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 500 {
		var pools []Pool
		x := new(index)
		for i := range 12 {
			p := Pool{Name: fmt.Sprint(i), Ranges: []Range{randomRange(r)}}
			_, taken := x.find(p.Ranges[0])
			if taken != slices.ContainsFunc(pools, func(o Pool) bool { return overlap(p.Ranges[0], o.Ranges[0]) }) {
				t.Fatalf("%v beside %v: taken is %v", p, pools, taken)
			}
			if !taken && p.Ranges[0].First.IsValid() {
				x.insert(p)
				pools = append(pools, p)
			}
		}
	}
}

func BenchmarkReadPools(b *testing.B) {
	var o Objects
	for i := range 5000 {
		p := metallb.IPAddressPool{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("p", i), Namespace: Namespace}}
		p.Spec.Addresses = []string{fmt.Sprintf("10.%d.%d.0/28", i/256, i%256), fmt.Sprintf("fd00:%x::/64", i)}
		o.Pools = append(o.Pools, p)
	}
	o.L2Advertisements = []metallb.L2Advertisement{{ObjectMeta: metav1.ObjectMeta{Name: "all", Namespace: Namespace}}}
	for b.Loop() {
		if c := Read(o); len(c.Pools) != 5000 || len(c.Problems) > 0 {
			b.Fatalf("%d pools, problems %v", len(c.Pools), c.Problems)
		}
	}
}
