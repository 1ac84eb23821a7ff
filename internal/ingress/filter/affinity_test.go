package filter

import (
	"crypto/md5"
	"crypto/tls"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// withAffinity makes a request to an Ingress with affinity.
func withAffinity(o table.CookieOption, fields ...string) *exchange.Exchange {
	if o.Name == "" {
		o.Name = "INGRESSCOOKIE"
	}
	x := afterExchange(&table.Location{}, fields...)
	x.Route.Affinity = true
	x.Upstream.Options.Affinity = &o
	return x
}

// visit asks and returns the endpoint and the cookie that is set, "" for none.
func visit(t *testing.T, a *after, x *exchange.Exchange, c *endpoints) (int, string) {
	t.Helper()
	i := a.pick(x, c)
	a.response(x)
	a.done(x)
	all := setCookies(x)
	if len(all) > 1 {
		t.Fatalf("%d cookies are set: %q", len(all), all)
	}
	if len(all) == 0 {
		return i, ""
	}
	return i, all[0]
}

// TestBackendKey: the hash of ingress-nginx, md5(md5(name) + name) with the name namespace-service-port.
func TestBackendKey(t *testing.T) {
	for _, ref := range []table.BackendRef{{Namespace: "d", Service: "web", Port: "80"}, {Namespace: strings.Repeat("n", 63), Service: strings.Repeat("s", 253), Port: "http"}} {
		name := ref.Namespace + "-" + ref.Service + "-" + ref.Port
		first := md5.Sum([]byte(name))
		second := md5.Sum([]byte(hex.EncodeToString(first[:]) + name))
		if got := backendKey(&ref); string(got[:]) != hex.EncodeToString(second[:]) {
			t.Errorf("the key of %s is %s", name, got)
		}
	}
}

// TestAffinity: a cookie is set on the first answer and leads back; with it no other is set.
func TestAffinity(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		a, c := newTestAfter(t, nil), newEndpoints(7)
		o := table.CookieOption{Persistent: persistent}
		met := map[int]int{}
		for range 700 {
			x := withAffinity(o)
			first, cookie := visit(t, a, x, c)
			met[first]++
			key := backendKey(&x.Upstream.BackendRef)
			if !regexp.MustCompile(`^INGRESSCOOKIE=[0-9a-f]{32}\|` + string(key[:]) + `; Path=/shop; HttpOnly$`).MatchString(cookie) {
				t.Fatalf("persistent %t: the cookie is %q", persistent, cookie)
			}
			if again, other := visit(t, a, withCookie(withAffinity(o), cookie), c); again != first || other != "" {
				t.Fatalf("persistent %t: a client of endpoint %d comes to %d, cookie %q", persistent, first, again, other)
			}
		}
		for i, n := range met {
			if n < 40 || n > 180 {
				t.Errorf("persistent %t: endpoint %d got %d of 700 clients", persistent, i, n)
			}
		}
	}
}

// TestAffinityPaths: e2e row 34: Path is the rule's; a path of another Ingress follows the cookie but sets none.
func TestAffinityPaths(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(3)
	for _, path := range []string{"/foo", "/bar", "", "/a;b"} {
		x := withAffinity(table.CookieOption{})
		x.Route.Path = path
		want := "; Path=" + strings.ReplaceAll(path, ";", "%3B") + ";"
		if path == "" {
			want = "; Path=/;"
		}
		if _, cookie := visit(t, a, x, c); !strings.Contains(cookie, want) {
			t.Errorf("for path %q the cookie is %q", path, cookie)
		}
	}
	x := withAffinity(table.CookieOption{})
	first, cookie := visit(t, a, x, c)
	other := withCookie(withAffinity(table.CookieOption{}), cookie)
	other.Route.Affinity = false
	if i, set := visit(t, a, other, c); i != first || set != "" {
		t.Errorf("another Ingress's path leads to %d, not %d, and sets %q", i, first, set)
	}
	fresh := withAffinity(table.CookieOption{})
	fresh.Route.Affinity = false
	if _, set := visit(t, a, fresh, c); set != "" {
		t.Errorf("another Ingress's path sets %q", set)
	}
}

