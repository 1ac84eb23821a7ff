package filter

import (
	"math"
	"sync"
	"testing"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// hashPick picks for a query, with upstream-hash-by: $request_uri.
func hashPick(a *after, c exchange.Candidates, subset int, target string) int {
	x := afterExchange(&table.Location{})
	x.Target = target
	x.Upstream.Options = table.UpstreamOptions{HashBy: textOf(table.VarRequestURI), HashSubset: subset}
	i := a.pick(x, c)
	a.done(x)
	return i
}

// TestHashBy: e2e row 39: the same text leads to one of six endpoints, with a subset of three to three.
func TestHashBy(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(6)
	for key := range 50 {
		target := numbered("/q/", key)
		first := hashPick(a, c, 0, target)
		met := map[int]int{}
		for range 300 {
			if i := hashPick(a, c, 0, target); i != first {
				t.Fatalf("%s: endpoint %d, then %d", target, first, i)
			}
			met[hashPick(a, c, 3, target)]++
		}
		if len(met) != 3 {
			t.Fatalf("%s: a subset of 3 has %d endpoints", target, len(met))
		}
		for i, n := range met {
			if n < 60 || n > 140 { // 100, and five standard deviations of 8
				t.Errorf("%s: endpoint %d got %d of 300 requests of a subset of 3", target, i, n)
			}
		}
	}
	for key := range 20 {
		if i := hashPick(a, newEndpoints(2), 5, numbered("/", key)); i < 0 || i > 1 {
			t.Errorf("a subset that is larger than the set picks %d", i)
		}
	}
	if i := hashPick(a, newEndpoints(1), 0, "/"); i != 0 {
		t.Errorf("of one endpoint %d is picked", i)
	}
}

// TestHashParts: the text is what is hashed, not its parts' number, nor what it is made of.
func TestHashParts(t *testing.T) {
	x := afterExchange(&table.Location{}, "X-User", "ann")
	one, two := textOf("ann/shop/a"), textOf(table.Part{Var: table.VarHeader, Name: "x-user"}, table.VarURI)
	if hashText(x, one) != hashText(x, two) {
		t.Error("a text in one part and the same in two have different hashes")
	}
	if hashText(x, one) == hashText(x, textOf("bob/shop/a")) {
		t.Error("two texts have the same hash")
	}
}

// TestHashStability: when an endpoint leaves only its keys move, and when it comes back they come back; other nodes map
// alike, whatever the order of their endpoints.
func TestHashStability(t *testing.T) {
	const n, keys = 10, 20000
	a, c := newTestAfter(t, nil), newEndpoints(n)
	const gone = 3
	less := c.without(gone)
	turned := newEndpoints(n)
	for i := range turned.all {
		turned.all[i] = c.all[n-1-i]
	}
	share := make([]int, n)
	for k := range keys {
		key := numbered("/k", k)
		was := hashPick(a, c, 0, key)
		share[was]++
		is := less.all[hashPick(a, less, 0, key)]
		if was != gone && is != c.all[was] {
			t.Fatalf("%s moved from %s to %s though that stays", key, c.all[was], is)
		}
		if other := turned.all[hashPick(a, turned, 0, key)]; other != c.all[was] {
			t.Fatalf("%s is at %s here and at %s where endpoints are in another order", key, c.all[was], other)
		}
	}
	for i, got := range share {
		if got < keys/n*6/10 || got > keys/n*14/10 {
			t.Errorf("endpoint %d has %d of %d keys", i, got, keys)
		}
	}
}

// TestSubsetStability: an endpoint that leaves changes the subsets that it was in by one member, and no others.
func TestSubsetStability(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(9)
	less := c.without(4)
	members := func(e *endpoints, key string) map[string]bool {
		m := map[string]bool{}
		for range 200 {
			m[e.all[hashPick(a, e, 3, key)].String()] = true
		}
		return m
	}
	for k := range 100 {
		key := numbered("/k", k)
		was, is := members(c, key), members(less, key)
		lost := 0
		for m := range was {
			if !is[m] {
				lost++
			}
		}
		want := 0
		if was[c.all[4].String()] {
			want = 1
		}
		if lost != want || len(is) != 3 {
			t.Fatalf("%s: %v became %v", key, was, is)
		}
	}
}

// TestHashFailures: what was tried or fails is passed by; if nothing is left, what was not tried is picked.
func TestHashFailures(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(4)
	first := hashPick(a, c, 0, "/x")
	c.tried[first] = true
	second := hashPick(a, c, 0, "/x")
	if second == first {
		t.Fatal("an endpoint is tried twice")
	}
	c.failing[second] = true
	third := hashPick(a, c, 0, "/x")
	if third == first || third == second {
		t.Fatalf("endpoints %d and %d are no good, and %d is picked", first, second, third)
	}
	for i := range 4 {
		c.failing[i] = true
	}
	if i := hashPick(a, c, 0, "/x"); i == first {
		t.Error("of endpoints that all fail the one that was tried is picked")
	}
	for i := range 4 {
		c.tried[i] = true
	}
	if i := hashPick(a, c, 0, "/x"); i != first {
		t.Errorf("of endpoints that were all tried %d is picked, not the key's own", i)
	}
}

// TestRingOnce: many that come at once make one ring.
func TestRingOnce(t *testing.T) {
	a, c := newTestAfter(t, func(c *afterConfig) { c.Random = nil }), newEndpoints(100)
	var all sync.WaitGroup
	rings := make([]*ring, 16)
	for i := range rings {
		all.Go(func() { rings[i] = a.balance.ring(a.balance.of(c), c) })
	}
	all.Wait()
	for _, r := range rings {
		if r != rings[0] {
			t.Fatal("two rings were made for one set")
		}
	}
}

// TestRank: affinity comes before the hash, that before load-balance (ingress-nginx's get_implementation); other
// upstreams, and backends of error pages, are taken in turn.
func TestRank(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(5)
	x := afterExchange(&table.Location{})
	if i := a.pick(x, c); i != inTurn {
		t.Errorf("round_robin picks %d", i)
	}
	x.Upstream.Options.LoadBalance = table.EWMA
	if a.pick(x, c); a.balance.of(c).loads.Load() == nil {
		t.Error("ewma does not look at loads")
	}
	c = newEndpoints(5)
	x.Upstream.Options.HashBy = textOf(table.VarRequestURI)
	if a.pick(x, c); a.balance.of(c).loads.Load() != nil || a.balance.of(c).ring.Load() == nil {
		t.Error("ewma comes before upstream-hash-by")
	}
	c = newEndpoints(5)
	x.Upstream.Options.Affinity = &table.CookieOption{Name: "c", Persistent: true}
	if a.pick(x, c); a.balance.of(c).ring.Load() != nil || a.balance.of(c).names.Load() == nil {
		t.Error("upstream-hash-by comes before affinity")
	}
	a.state(x).replaced = true
	if i := a.pick(x, c); i != inTurn {
		t.Errorf("the backend of error pages is picked by the options of another: %d", i)
	}
}

// ewma asks once and has the endpoint answer after some time.
func ewma(a *after, c *endpoints, took func(i int) time.Duration) int {
	x := afterExchange(&table.Location{})
	x.Upstream.Options.LoadBalance = table.EWMA
	i := a.pick(x, c)
	d := took(i)
	x.Attempts = append(x.Attempts, exchange.Attempt{Endpoint: c.all[i], Header: d, Duration: d, Status: 200})
	a.done(x)
	return i
}

// TestEWMA: two endpoints are drawn and the quicker one is asked, so that the slowest of all is asked only to look whether
// it still is slow.
func TestEWMA(t *testing.T) {
	now := afterNow
	a := newTestAfter(t, func(c *afterConfig) { c.Now = func() time.Time { return now } })
	c := newEndpoints(4)
	got := make([]int, 4)
	for range 4000 {
		now = now.Add(10 * time.Millisecond)
		got[ewma(a, c, func(i int) time.Duration {
			if i == 2 {
				return time.Second
			}
			return 10 * time.Millisecond
		})]++
	}
	if got[2] > 40 { // its average fades by a third in ten seconds, of forty
		t.Errorf("the slow endpoint got %d of 4000 requests: %v", got[2], got)
	}
	for _, i := range []int{0, 1, 3} {
		if got[i] < 500 {
			t.Errorf("endpoint %d got %d of 4000 requests: %v", i, got[i], got)
		}
	}
	// Without requests the average sinks, and the endpoint is tried again.
	now = now.Add(10 * time.Minute)
	recovered := 0
	for range 400 {
		now = now.Add(10 * time.Millisecond)
		if ewma(a, c, func(int) time.Duration { return 10 * time.Millisecond }) == 2 {
			recovered++
		}
	}
	if recovered < 40 {
		t.Errorf("an endpoint that is quick again got %d of 400 requests", recovered)
	}
}

// TestEWMAWeights: the average is ingress-nginx's: what was is weighed by exp(-t/10s).
func TestEWMAWeights(t *testing.T) {
	var l load
	l.v.Store(packed(1, 0))
	l.observe(0, 1000)
	if got, want := l.at(1000), math.Exp(-1); math.Abs(got-want) > 1e-6 {
		t.Errorf("after 10 s without a wait, 1 s is %g, not %g", got, want)
	}
	if got, want := l.at(2000), math.Exp(-2); math.Abs(got-want) > 1e-6 {
		t.Errorf("after 20 s, 1 s is %g, not %g", got, want)
	}
	l.observe(3, 2000)
	want := math.Exp(-2) + 3*(1-math.Exp(-1))
	if got := l.at(2000); math.Abs(got-want) > 1e-5 {
		t.Errorf("with 3 s more it is %g, not %g", got, want)
	}
}

// TestEWMASets: endpoints that stay keep their averages when the set changes; new ones begin with the mean.
func TestEWMASets(t *testing.T) {
	a := newTestAfter(t, nil)
	c := newEndpoints(3)
	ref := table.BackendRef{Namespace: "d", Service: "web", Port: "80"}
	l := a.balance.known.loadsOf(ref, c, 5)
	for i := range l.of {
		l.of[i].v.Store(packed(float64(i+1), 5))
	}
	more := newEndpoints(5)
	more.all = more.all[1:]
	l = a.balance.known.loadsOf(ref, more, 5)
	for i, want := range []float64{2, 3, 2, 2} {
		if got := l.of[i].at(5); got != want {
			t.Errorf("endpoint %s has %g, not %g", more.all[i], got, want)
		}
	}
}

// TestEWMAFailures: an endpoint that gives no answer does not look quick, and one that keeps its client waiting is slow.
func TestEWMAFailures(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(2)
	l := a.balance.known.loadsOf(table.BackendRef{}, c, 0)
	l.of[0].v.Store(packed(0.5, 0))
	l.of[1].v.Store(packed(0.5, 0))
	now := afterNow
	a.balance.now = func() time.Time { return now }
	now = now.Add(5 * time.Second)
	faded := 0.5 * math.Exp(-0.5)
	a.balance.observe(l, []exchange.Attempt{{Endpoint: c.all[0], Duration: time.Microsecond, Status: 502}, {Endpoint: c.all[1], Duration: time.Minute, Status: 504}})
	if got := l.of[0].at(500); math.Abs(got-faded) > 1e-6 {
		t.Errorf("after a refused connection the average is %g, not %g", got, faded)
	}
	if got := l.of[1].at(500); got < 10 {
		t.Errorf("after a timeout of a minute the average is %g", got)
	}
	c.failing[0] = true
	for range 50 {
		if i := l.pick(c, a.cfg.Random(), 500); i != 1 {
			t.Fatal("an endpoint that fails is picked though there is another")
		}
	}
	c.tried[1] = true
	if i := l.pick(c, a.cfg.Random(), 500); i != 0 {
		t.Error("an endpoint that was tried is picked though there is another")
	}
}

// TestEWMATies: of two endpoints of which nothing is known the one with fewer requests is asked.
func TestEWMATies(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(2)
	c.loads[0], c.loads[1] = 3, 1
	l := a.balance.known.loadsOf(table.BackendRef{}, c, 0)
	for range 50 {
		if i := l.pick(c, a.cfg.Random(), 0); i != 1 {
			t.Fatal("the endpoint with more requests is picked")
		}
	}
}

func TestFaded(t *testing.T) {
	for _, c := range []struct {
		in   uint32
		want float64
	}{{0, 1}, {math.MaxUint32, 1}, {1000, math.Exp(-1)}, {100000, math.Exp(-100)}} {
		if got := faded(c.in); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("faded(%d) = %g, not %g", c.in, got, c.want)
		}
	}
}
