package table

import (
	"fmt"
	"strings"
	"testing"

	"minato/internal/ingress/regex"
)

type request struct{ header, cookie string }

func (r request) Lookup(v Var, name string) string {
	switch {
	case v == VarHeader && name == "x-canary":
		return r.header
	case v == VarCookie && name == "c":
		return r.cookie
	}
	return ""
}

// Sources: ingress-nginx's annotations canary-*, and its assertions of headers, values, cookies and weights.
func TestChoose(t *testing.T) {
	pattern, err := regex.Compile("^[a-c]+$", regex.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const low, high = 0, 1<<32 - 1
	for _, tt := range []struct {
		name   string
		canary Canary
		r      request
		random uint32
		want   bool
		reason string
	}{
		{"always", Canary{Header: "X-Canary"}, request{header: "always"}, high, true, reasonHeader},
		{"never", Canary{Header: "X-Canary", Weight: 100}, request{header: "never"}, low, false, reasonHeader},
		{"neither", Canary{Header: "X-Canary"}, request{header: "x"}, low, false, reasonWeight},
		{"neither, then the cookie", Canary{Header: "X-Canary", Cookie: "c"}, request{header: "x", cookie: "always"}, high, true, reasonCookie},
		{"header over cookie", Canary{Header: "X-Canary", Cookie: "c"}, request{header: "never", cookie: "always"}, low, false, reasonHeader},
		{"value", Canary{Header: "X-Canary", HeaderValue: "v"}, request{header: "v"}, high, true, reasonHeader},
		{"value ignores always", Canary{Header: "X-Canary", HeaderValue: "v"}, request{header: "always"}, high, false, reasonWeight},
		{"value ignores never", Canary{Header: "X-Canary", HeaderValue: "v", Weight: 100}, request{header: "never"}, low, true, reasonWeight},
		{"value over pattern", Canary{Header: "X-Canary", HeaderValue: "v", HeaderPattern: pattern}, request{header: "abc"}, high, false, reasonWeight},
		{"pattern", Canary{Header: "X-Canary", HeaderPattern: pattern}, request{header: "abc"}, high, true, reasonHeader},
		{"pattern without a match", Canary{Header: "X-Canary", HeaderPattern: pattern, Cookie: "c"}, request{header: "abx", cookie: "always"}, high, true, reasonCookie},
		{"broken pattern", Canary{Header: "X-Canary", PatternBroken: true, Weight: 100}, request{header: "abc"}, low, false, reasonPattern},
		{"broken pattern without the header", Canary{Header: "X-Canary", PatternBroken: true, Weight: 100}, request{}, low, true, reasonWeight},
		{"cookie never", Canary{Cookie: "c", Weight: 100}, request{cookie: "never"}, low, false, reasonCookie},
		{"cookie otherwise", Canary{Cookie: "c", Weight: 100}, request{cookie: "x"}, low, true, reasonWeight},
		{"weight 0", Canary{}, request{}, low, false, reasonWeight},
		{"weight 100", Canary{Weight: 100, Total: 100}, request{}, high, true, reasonWeight},
		{"weight 1000 of 1000", Canary{Weight: 1000, Total: 1000}, request{}, high, true, reasonWeight},
		{"a total below 100 counts as 100", Canary{Weight: 50, Total: 50}, request{}, high, false, reasonWeight},
	} {
		c := tt.canary
		table := build(ing("main", 2, "h P / main"), ing("canary", 1, "h P / canary").with(func(i *Ingress) { i.Options.Canary = &c }))
		var m Match
		table.Match("h", "/", &m)
		up, by, reason := m.Route.Backend.Choose(tt.r, tt.random)
		if got := up.Service == "canary"; got != tt.want || (by != nil) != tt.want || reason != tt.reason {
			t.Errorf("%s: %s, %s", tt.name, up.Service, reason)
		}
	}
	// Half of all random numbers.
	u := build(ing("main", 2, "h P / main"), ing("canary", 1, "h P / canary").with(canary)).Routes()[0].Backend
	n := 0
	for i := range uint32(1000) {
		if _, c, _ := u.Choose(request{}, i*(1<<32/1000)); c != nil {
			n++
		}
	}
	if n < 499 || n > 501 {
		t.Errorf("a weight of 50 takes %d of 1000", n)
	}
}

// What a canary hangs on. Source: ingress-nginx's canaries, but for what is said.
func TestCanaryAttaches(t *testing.T) {
	affinity := func(i *Ingress) { i.Options.Upstream.Affinity = &CookieOption{Name: "sticky"} }
	for _, tt := range []struct {
		name string
		ings []*Ingress
		want string // for each route: path=service(canary)
	}{
		{"same host, path and type", []*Ingress{ing("m", 2, "h P /a main"), ing("c", 1, "h P /a can").with(canary)}, "h/a=main(can)"},
		{"older than its primary", []*Ingress{ing("m", 1, "h P /a main"), ing("c", 2, "h P /a can").with(canary)}, "h/a=main(can)"},
		{"another path", []*Ingress{ing("m", 2, "h P /a main"), ing("c", 1, "h P /b can").with(canary)}, "h/a=main"},
		{"another type", []*Ingress{ing("m", 2, "h P /a main"), ing("c", 1, "h E /a can").with(canary)}, "h/a=main"},
		{"another type of prefix", []*Ingress{ing("m", 2, "h P /a main"), ing("c", 1, "h I /a can").with(canary)}, "h/a=main"},
		{"another host", []*Ingress{ing("m", 2, "h P /a main"), ing("c", 1, "x P /a can").with(canary)}, "h/a=main"},
		{"the same Service", []*Ingress{ing("m", 2, "h P /a main"), ing("c", 1, "h P /a main").with(canary)}, "h/a=main"},
		{"another port", []*Ingress{ing("m", 2, "h P /a main:1"), ing("c", 1, "h P /a main:2").with(canary)}, "h/a=main(main)"},
		{"alone", []*Ingress{ing("c", 1, "h P /a can").with(canary)}, ""},
		{"all that use the Service", []*Ingress{ing("m", 2, "h P /a main", "x E /z main", "x P /y other"), ing("c", 1, "h P /a can").with(canary)}, "h/a=main(can) x/y=other x/z=main(can)"},
		{"one for each Service: the oldest", []*Ingress{ing("m", 3, "h P /a main", "h P /b main"), ing("c", 1, "h P /a young").with(canary), ing("d", 2, "h P /b old").with(canary)}, "h/a=main(old) h/b=main(old)"},
		{"its Service is a primary in an older Ingress (safe: it takes part, where ingress-nginx's is dead)",
			[]*Ingress{ing("o", 3, "x P / can"), ing("m", 2, "h P /a main"), ing("c", 1, "h P /a can").with(canary)}, "h/a=main(can) x/=can"},
		{"its Service is a primary in a younger Ingress (safe: that path is served)",
			[]*Ingress{ing("o", 0, "x P / can"), ing("m", 2, "h P /a main"), ing("c", 1, "h P /a can").with(canary)}, "h/a=main(can) x/=can"},
		{"canaries of each other", []*Ingress{ing("m", 4, "h P /a one", "h P /b two"), ing("c", 1, "h P /a two", "h P /b one").with(canary)}, "h/a=one(two) h/b=two(one)"},
		{"one that can't be honoured", []*Ingress{ing("m", 2, "h P /a main"), ing("c", 1, "h P /a can").with(canary).with(func(i *Ingress) { i.Options.Fault = "broken" })}, "h/a=main"},
		{"of the default backend", []*Ingress{ing("m", 2, "default main"), ing("c", 1, "default can").with(canary)}, "/=main(can)"},
		{"the default backend's isn't that of a rule", []*Ingress{ing("m", 2, "- P / main"), ing("c", 1, "default can").with(canary)}, "/=main"},
		{"sticky with its primary", []*Ingress{ing("m", 2, "h P /a main").with(affinity), ing("c", 1, "h P /a can").with(canary)}, "h/a=main(can sticky)"},
	} {
		var got []string
		for _, r := range build(tt.ings...).Routes() {
			if r.Backend == nil {
				continue
			}
			s := r.Host + r.Path + "=" + r.Backend.Service
			for _, c := range r.Backend.Canaries {
				s += "(" + c.Upstream.Service
				if a := c.Upstream.Options.Affinity; a != nil {
					s += " " + a.Name
				}
				s += ")"
				if len(c.Upstream.Canaries) > 0 {
					t.Errorf("%s: a canary has canaries", tt.name)
				}
			}
			got = append(got, s)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, s, tt.want)
		}
	}
}