// TestAffinityScaling: balanced moves only clients of endpoints that are gone, or that a new one takes over; persistent
// none, whatever comes.
func TestAffinityScaling(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(5)
	more := newEndpoints(8)
	more.generation = 9
	less := c.without(2)
	for _, persistent := range []bool{false, true} {
		o := table.CookieOption{Persistent: persistent}
		moved := 0
		for range 400 {
			first, cookie := visit(t, a, withAffinity(o), c)
			i, set := visit(t, a, withCookie(withAffinity(o), cookie), more)
			if set != "" {
				t.Fatal("a cookie is set anew when endpoints come")
			}
			if i != first {
				moved++
			}
			j, set := visit(t, a, withCookie(withAffinity(o), cookie), less)
			switch {
			case first != 2 && (less.all[j] != c.all[first] || set != ""):
				t.Fatalf("persistent %t: a client moved from %s to %s when another endpoint left; cookie %q", persistent, c.all[first], less.all[j], set)
			case first == 2 && persistent == (set == ""):
				t.Fatalf("persistent %t: when a client's endpoint has left, the cookie is %q", persistent, set)
			}
		}
		if persistent && moved > 0 || !persistent && (moved < 75 || moved > 225) { // 3 of 8: 150
			t.Errorf("persistent %t: %d of 400 clients moved when 5 endpoints became 8", persistent, moved)
		}
	}
}

// TestAffinityFailures: without change-on-failure a client sticks to the dead pod; with it, it gets another for good. A
// client without a cookie gets one of an endpoint that works.
func TestAffinityFailures(t *testing.T) {
	for _, persistent := range []bool{false, true} {
		a := newTestAfter(t, nil)
		for _, bad := range []func(*endpoints, int){func(e *endpoints, i int) { e.tried[i] = true }, func(e *endpoints, i int) { e.failing[i] = true }} {
			c := newEndpoints(3)
			stays := table.CookieOption{Persistent: persistent}
			first, cookie := visit(t, a, withAffinity(stays), c)
			bad(c, first)
			if i, set := visit(t, a, withCookie(withAffinity(stays), cookie), c); i != first || set != "" {
				t.Errorf("persistent %t: a client of endpoint %d comes to %d and gets %q", persistent, first, i, set)
			}
			changes := table.CookieOption{Persistent: persistent, ChangeOnFailure: true}
			i, set := visit(t, a, withCookie(withAffinity(changes), cookie), c)
			if i == first || set == "" {
				t.Errorf("persistent %t, change-on-failure: a client of endpoint %d comes to %d and gets %q", persistent, first, i, set)
			}
			if again, other := visit(t, a, withCookie(withAffinity(changes), set), c); again != i || other != "" {
				t.Errorf("persistent %t: the new cookie leads to %d, not %d, and sets %q", persistent, again, i, other)
			}
			for range 50 {
				if i, _ := visit(t, a, withAffinity(stays), c); i == first {
					t.Fatalf("persistent %t: a new client gets an endpoint that fails", persistent)
				}
			}
			for i := range 3 {
				bad(c, i)
			}
			if i, set := visit(t, a, withAffinity(stays), c); i < 0 || i > 2 || set == "" {
				t.Errorf("persistent %t: with all endpoints failing %d is picked, and %q set", persistent, i, set)
			}
		}
	}
}

// TestAffinityRetry: a request that fails at its first endpoint sets one cookie: that of the endpoint which answered.
func TestAffinityRetry(t *testing.T) {
	a, c := newTestAfter(t, nil), newEndpoints(3)
	x := withAffinity(table.CookieOption{Persistent: true})
	first := a.pick(x, c)
	c.tried[first] = true
	second := a.pick(x, c)
	a.response(x)
	all := setCookies(x)
	if len(all) != 1 || second == first {
		t.Fatalf("endpoints %d and %d, cookies %q", first, second, all)
	}
	if i, _ := visit(t, a, withCookie(withAffinity(table.CookieOption{Persistent: true}), all[0]), newEndpoints(3)); i != second {
		t.Errorf("the cookie leads to %d, not %d", i, second)
	}
}

