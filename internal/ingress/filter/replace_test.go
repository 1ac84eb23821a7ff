package filter

import (
	"testing"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// TestReplace: custom-http-errors, disable-proxy-intercept-errors and default-backend (facts 1; e2e row 38).
func TestReplace(t *testing.T) {
	own, global := &table.BackendRef{Namespace: "d", Service: "errors"}, &table.BackendRef{Namespace: "k", Service: "fallback", Port: "80"}
	attempt := []exchange.Attempt{{Status: 404}}
	for _, c := range []struct {
		name        string
		loc         table.Location
		fallback    *table.BackendRef
		status      int
		fromBackend bool
		attempts    []exchange.Attempt
		want        *table.BackendRef
		target      string
	}{
		{"nothing asked for", table.Location{}, global, 404, true, attempt, nil, ""},
		{"a status that is not listed", table.Location{CustomErrors: []int{503}, ErrorsBackend: own}, global, 404, true, attempt, nil, ""},
		{"listed", table.Location{CustomErrors: []int{503, 404}, ErrorsBackend: own}, global, 404, true, attempt, own, "/"},
		{"listed, the cluster's default backend", table.Location{CustomErrors: []int{404}}, global, 404, true, attempt, global, "/"},
		{"listed, no default backend", table.Location{CustomErrors: []int{404}}, nil, 404, true, attempt, nil, ""},
		{"intercept off", table.Location{CustomErrors: []int{404}, ErrorsBackend: own, KeepErrors: true}, nil, 404, true, attempt, nil, ""},
		{"intercept off, the proxy's own", table.Location{CustomErrors: []int{502}, ErrorsBackend: own, KeepErrors: true}, nil, 502, false, attempt, own, "/"},
		{"no answer", table.Location{CustomErrors: []int{504}, ErrorsBackend: own}, nil, 504, false, attempt, own, "/"},
		{"no answer, not listed", table.Location{ErrorsBackend: own}, global, 504, false, attempt, nil, ""},
		{"no endpoints", table.Location{ErrorsBackend: own}, global, 503, false, nil, own, ""},
		{"no endpoints, listed too", table.Location{ErrorsBackend: own, CustomErrors: []int{503}}, global, 503, false, nil, own, ""},
		{"no endpoints, listed alone", table.Location{CustomErrors: []int{503}}, global, 503, false, nil, global, "/"},
		{"no endpoints, nothing", table.Location{}, global, 503, false, nil, nil, ""},
		{"the backend's own 401, listed", table.Location{CustomErrors: []int{401}, ErrorsBackend: own}, nil, 401, true, attempt, own, "/"},
	} {
		a := newTestAfter(t, nil)
		x := afterExchange(&c.loc)
		x.Settings.DefaultBackend, x.FromBackend, x.Attempts = c.fallback, c.fromBackend, c.attempts
		if got := a.replace(x, c.status); got != c.want || x.RewrittenTarget != c.target {
			t.Errorf("%s: %v with path %q", c.name, got, x.RewrittenTarget)
		}
		if s, ok := x.Slots[slotAfter].(*afterState); (ok && s.replaced) != (c.want != nil) {
			t.Errorf("%s: it is not remembered whether another backend answers", c.name)
		}
	}
	if newTestAfter(t, nil).replace(&exchange.Exchange{}, 404) != nil {
		t.Error("an exchange without a route is replaced")
	}
}

// TestReplaceFields: what the backend of error pages is told; a client's own such fields are not passed.
func TestReplaceFields(t *testing.T) {
	a := newTestAfter(t, nil)
	x := afterExchange(&table.Location{CustomErrors: []int{404}, ErrorsBackend: &table.BackendRef{Service: "errors"}},
		"Accept", "application/json", "X-Code", "200", "x-code", "201", "X-Namespace", "kube-system", "X-Format", "x/y", "X-Request-ID", "fake")
	x.Attempts = []exchange.Attempt{{}}
	a.replace(x, 404)
	for name, want := range map[string]string{
		"X-Code": "404", "X-Format": "application/json", "X-Original-URI": "/shop/a?b=1", "X-Namespace": "d", "X-Ingress-Name": "shop",
		"X-Service-Name": "web", "X-Service-Port": "80", "X-Request-ID": x.RequestID,
	} {
		n := 0
		for v := range x.Forward.Values(name) {
			if n++; string(v) != want {
				t.Errorf("%s is %q, not %q", name, v, want)
			}
		}
		if n != 1 {
			t.Errorf("%s is there %d times", name, n)
		}
	}
	x = afterExchange(&table.Location{CustomErrors: []int{404}, ErrorsBackend: &table.BackendRef{Service: "errors"}}, "X-Format", "x/y")
	x.Attempts = []exchange.Attempt{{}}
	a.replace(x, 404)
	if v := x.Forward.GetName("X-Format"); len(v) != 0 {
		t.Errorf("a client without Accept says X-Format: %s", v)
	}
}