// Fields of a Service come from the oldest Ingress that sets them.
func TestUpstreamOptions(t *testing.T) {
	lb := func(v LoadBalance, set bool) func(*Ingress) {
		return func(i *Ingress) {
			i.Options.Upstream.LoadBalance = v
			if set {
				i.Options.Upstream.Set = SetLoadBalance
			}
		}
	}
	for i, tt := range []struct {
		old, young func(*Ingress)
		want       LoadBalance
	}{
		{lb(EWMA, true), lb(RoundRobin, true), EWMA},
		{lb(RoundRobin, true), lb(EWMA, true), RoundRobin},
		{lb(RoundRobin, false), lb(EWMA, true), EWMA},
		{lb(EWMA, false), lb(RoundRobin, true), RoundRobin}, // a default of the settings is no wish
		{lb(EWMA, false), lb(EWMA, false), EWMA},
	} {
		table := build(ing("a", 2, "h P /a s").with(tt.old), ing("b", 1, "x P /b s").with(tt.young))
		for _, r := range table.Routes() {
			if r.Backend != nil && r.Backend.Options.LoadBalance != tt.want {
				t.Errorf("%d: %s has %v", i, r.Path, r.Backend.Options.LoadBalance)
			}
		}
		if said := fmt.Sprint(table.Findings(key("b"))); (i < 2) != strings.Contains(said, "load-balance") {
			t.Errorf("%d: findings %s", i, said)
		}
	}
}

// TestRouteAffinity: the paths of an Ingress that asks for affinity set the cookie; others of the same Service, and catch-alls,
// do not. An edit of the annotation alone counts.
func TestRouteAffinity(t *testing.T) {
	affinity := func(i *Ingress) { i.Options.Upstream.Affinity = &CookieOption{Name: "sticky"} }
	b := NewBuilder()
	set := func(ings ...*Ingress) string {
		for _, i := range ings {
			b.Set(i)
		}
		s := ""
		for _, r := range b.Table().Routes() {
			if r.Affinity {
				s += r.Host + r.Path + " "
			}
		}
		return s
	}
	first := []string{"a.x P /a web:80", "a.x P /b web:80", "b.x P / web:80"}
	if got := set(ing("one", 2, first...).with(affinity), ing("two", 1, "a.x P /c web:80", "c.x P /c web:80")); got != "a.x/a a.x/b b.x/ " {
		t.Errorf("affinity of %q", got)
	}
	if got := set(ing("one", 2, first...)); got != "" {
		t.Errorf("without the annotation: affinity of %q", got)
	}
	if got := set(ing("one", 2, first...).with(affinity), ing("two", 1, "a.x P /c web:80").with(affinity)); got != "a.x/a a.x/b a.x/c b.x/ " {
		t.Errorf("with it again: affinity of %q", got)
	}
}
