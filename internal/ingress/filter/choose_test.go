package filter

import (
	"math/rand/v2"
	"testing"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// canaried makes a request to an upstream with a canary.
func canaried(c table.Canary, fields ...string) *exchange.Exchange {
	x := afterExchange(&table.Location{}, fields...)
	x.Upstream.Canaries = []table.CanaryUpstream{{
		Namespace: "d", Ingress: "canary", Canary: c,
		Upstream: &table.Upstream{BackendRef: table.BackendRef{Namespace: "d", Service: "new", Port: "80"}},
	}}
	return x
}

// chosen tells whether a canary gets the request.
func chosen(t *testing.T, a *after, x *exchange.Exchange) bool {
	t.Helper()
	primary := x.Upstream
	a.choose(x)
	if (x.Upstream != primary) != (x.Canary != nil) || x.Canary != nil && x.Upstream != x.Canary.Upstream {
		t.Fatalf("the upstream is %s and the canary %v", x.Upstream.Service, x.Canary)
	}
	return x.Canary != nil
}

// TestCanaryWeights: e2e row 33: weight 0, 50, 100, and 1000 of 1000, with a seeded source of chance.
func TestCanaryWeights(t *testing.T) {
	const n = 20000
	for _, c := range []struct{ weight, total, low, high int }{
		{0, 100, 0, 0}, {100, 100, n, n}, {50, 100, n/2 - 350, n/2 + 350}, {1, 100, 130, 270}, {1000, 1000, n, n}, {5, 1000, 55, 150}, {50, 10, n/2 - 350, n/2 + 350},
	} {
		a := newTestAfter(t, func(c *afterConfig) { c.Random = rand.New(rand.NewPCG(3, 4)).Uint64 })
		got := 0
		for range n {
			if chosen(t, a, canaried(table.Canary{Weight: c.weight, Total: c.total})) {
				got++
			}
		}
		if got < c.low || got > c.high {
			t.Errorf("weight %d of %d: %d of %d, not %d to %d", c.weight, c.total, got, n, c.low, c.high)
		}
	}
}

// TestCanaryRules: e2e row 33: header always/never/other; a value ignores always; cookie; header over cookie over weight.
func TestCanaryRules(t *testing.T) {
	by := table.Canary{Header: "x-canary", Cookie: "canary", Weight: 0, Total: 100}
	all := by
	all.Weight = 100
	value := by
	value.HeaderValue = "beta"
	for _, c := range []struct {
		name   string
		canary table.Canary
		fields []string
		want   bool
	}{
		{"none", by, nil, false},
		{"header always", by, []string{"X-Canary", "always"}, true},
		{"header never, weight 100", all, []string{"X-Canary", "never"}, false},
		{"header other falls to weight", all, []string{"X-Canary", "badheadervalue"}, true},
		{"header other falls to weight 0", by, []string{"X-Canary", "badheadervalue"}, false},
		{"header other falls to the cookie", by, []string{"X-Canary", "other", "Cookie", "canary=always"}, true},
		{"header never over cookie always", by, []string{"X-Canary", "never", "Cookie", "canary=always"}, false},
		{"value", value, []string{"X-Canary", "beta"}, true},
		{"value ignores always", value, []string{"X-Canary", "always"}, false},
		{"cookie always", by, []string{"Cookie", "a=b; canary=always"}, true},
		{"cookie never over weight 100", all, []string{"Cookie", "canary=never"}, false},
		{"cookie other falls to weight", all, []string{"Cookie", "canary=maybe"}, true},
	} {
		if got := chosen(t, newTestAfter(t, nil), canaried(c.canary, c.fields...)); got != c.want {
			t.Errorf("%s: canary %t", c.name, got)
		}
	}
	x := afterExchange(&table.Location{})
	if x.Upstream = nil; chosen(t, newTestAfter(t, nil), x) {
		t.Error("a request without upstream has a canary")
	}
}

// TestCanaryAffinity: sticky: a client whose cookie the canary has set stays there, and one of the primary there, whatever
// header and weight say. Legacy: the canary has no cookie of its own, so that only the primary keeps its clients
// (route_to_alternative_balancer).
func TestCanaryAffinity(t *testing.T) {
	o := &table.CookieOption{Name: "INGRESSCOOKIE"}
	request := func(sticky bool, c table.Canary, cookie string, fields ...string) *exchange.Exchange {
		x := canaried(c, fields...)
		x.Route.Affinity = true
		x.Upstream.Options.Affinity = o
		if sticky {
			x.Upstream.Canaries[0].Upstream.Options.Affinity = o
		}
		if cookie != "" {
			withCookie(x, cookie)
			for i := 0; i+1 < len(fields); i += 2 {
				_ = x.Header.AddName(fields[i], fields[i+1])
			}
		}
		return x
	}
	never, always := table.Canary{Total: 100, Header: "x-canary"}, table.Canary{Weight: 100, Total: 100, Header: "x-canary"}
	a, c := newTestAfter(t, nil), newEndpoints(3)
	get := func(x *exchange.Exchange) (bool, string) {
		a.choose(x)
		_, cookie := visit(t, a, x, c)
		return x.Canary != nil, cookie
	}
	toCanary, canaryCookie := get(request(true, always, ""))
	toPrimary, primaryCookie := get(request(true, never, ""))
	if !toCanary || toPrimary || canaryCookie == "" || primaryCookie == "" {
		t.Fatalf("canary %t %q, primary %t %q", toCanary, canaryCookie, toPrimary, primaryCookie)
	}
	for _, row := range []struct {
		name   string
		x      *exchange.Exchange
		canary bool
	}{
		{"sticky canary, weight 0", request(true, never, canaryCookie), true},
		{"sticky canary, header never", request(true, never, canaryCookie, "X-Canary", "never"), true},
		{"sticky primary, weight 100", request(true, always, primaryCookie), false},
		{"sticky primary, header always", request(true, never, primaryCookie, "X-Canary", "always"), false},
		{"legacy, canary's cookie, weight 0", request(false, never, canaryCookie), false},
		{"legacy, canary's cookie, header always", request(false, never, canaryCookie, "X-Canary", "always"), true},
		{"legacy, primary's cookie, weight 100", request(false, always, primaryCookie), false},
		{"made up", request(true, always, "INGRESSCOOKIE=x|y; "), true},
	} {
		if got, _ := get(row.x); got != row.canary {
			t.Errorf("%s: canary %t", row.name, got)
		}
	}
	if _, cookie := get(request(false, always, "")); cookie != "" {
		t.Errorf("legacy: the canary, which has no affinity, sets %q", cookie)
	}
}
