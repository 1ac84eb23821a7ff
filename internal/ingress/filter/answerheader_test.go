package filter

import (
	"strings"
	"testing"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

// answered has a backend's answer with fields go through the filter.
func answered(t *testing.T, loc *table.Location, change func(*exchange.Exchange), fields ...string) *exchange.Exchange {
	t.Helper()
	x := afterExchange(loc)
	for i := 0; i+1 < len(fields); i += 2 {
		if err := x.Response.AddName(fields[i], fields[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if change != nil {
		change(x)
	}
	newTestAfter(t, nil).response(x)
	return x
}

func from(origin string) func(*exchange.Exchange) {
	return func(x *exchange.Exchange) {
		if origin != "" {
			_ = x.Header.AddName("Origin", origin)
		}
	}
}

// TestAnswerCORS: all CORS fields on every status, in place of the backend's, if the origin matches (facts 1; e2e row 32).
func TestAnswerCORS(t *testing.T) {
	def := table.CORS{Origins: []string{"*"}, Methods: "GET", Headers: "DNT,Range", Credentials: true, MaxAge: 1728000}
	listed := def
	listed.Origins = []string{"https://*.foo.example", "http://bar.example:8080", "test://localhost"}
	open := def
	open.Credentials, open.ExposeHeaders, open.MaxAge = false, "X-A, X-B", 5
	const rest = "Access-Control-Allow-Credentials: true\nAccess-Control-Allow-Methods: GET\nAccess-Control-Allow-Headers: DNT,Range\nAccess-Control-Max-Age: 1728000\n"
	for _, c := range []struct {
		name   string
		cors   table.CORS
		origin string
		want   string
	}{
		{"star, no origin", def, "", "Access-Control-Allow-Origin: *\n" + rest},
		{"star", def, "https://x.example", "Access-Control-Allow-Origin: *\n" + rest},
		{"listed", listed, "http://bar.example:8080", "Access-Control-Allow-Origin: http://bar.example:8080\n" + rest + "Vary: Origin\n"},
		{"listed, wildcard, any case", listed, "https://A.Foo.example", "Access-Control-Allow-Origin: https://A.Foo.example\n" + rest + "Vary: Origin\n"},
		{"scheme of any kind", listed, "test://localhost", "Access-Control-Allow-Origin: test://localhost\n" + rest + "Vary: Origin\n"},
		{"other port", listed, "http://bar.example:8081", ""},
		{"extra label", listed, "https://a.b.foo.example", ""},
		{"no label", listed, "https://foo.example", ""},
		{"another dot", listed, "https://a.fooxexample", ""},
		{"no origin", listed, "", ""},
		{"expose", open, "https://x.example", "Access-Control-Allow-Origin: *\nAccess-Control-Allow-Methods: GET\nAccess-Control-Allow-Headers: DNT,Range\nAccess-Control-Expose-Headers: X-A, X-B\nAccess-Control-Max-Age: 5\n"},
	} {
		for _, status := range []int{200, 204, 302, 401, 404, 503} {
			x := answered(t, &table.Location{CORS: &c.cors}, func(x *exchange.Exchange) {
				from(c.origin)(x)
				x.Status, x.FromBackend = status, status < 400
			})
			if got := answerFields(x); got != c.want {
				t.Errorf("%s, %d: %q, not %q", c.name, status, got, c.want)
			}
		}
	}
	x := answered(t, &table.Location{CORS: &listed}, from("test://localhost"), "Access-Control-Allow-Origin", "https://evil.example", "access-control-allow-origin", "*",
		"Access-Control-Expose-Headers", "X-Secret", "Vary", "Accept, origin")
	if got := answerFields(x); strings.Contains(got, "evil") || strings.Contains(got, "Secret") || strings.Contains(got, ": *") || strings.Count(strings.ToLower(got), "vary") != 1 {
		t.Errorf("beside the backend's fields: %q", got)
	}
	x = answered(t, &table.Location{CORS: &listed}, from("https://other.example"), "Access-Control-Allow-Origin", "https://other.example")
	if got := answerFields(x); got != "Access-Control-Allow-Origin: https://other.example\n" {
		t.Errorf("for an origin that does not match, the backend's fields became %q", got)
	}
}

// TestCustomHeaders: e2e row 37: on any status, in place of the backend's, "$" literal.
func TestCustomHeaders(t *testing.T) {
	loc := &table.Location{ResponseHeaders: []table.HeaderField{{Name: "X-Client", Value: "$remote_addr"}, {Name: "Server", Value: "none"}, {Name: "X-Bad", Value: "a\r\nX-Injected: 1"}, {Name: "bad name", Value: "1"}}}
	for _, own := range []bool{false, true} {
		x := answered(t, loc, func(x *exchange.Exchange) { x.FromBackend = !own; x.Status = 404 }, "x-client", "backend", "X-Client", "again", "X-Other", "1")
		if got := answerFields(x); got != "X-Client: $remote_addr\nX-Other: 1\nServer: none\n" {
			t.Errorf("own answer %t: %q", own, got)
		}
	}
}

func capture(digit string) table.Part { return table.Part{Var: table.VarCapture, Name: digit} }

func pattern(t *testing.T, s string, fold bool) *regex.Regexp {
	t.Helper()
	re, err := regex.Compile(s, regex.Options{IgnoreCase: fold})
	if err != nil {
		t.Fatal(err)
	}
	return re
}

// TestProxyRedirect: nginx's proxy_redirect: a prefix is replaced, a pattern's whole value.
func TestProxyRedirect(t *testing.T) {
	const in = "http://web.internal:8080/login?x=1"
	for _, c := range []struct {
		name string
		r    table.Replacement
		in   string
		want string
	}{
		{"prefix", table.Replacement{From: "http://web.internal:8080/", To: "https://a.example/"}, in, "https://a.example/login?x=1"},
		{"prefix by path", table.Replacement{From: "http://web.internal:8080/", To: "/shop/"}, in, "/shop/login?x=1"},
		{"no prefix", table.Replacement{From: "internal", To: "x"}, in, in},
		{"case matters", table.Replacement{From: "HTTP://web.internal:8080/", To: "/"}, in, in},
		{"variables", table.Replacement{From: "http://web.internal:8080", Expand: textOf(table.VarScheme, "://", table.VarHost)}, in, "http://a.example/login?x=1"},
		{"off", table.Replacement{Off: true, From: "http"}, in, in},
		{"default", table.Replacement{Default: true}, in, in},
		{"pattern", table.Replacement{Pattern: pattern(t, `^(https?)://[^/]+:(\d+)/(.*)$`, false), Expand: textOf("/p", capture("2"), "/", capture("3"))}, in, "/p8080/login?x=1"},
		{"pattern in the middle replaces all", table.Replacement{Pattern: pattern(t, `/LOGIN`, true), To: "/in"}, in, "/in"},
		{"pattern without a match", table.Replacement{Pattern: pattern(t, `logout`, false), To: "/in"}, in, in},
		{"a group that took no part", table.Replacement{Pattern: pattern(t, `(a)?login`, false), Expand: textOf("/x", capture("1"), capture("2"))}, in, "/x"},
		{"what can be no field", table.Replacement{From: "http", To: "a\nb"}, in, in},
	} {
		loc := &table.Location{ProxyRedirect: &c.r}
		x := answered(t, loc, func(x *exchange.Exchange) { x.Status = 302 }, "Location", c.in, "Refresh", "5; URL="+c.in)
		if got, want := answerFields(x), "Location: "+c.want+"\nRefresh: 5; URL="+c.want+"\n"; got != want {
			t.Errorf("%s: %q, not %q", c.name, got, want)
		}
		x = answered(t, loc, func(x *exchange.Exchange) { x.FromBackend = false }, "Location", c.in)
		if got := answerFields(x); got != "Location: "+c.in+"\n" {
			t.Errorf("%s: the proxy's own redirect became %q", c.name, got)
		}
	}
	x := answered(t, &table.Location{ProxyRedirect: &table.Replacement{From: "5", To: "6"}}, nil, "Refresh", "5")
	if got := answerFields(x); got != "Refresh: 5\n" {
		t.Errorf("a Refresh without URL became %q", got)
	}
}

// TestProxyCookies: nginx's proxy_cookie_domain and proxy_cookie_path.
func TestProxyCookies(t *testing.T) {
	domain := func(from, to string) *table.Location {
		return &table.Location{CookieDomain: &table.Replacement{From: from, To: to}}
	}
	path := func(from, to string) *table.Location {
		return &table.Location{CookiePath: &table.Replacement{From: from, To: to}}
	}
	both := &table.Location{CookieDomain: &table.Replacement{From: "x.internal", To: "a.example"}, CookiePath: &table.Replacement{From: "/app/", To: "/"}}
	for _, c := range []struct {
		name, in, want string
		loc            *table.Location
	}{
		{"domain", "a=1; Domain=x.internal; Secure", "a=1; Domain=a.example; Secure", domain("x.internal", "a.example")},
		{"domain, any case, dot", "a=1;domain=.X.Internal", "a=1;domain=.a.example", domain(".x.internal", ".a.example")},
		{"domain, only whole", "a=1; Domain=sub.x.internal", "a=1; Domain=sub.x.internal", domain("x.internal", "a.example")},
		{"domain, the value is none", "Domain=x.internal; HttpOnly", "Domain=x.internal; HttpOnly", domain("x.internal", "a.example")},
		{"domain by variable", "a=1; Domain=x.internal", "a=1; Domain=a.example", &table.Location{CookieDomain: &table.Replacement{From: "x.internal", Expand: textOf(table.VarHost)}}},
		{"domain by pattern", "a=1; Domain=x.internal ; B", "a=1; Domain=x.example ; B", &table.Location{CookieDomain: &table.Replacement{Pattern: pattern(t, `^\.?(.*)\.internal$`, false), Expand: textOf(capture("1"), ".example")}}},
		{"off", "a=1; Domain=x.internal", "a=1; Domain=x.internal", &table.Location{CookieDomain: &table.Replacement{Off: true}}},
		{"path", "a=1; Path=/app/x; HttpOnly", "a=1; Path=/x; HttpOnly", path("/app/", "/")},
		{"path, case matters", "a=1; PATH=/App/x", "a=1; PATH=/App/x", path("/app/", "/")},
		{"path, each one", "a=1; Path=/app/x; path = /app/y", "a=1; Path=/x; path = /y", path("/app/", "/")},
		{"both", "a=1; Path=/app/; Domain=x.internal", "a=1; Path=/; Domain=a.example", both},
		{"neither", "a=1", "a=1", both},
		{"empty", "a=1; ; Path=; Domain", "a=1; ; Path=; Domain", both},
	} {
		x := answered(t, c.loc, nil, "Set-Cookie", c.in, "X-A", "1", "Set-Cookie", "b=2; Path=/other")
		got := setCookies(x)
		if len(got) != 2 || got[0] != c.want || got[1] != "b=2; Path=/other" {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
	}
}

// TestSessionCookieStays: the session cookie is the proxy's own: proxy-cookie-path is about the backend's.
func TestSessionCookieStays(t *testing.T) {
	a := newTestAfter(t, nil)
	x := withAffinity(table.CookieOption{})
	x.Route.Location.CookiePath = &table.Replacement{From: "/shop", To: "/other"}
	_ = x.Response.AddName("Set-Cookie", "b=2; Path=/shop")
	a.pick(x, newEndpoints(2))
	a.response(x)
	if got := setCookies(x); len(got) != 2 || got[0] != "b=2; Path=/other" || !strings.Contains(got[1], "; Path=/shop;") {
		t.Errorf("%q", got)
	}
}

func FuzzSetCookie(f *testing.F) {
	f.Add("a=1; Path=/app/; Domain=x.internal")
	f.Add("a=1;;; path = /app/ ;domain=.x.internal;")
	loc := &table.Location{CookieDomain: &table.Replacement{From: "x.internal", To: "a.example"}, CookiePath: &table.Replacement{From: "/app/", To: "/"}}
	f.Fuzz(func(t *testing.T, s string) {
		x := afterExchange(loc)
		if x.Response.AddName("Set-Cookie", s) != nil {
			t.Skip("it is no field")
		}
		newTestAfter(t, nil).response(x)
		got := setCookies(x)
		if len(got) != 1 || strings.Count(got[0], ";") != strings.Count(strings.Trim(s, " \t"), ";") {
			t.Errorf("%q became %q", s, got)
		}
		pair, _, _ := strings.Cut(strings.Trim(s, " \t"), ";")
		if p, _, _ := strings.Cut(got[0], ";"); p != pair {
			t.Errorf("the cookie's value changed: %q became %q", s, got)
		}
	})
}