// TestAffinityForeign: what a client makes up does no harm.
func TestAffinityForeign(t *testing.T) {
	a := newTestAfter(t, nil)
	for _, v := range []string{"", "|", "||", "x", "|" + strings.Repeat("0", 32), strings.Repeat("9", 4000), strings.Repeat("a", 32) + "|", "\x80|\xff"} {
		for _, persistent := range []bool{false, true} {
			o := table.CookieOption{Persistent: persistent}
			if i, _ := visit(t, a, withAffinity(o, "Cookie", "INGRESSCOOKIE="+v), newEndpoints(3)); i < 0 || i > 2 {
				t.Errorf("cookie %q leads to endpoint %d", v, i)
			}
		}
	}
}

// TestSessionCookie: each attribute alone, by the rows of session-cookie-*.
func TestSessionCookie(t *testing.T) {
	yes, no := true, false
	over := func(x *exchange.Exchange) { x.TLS = &tls.ConnectionState{} }
	for _, c := range []struct {
		name   string
		o      table.CookieOption
		change func(*exchange.Exchange)
		want   string
	}{
		{"default", table.CookieOption{}, nil, "; Path=/shop; HttpOnly"},
		{"name and path", table.CookieOption{Name: "route", Path: "/app"}, nil, "; Path=/app; HttpOnly"},
		{"domain", table.CookieOption{Domain: "example.com"}, nil, "; Domain=example.com; Path=/shop; HttpOnly"},
		{"max-age", table.CookieOption{MaxAge: 172800}, nil, "; Max-Age=172800; Path=/shop; HttpOnly"},
		{"expires", table.CookieOption{Expires: 60}, nil, "; Expires=Fri, 20 Mar 2026 12:01:00 GMT; Path=/shop; HttpOnly"},
		{"secure", table.CookieOption{Secure: &yes}, nil, "; Path=/shop; Secure; HttpOnly"},
		{"not secure", table.CookieOption{Secure: &no}, nil, "; Path=/shop; HttpOnly"},
		{"not secure, TLS: no effect", table.CookieOption{Secure: &no}, over, "; Path=/shop; Secure; HttpOnly"},
		{"TLS", table.CookieOption{}, over, "; Path=/shop; Secure; HttpOnly"},
		{"TLS before the proxy", table.CookieOption{}, func(x *exchange.Exchange) { x.Scheme = "https" }, "; Path=/shop; Secure; HttpOnly"},
		{"samesite", table.CookieOption{SameSite: "Lax"}, nil, "; Path=/shop; HttpOnly; SameSite=Lax"},
		{"samesite None", table.CookieOption{SameSite: "None"}, nil, "; Path=/shop; HttpOnly; SameSite=None"},
		{"conditional, no agent", table.CookieOption{SameSite: "None", ConditionalNone: true}, nil, "; Path=/shop; HttpOnly; SameSite=None"},
		{"conditional, not None", table.CookieOption{SameSite: "Strict", ConditionalNone: true}, agent("Chrome/60.0"), "; Path=/shop; HttpOnly; SameSite=Strict"},
		{"conditional, old", table.CookieOption{SameSite: "None", ConditionalNone: true}, agent("Mozilla/5.0 Chrome/60.0 Safari/537.36"), "; Path=/shop; HttpOnly"},
		{"conditional, new", table.CookieOption{SameSite: "None", ConditionalNone: true}, agent("Mozilla/5.0 Chrome/80.0 Safari/537.36"), "; Path=/shop; HttpOnly; SameSite=None"},
		{"all", table.CookieOption{Domain: "example.com", Path: "/", MaxAge: 1, Expires: 2, SameSite: "None"}, over,
			"; Expires=Fri, 20 Mar 2026 12:00:02 GMT; Max-Age=1; Domain=example.com; Path=/; Secure; HttpOnly; SameSite=None"},
	} {
		a := newTestAfter(t, nil)
		x := withAffinity(c.o)
		if c.change != nil {
			c.change(x)
		}
		_, cookie := visit(t, a, x, newEndpoints(2))
		pair, rest, _ := strings.Cut(cookie, ";")
		name, _, _ := strings.Cut(pair, "=")
		wantName := c.o.Name
		if wantName == "" {
			wantName = "INGRESSCOOKIE"
		}
		if name != wantName || ";"+rest != c.want {
			t.Errorf("%s: %q, not …%q", c.name, cookie, c.want)
		}
	}
}

