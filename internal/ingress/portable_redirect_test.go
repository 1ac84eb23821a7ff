package ingress

import "testing"

// Redirects that Ingresses ask for, and what clients can't choose about them.
func TestPortableRedirects(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a")
	g.rule("www", []string{"h.test Prefix / a"}, "from-to-www-redirect: true")
	g.rule("bare", []string{"www.bare.test Prefix / a"}, "from-to-www-redirect: true")
	g.rule("moved", []string{"moved.test Prefix / a"}, "permanent-redirect: /x")
	g.rule("relative", []string{"relative.test Prefix / a"}, "permanent-redirect: /x", "relative-redirects: true")
	g.rule("code", []string{"code.test Prefix / a"}, "permanent-redirect: https://new.test/y", "permanent-redirect-code: 308")
	g.rule("both", []string{"both.test Prefix / a"}, "permanent-redirect: https://new.test/y", "temporal-redirect: https://now.test/z", "temporal-redirect-code: 307")
	g.rule("root", []string{"root.test Prefix / a"}, "app-root: /foo")
	g.rule("url", []string{"url.test Any /go/(.*) a"}, "rewrite-target: https://else.test/$1")
	g.open()
	// 21
	g.wantLocation("http://www.h.test/foo", 308, "http://h.test:80/foo")
	g.wantLocation("https://www.h.test/foo", 308, "https://h.test:443/foo")
	g.wantLocation("http://bare.test/foo?a=b", 308, "http://www.bare.test:80/foo?a=b")
	g.want("http://h.test/", 200, "a")
	// 22
	g.wantLocation("http://moved.test/whatever?q", 301, "http://moved.test/x")
	g.wantLocation("http://relative.test/whatever", 301, "/x")
	g.wantLocation("http://code.test/whatever?q", 308, "https://new.test/y")
	g.wantLocation("http://both.test/", 307, "https://now.test/z")
	// 23
	g.wantLocation("http://root.test/?q", 302, "http://root.test/foo")
	g.want("http://root.test/x", 200, "a")
	g.wantLocation("http://url.test/go/a/b?c=d", 302, "https://else.test/a/b?c=d")
}

// A balancer's word about where a client wants to go counts where it is trusted.
func TestPortableTrusted(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a").settings("use-forwarded-headers", "true")
	g.rule("force", []string{"force.test Prefix / a"}, "force-ssl-redirect: true")
	g.rule("lists", []string{"lists.test Prefix / a"}, "denylist-source-range: 18.0.0.0/8,56.0.0.1", "allowlist-source-range: 18.4.0.0/16,56.0.0.0/8,77.0.0.0/8")
	g.open()
	// 17
	g.wantLocation("http://force.test/", 308, "https://e.com", "X-Forwarded-Proto: http", "X-Forwarded-Host: e.com:80")
	g.wantLocation("http://force.test/", 308, "https://e.com", "X-Forwarded-Proto: http", "X-Forwarded-Host: e.com, other.com")
	a := g.want("http://force.test/", 200, "a", "X-Forwarded-Proto: https", "X-Forwarded-Port: 1234", "X-Forwarded-Host: e.com")
	for name, want := range map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Scheme": "https", "X-Scheme": "https", "X-Forwarded-Port": "1234", "X-Forwarded-Host": "e.com"} {
		if got := a.seen.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	// 35
	g.want("http://lists.test/", 403, "", "X-Forwarded-For: 18.0.0.1")
	g.want("http://lists.test/", 403, "", "X-Forwarded-For: 18.4.0.1")
	g.want("http://lists.test/", 403, "", "X-Forwarded-For: 56.0.0.1")
	g.want("http://lists.test/", 403, "", "X-Forwarded-For: 99.0.0.1")
	g.want("http://lists.test/", 200, "a", "X-Forwarded-For: 56.0.0.2")
	g.want("http://lists.test/", 200, "a", "X-Forwarded-For: 77.7.7.7")
}

// Without trust all that a client says of itself is replaced, and kept beside it; the PROXY protocol's word counts.
func TestPortableForwarded(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a")
	g.rule("a", []string{"a.test Prefix / a"})
	g.open()
	// 40
	claims := []string{"X-Forwarded-For: 192.0.2.66", "X-Forwarded-Host: evil.test", "X-Forwarded-Proto: https", "X-Forwarded-Scheme: https", "X-Forwarded-Port: 666", "X-Real-Ip: 192.0.2.66", "X-Scheme: https"}
	fields := func(a answer, want map[string]string) {
		t.Helper()
		for name, v := range want {
			if got := a.seen.Header.Get(name); got != v {
				t.Errorf("%s is %q, want %q", name, got, v)
			}
		}
	}
	fields(g.want("http://a.test/", 200, "a", claims...), map[string]string{
		"X-Forwarded-For": "127.0.0.1", "X-Real-Ip": "127.0.0.1", "X-Forwarded-Host": "a.test", "X-Forwarded-Proto": "http", "X-Forwarded-Scheme": "http", "X-Scheme": "http",
		"X-Forwarded-Port": "80", "X-Original-Forwarded-For": "192.0.2.66", "X-Original-Forwarded-Host": "evil.test",
	})
	fields(g.want("https://a.test/", 200, "a"), map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Port": "443"})

	g = newGate(t).web("a").settings("use-proxy-protocol", "true")
	g.rule("a", []string{"a.test Prefix / a"})
	g.open()
	a, err := client{gate: g, head: "PROXY TCP4 192.168.0.1 192.168.0.11 56324 1234\r\n"}.ask("http://a.test/")
	if err != nil || a.status != 200 {
		t.Fatalf("%d %v", a.status, err)
	}
	fields(a, map[string]string{"X-Forwarded-For": "192.168.0.1", "X-Real-Ip": "192.168.0.1", "X-Forwarded-Port": "1234", "X-Forwarded-Proto": "http"})
	if a, err := (client{gate: g}).ask("http://a.test/"); err == nil {
		t.Errorf("without the protocol's header: %d", a.status)
	}
}
