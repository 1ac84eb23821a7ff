package filter

import (
	"io"
	"testing"

	"minato/internal/ingress/table"
)

// free fails if a step allocates.
func free(t *testing.T, name string, step func()) {
	t.Helper()
	step()
	if n := testing.AllocsPerRun(200, step); n > 0 {
		t.Errorf("%s: %g allocations", name, n)
	}
}

// nothing is a request whose location asks for nothing, through all hooks.
func nothing(a *after) func() {
	x := afterExchange(&table.Location{})
	c := newEndpoints(8)
	return func() {
		a.choose(x)
		a.trace(x, x.Route.Location)
		a.pick(x, c)
		a.response(x)
		a.encode(x, -1, io.Discard)
		a.done(x)
	}
}

// TestAfterAllocations: choosing costs no memory once the set's derived parts are made.
func TestAfterAllocations(t *testing.T) {
	a := newTestAfter(t, nil)
	c := newEndpoints(20)
	free(t, "nothing", nothing(a))
	options := map[string]table.UpstreamOptions{
		"hash": {HashBy: textOf(table.VarHost, table.VarRequestURI)}, "subset": {HashBy: textOf(table.VarRequestURI), HashSubset: 3}, "ewma": {LoadBalance: table.EWMA},
		"affinity":             {Affinity: &table.CookieOption{Name: "c"}},
		"affinity, persistent": {Affinity: &table.CookieOption{Name: "c", Persistent: true}},
	}
	for name, o := range options {
		x := afterExchange(&table.Location{}, "Cookie", "c=0123456789abcdef0123456789abcdef|x")
		x.Upstream.Options = o
		free(t, name, func() {
			a.pick(x, c)
			a.done(x)
		})
	}
	x := canaried(table.Canary{Header: "x-canary", Cookie: "canary", Weight: 50, Total: 100}, "Cookie", "c=0123456789abcdef0123456789abcdef|00000000000000000000000000000000")
	x.Upstream.Options.Affinity = &table.CookieOption{Name: "c"}
	primary := x.Upstream
	free(t, "canary", func() {
		x.Upstream, x.Canary = primary, nil
		a.choose(x)
	})
	yes := true
	loc := &table.Location{Tracing: &yes}
	y := afterExchange(loc, "traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
	free(t, "trace", func() {
		y.Header.ShareTo(&y.Forward)
		a.trace(y, loc)
		a.done(y)
	})
}

func BenchmarkNothing(b *testing.B) {
	step := nothing(newTestAfter(b, nil))
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}

func benchmarkPick(b *testing.B, o table.UpstreamOptions, fields ...string) {
	a, c := newTestAfter(b, nil), newEndpoints(100)
	x := afterExchange(&table.Location{}, fields...)
	x.Upstream.Options = o
	a.pick(x, c)
	b.ReportAllocs()
	for b.Loop() {
		a.pick(x, c)
	}
}

func BenchmarkRoundRobin(b *testing.B) { benchmarkPick(b, table.UpstreamOptions{}) }
func BenchmarkEWMA(b *testing.B)       { benchmarkPick(b, table.UpstreamOptions{LoadBalance: table.EWMA}) }
func BenchmarkHash(b *testing.B) {
	benchmarkPick(b, table.UpstreamOptions{HashBy: textOf(table.VarRequestURI)})
}
func BenchmarkSubset(b *testing.B) {
	benchmarkPick(b, table.UpstreamOptions{HashBy: textOf(table.VarRequestURI), HashSubset: 3})
}
func BenchmarkAffinity(b *testing.B) {
	benchmarkPick(b, table.UpstreamOptions{Affinity: &table.CookieOption{Name: "c"}}, "Cookie", "c=0123456789abcdef0123456789abcdef|x")
}

func BenchmarkRing(b *testing.B) {
	c := newEndpoints(100)
	for b.Loop() {
		newRing(c)
	}
}