func agent(s string) func(*exchange.Exchange) {
	return func(x *exchange.Exchange) { _ = x.Header.AddName("User-Agent", s) }
}

// TestSessionCookieCombinations: every combination of attributes has each that is set, once, and no other.
func TestSessionCookieCombinations(t *testing.T) {
	yes := true
	a := newTestAfter(t, nil)
	attributes := []struct {
		set  func(*table.CookieOption)
		want string
	}{
		{func(o *table.CookieOption) { o.Domain = "d.example" }, "Domain=d.example"},
		{func(o *table.CookieOption) { o.MaxAge = 5 }, "Max-Age=5"},
		{func(o *table.CookieOption) { o.Expires = 5 }, "Expires=Fri, 20 Mar 2026 12:00:05 GMT"},
		{func(o *table.CookieOption) { o.Secure = &yes }, "Secure"},
		{func(o *table.CookieOption) { o.SameSite = "Strict" }, "SameSite=Strict"},
		{func(o *table.CookieOption) { o.Path = "/p" }, "Path=/p"},
	}
	for bits := range 1 << len(attributes) {
		o := table.CookieOption{}
		want := map[string]bool{"HttpOnly": true, "Path=/shop": true}
		for i, at := range attributes {
			if bits>>i&1 == 1 {
				at.set(&o)
				want[at.want] = true
			}
		}
		if want["Path=/p"] {
			delete(want, "Path=/shop")
		}
		_, cookie := visit(t, a, withAffinity(o), newEndpoints(2))
		got := strings.Split(cookie, "; ")[1:]
		if len(got) != len(want) {
			t.Fatalf("%b: %q", bits, cookie)
		}
		for _, g := range got {
			if !want[g] {
				t.Errorf("%b: %q has %q", bits, cookie, g)
			}
		}
	}
}

// TestTakesNone: the browsers of chromium.org's list as ingress-nginx knows them (util/same_site.lua).
func TestTakesNone(t *testing.T) {
	for agent, want := range map[string]bool{
		"": true,
		"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/51.0 Safari/537.36":                        false,
		"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/66.0 Safari/537.36":                        false,
		"Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/70.0 Safari/537.36":                        true,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 12_4 like Mac OS X) AppleWebKit/605.1.15 Version/12.1 Safari/604.1":                 false,
		"Mozilla/5.0 (iPad; CPU OS 12_4 like Mac OS X) AppleWebKit/605.1.15 Version/12.1 Safari/604.1":                          false,
		"Mozilla/5.0 (iPhone; CPU iPhone OS 13_3 like Mac OS X) AppleWebKit/605.1.15 Version/13.0 Safari/604.1":                 true,
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1 Safari/605.1.15": false,
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_14_6) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/74.0 Safari/537.36":      true,
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_2) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/13.0 Safari/605.1.15": true,
		"Mozilla/5.0 (Macintosh; Intel Mac OS X 10.14; rv:71.0) Gecko/20100101 Firefox/71.0":                                    true,
	} {
		if got := takesNone(agent); got != want {
			t.Errorf("%q: %t", agent, got)
		}
	}
}
