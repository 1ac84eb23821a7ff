package filter

import (
	"net/url"
	"strings"
	"testing"

	"minato/internal/ingress/table"
)

// from-to-www-redirect, portable assertion 21: 308, the port always, one trailing slash cut.
func TestWWW(t *testing.T) {
	b := newBed(t).on("h.test /", "from-to-www-redirect", "true", "app-root", "/app").on("www.other.test /", "from-to-www-redirect", "true")
	b.ask("GET", "http://www.h.test/foo").want(t, 308, "http://h.test:80/foo")
	b.ask("GET", "https://www.h.test/foo").want(t, 308, "https://h.test:443/foo")
	b.ask("GET", "http://www.h.test/").want(t, 308, "http://h.test:80")
	b.ask("GET", "http://www.h.test/a/?q=%0d%0aX:1/").want(t, 308, "http://h.test:80/a/?q=%0d%0aX:1")
	b.ask("GET", "http://other.test/x").want(t, 308, "http://www.other.test:80/x")
	b.ask("OPTIONS", "http://www.h.test/*").want(t, 308, "http://h.test:80")
	x := b.exchange("GET", "http://www.h.test/foo")
	x.Scheme = "https" // a balancer before the proxy spoke TLS and says nothing about the port
	b.run(x).want(t, 308, "https://h.test:443/foo")
	newBed(t).set("http-redirect-code", "301").on("h.test /", "from-to-www-redirect", "true").ask("GET", "http://www.h.test/").want(t, 301, "http://h.test:80")
	// Off if both names have an Ingress.
	newBed(t).on("h.test /", "from-to-www-redirect", "true").on("www.h.test /").ask("GET", "http://www.h.test/").want(t, 0, "")
}

// app-root, portable assertion 23: "/" exactly, the query is lost, before the redirect to HTTPS.
func TestAppRoot(t *testing.T) {
	b := newBed(t).on("h.test /", "app-root", "/foo", "tls", "h.test", "ssl-redirect", "true")
	b.ask("GET", "http://h.test/").want(t, 302, "http://h.test/foo")
	b.ask("GET", "http://h.test//?a=b").want(t, 302, "http://h.test/foo")
	b.ask("GET", "https://h.test:8443/").want(t, 302, "https://h.test:8443/foo")
	b.ask("GET", "https://h.test/x").want(t, 0, "")
	b.ask("GET", "http://h.test/x").want(t, 308, "https://h.test/x")
}

// permanent-redirect, temporal-redirect, their codes, relative-redirects, portable assertion 22.
func TestRedirect(t *testing.T) {
	for _, c := range []struct {
		name, url string
		pairs     []string
		status    int
		to        string
	}{
		{"target verbatim", "http://h.test/a?b=c", []string{"permanent-redirect", "https://else.test/x"}, 301, "https://else.test/x"},
		{"code", "http://h.test/", []string{"permanent-redirect", "https://else.test", "permanent-redirect-code", "308"}, 308, "https://else.test"},
		{"code out of range", "http://h.test/", []string{"permanent-redirect", "https://else.test", "permanent-redirect-code", "309"}, 301, "https://else.test"},
		{"temporal", "http://h.test/", []string{"temporal-redirect", "https://t.test"}, 302, "https://t.test"},
		{"temporal code", "http://h.test/", []string{"temporal-redirect", "https://t.test", "temporal-redirect-code", "307"}, 307, "https://t.test"},
		{"temporal beats permanent", "http://h.test/", []string{"temporal-redirect", "https://t.test", "permanent-redirect", "https://p.test"}, 302, "https://t.test"},
		{"absolute", "http://h.test:8080/a", []string{"permanent-redirect", "/x"}, 301, "http://h.test/x"},
		{"relative", "http://h.test/a", []string{"permanent-redirect", "/x", "relative-redirects", "true"}, 301, "/x"},
		{"two slashes stay here", "http://h.test/a", []string{"permanent-redirect", "//evil.test", "relative-redirects", "true"}, 301, "/evil.test"},
		{"unmatched path", "http://h.test/nothing/of/it", []string{"permanent-redirect", "https://else.test"}, 301, "https://else.test"},
		{"before HTTPS", "http://h.test/", []string{"permanent-redirect", "https://else.test", "force-ssl-redirect", "true"}, 301, "https://else.test"},
	} {
		t.Run(c.name, func(t *testing.T) {
			newBed(t).on("h.test /a", c.pairs...).ask("GET", c.url).want(t, c.status, c.to)
		})
	}
}

// ssl-redirect and its kin, portable assertions 14 to 17.
func TestHTTPS(t *testing.T) {
	secure := []string{"ssl-redirect", "true", "tls", "h.test"}
	for _, c := range []struct {
		name, url string
		key       [2]string
		pairs     []string
		status    int
		to        string
	}{
		{"tls with a missing Secret", "http://h.test/", [2]string{}, secure, 308, "https://h.test"},
		{"path and query", "http://h.test/a/b?c=d", [2]string{}, secure, 308, "https://h.test/a/b?c=d"},
		{"the query's slash", "http://h.test/a?c=/", [2]string{}, secure, 308, "https://h.test/a?c="},
		{"preserve-trailing-slash", "http://h.test/", [2]string{}, append([]string{"preserve-trailing-slash", "true"}, secure...), 308, "https://h.test/"},
		{"no port", "http://h.test:8080/a", [2]string{}, secure, 308, "https://h.test/a"},
		{"use-port-in-redirects", "http://h.test:8080/a", [2]string{}, append([]string{"use-port-in-redirects", "true"}, secure...), 308, "https://h.test:443/a"},
		{"https", "https://h.test/", [2]string{}, secure, 0, ""},
		{"without tls", "http://h.test/", [2]string{}, []string{"ssl-redirect", "true"}, 0, ""},
		{"force without tls", "http://h.test/", [2]string{}, []string{"force-ssl-redirect", "true"}, 308, "https://h.test"},
		{"http-redirect-code", "http://h.test/", [2]string{"http-redirect-code", "302"}, secure, 302, "https://h.test"},
		{"escapes stay", "http://h.test/a%0d%0ab", [2]string{}, secure, 308, "https://h.test/a%0d%0ab"},
		{"off", "http://h.test/", [2]string{}, []string{"ssl-redirect", "false", "tls", "h.test"}, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBed(t).on("h.test /", c.pairs...)
			if c.key[0] != "" {
				b.set(c.key[0], c.key[1])
			}
			b.ask("GET", c.url).want(t, c.status, c.to)
		})
	}
	// Class nginx redirects by default, class minato does not.
	for class, want := range map[table.Class]int{table.ClassMinato: 0, table.ClassNginx: 308} {
		b := newBed(t).on("h.test /", "tls", "h.test")
		b.class = class
		if got := b.ask("GET", "http://h.test/"); got.status != want {
			t.Errorf("class %d: %d, want %d", class, got.status, want)
		}
	}
	// The certificate's challenge is answered without TLS: the rule's path counts, not the client's.
	b := newBed(t).on("h.test /", secure...).on("h.test /.well-known/acme-challenge/token", secure...)
	b.ask("GET", "http://h.test/.well-known/acme-challenge/token").want(t, 0, "")
	b.ask("GET", "http://h.test/.well-known/acme-challenge/other").want(t, 308, "https://h.test/.well-known/acme-challenge/other")
	// Portable assertion 17: a trusted X-Forwarded-Host.
	x := newBed(t).on("- /", "force-ssl-redirect", "true").exchange("GET", "http://h.test/")
	x.BestHost = "e.com:80"
	b = newBed(t).on("- /", "force-ssl-redirect", "true").build()
	b.run(x).want(t, 308, "https://e.com")
}

// rewrite-target and x-forwarded-prefix, §3 "Paths, measured", portable assertions 7 and 8.
func TestRewrite(t *testing.T) {
	for _, c := range []struct {
		rule, target, path, want string
	}{
		{"h.test /app(/|$)(.*)", "/$2", "/app", "/"},
		{"h.test /app(/|$)(.*)", "/$2", "/app/x", "/x"},
		{"h.test /app(/|$)(.*)", "/$2", "/app/a%2Fb", "/a/b"},
		{"h.test /q/(.*)", "/q/$1", "/q/%2Fx", "/q/x"},
		{"h.test /app(/|$)(.*)", "/$2", "/app/foo%24bar%20q", "/foo$bar%20q"},
		{"h.test /app(/|$)(.*)", "/$2", "//app//k", "/k"},
		{"h.test /app(/|$)(.*)", "/$2", "/APP/x", "/x"},
		{"h.test /foo/bar/(.+)", "/new/$1", "/foo/bar/a/b", "/new/a/b"},
		{"h.test /app", "/new", "/app/lost/below", "/new"},
		{"h.test /app", "/app", "/app/x", ""},
		{"h.test /app(/|$)(.*)", "/$2", "/app/x?a=b&c=%20", "/x?a=b&c=%20"},
		{"h.test /app(/|$)(.*)", "/$2", "/app/x?", "/x"},
		{"h.test /app(/|$)(.*)", "/$2", "/app/%3Fa=b", "/%3Fa=b"},
		{"h.test /app(/|$)(.*)", "/$2", "/app/%23%25%5C%22", "/%23%25%5C%22"},
		{"h.test /app(/|$)([^z]*)", "/$2", "/app/%0d%0aX-Evil:%201", "/%0D%0AX-Evil:%201"},
		{"h.test /app(/|$)(.*)", "/$2", "/app/%E6%B8%AF", "/%E6%B8%AF"},
		{"h.test /app/(.*)", "/new?path=$1", "/app/a%26b%3Dc?x=y", "/new?path=a%26b=c&x=y"},
		{"h.test /app/(.*)", "/$1", "/app/a%0d%0ab", "/a%0D"}, // a dot is no line feed, as with PCRE
		{"h.test /app/([^z]*)", "/new?path=$1", "/app/%0d%0a", "/new?path=%0D%0A"},
		{"h.test /app/(.*)", "/$1?", "/app/x?a=b", "/x"},
		{"h.test /app/(.*)", "/new?a=1?", "/app/x?a=b", "/new?a=1"},
		{"h.test /app/(.*)", "$1", "/app/x", "/x"},
		{"h.test /app/(.*)", "/m/$request_method/$1", "/app/x", "/m/GET/x"},
	} {
		b := newBed(t).on(c.rule, "rewrite-target", c.target)
		if got := b.ask("GET", "http://h.test"+c.path); got.status != 0 || got.x.RewrittenTarget != c.want {
			t.Errorf("%s to %s: %s is %d %q, want %q", c.rule, c.target, c.path, got.status, got.x.RewrittenTarget, c.want)
		} else if strings.ContainsAny(got.x.RewrittenTarget, " \r\n") {
			t.Errorf("%q is no target", got.x.RewrittenTarget)
		}
	}
	b := newBed(t).on("h.test /app(/|$)(.*)", "rewrite-target", "/$2")
	b.ask("GET", "http://h.test/appx").want(t, 0, "") // the host's catch-all
	got := b.ask("GET", "http://h.test/app/a%20b?c=d")
	if got.x.Path != "/a b" || got.x.Query != "c=d" || got.x.Target != "/app/a%20b?c=d" {
		t.Errorf("path %q, query %q, target %q", got.x.Path, got.x.Query, got.x.Target)
	}
	// Another Ingress's path isn't rewritten (portable assertion 8).
	b = newBed(t).on("h.test /", "rewrite-target", "/new").on("h.test /.well-known/acme/challenge")
	if got := b.ask("GET", "http://h.test/.well-known/acme/challenge"); got.status != 0 || got.x.RewrittenTarget != "" {
		t.Errorf("%d %q", got.status, got.x.RewrittenTarget)
	}
}

// A capture can't lead out of what the target is below.
func TestRewriteDots(t *testing.T) {
	b := newBed(t).on("h.test /app(.*)", "rewrite-target", "/public/$1")
	for _, path := range []string{"/app../secret", "/app%2e%2e/secret", "/app..%2Fsecret", "/app..", `/app..%5Csecret`} {
		b.ask("GET", "http://h.test"+path).want(t, 400, "")
	}
	if got := b.ask("GET", "http://h.test/app..x/..y"); got.status != 0 {
		t.Errorf("names that begin with dots: %d", got.status)
	}
}

// A URL as rewrite-target answers 302 with it.
func TestRewriteURL(t *testing.T) {
	for _, c := range []struct{ rule, target, path, want string }{
		{"h.test /a", "https://e.test/$1", "/a/x", "https://e.test/"},
		{"h.test /a/(.*)", "https://e.test/$1", "/a/x?y=z", "https://e.test/x?y=z"},
		{"h.test /a/(.*)", "https://e.test/?p=$1", "/a/x%26y?z=1", "https://e.test/?p=x%26y&z=1"},
		{"h.test /a/(.*)", "https://e.test/$1?", "/a/x?y=z", "https://e.test/x"},
		{"h.test /a/([^z]*)", "https://e.test/$1", "/a/%0d%0aSet-Cookie:x%3Fq%23f", "https://e.test/%0D%0ASet-Cookie:x%3Fq%23f"},
		{"h.test /a/(.*)", "https://e.test$uri", "/a/%0d%0ax", "https://e.test/a/%0D%0Ax"},
		{"h.test /a/(.*)", "$scheme://e.test/$1", "/a/x", "http://e.test/x"},
	} {
		b := newBed(t).on(c.rule, "rewrite-target", c.target, "force-ssl-redirect", "true")
		b.ask("GET", "http://h.test"+c.path).want(t, 302, c.want)
	}
}

// x-forwarded-prefix is set only with a rewrite.
func TestForwardedPrefix(t *testing.T) {
	on := func(pairs ...string) *bed { return newBed(t).on("h.test /(app)/([^z]*)", pairs...) }
	for _, c := range []struct {
		b    *bed
		path string
		want string
	}{
		{on("rewrite-target", "/$2", "x-forwarded-prefix", "/$1"), "/app/x", "/app"},
		{on("rewrite-target", "/$2", "x-forwarded-prefix", "/$2"), "/app/%0d%0ax", "/%0D%0Ax"},
		{on("use-regex", "true", "x-forwarded-prefix", "/$1"), "/app/x", "/mine"},
		{on("rewrite-target", "/$2"), "/app/x", "/mine"},
	} {
		if got := c.b.ask("GET", "http://h.test"+c.path, "X-Forwarded-Prefix: /mine").backend("X-Forwarded-Prefix"); got != c.want {
			t.Errorf("%s: %q, want %q", c.path, got, c.want)
		}
	}
}

// Whatever the path, the backend gets a target that means the rewritten path and nothing else.
func FuzzRewrite(f *testing.F) {
	for _, s := range []string{"/a", "/%0d%0a", "/..%2f", "/%3f#", "/a%00b", "/\xff", "/%25%32%65"} {
		f.Add(s, "a=b")
	}
	b := newBed(f).on("h.test /app((?s).*)", "rewrite-target", "/new$1?x=$1").build()
	h := b.filters.Hooks()
	template := b.exchange("GET", "http://h.test/app")
	f.Fuzz(func(t *testing.T, path, query string) {
		if strings.ContainsAny(query, " #\x7f") || strings.IndexFunc(query, func(c rune) bool { return c < 0x20 || c > 0x7f }) >= 0 {
			return
		}
		x := *template
		x.Path = "/app" + path
		x.Query, x.HasQuery = query, query != ""
		x.Subject = x.Path
		x.Match.Captures = nil
		b.table.Match(x.Host, x.Path, &x.Match)
		if x.Match.Err != nil {
			return
		}
		if a := h.Redirect(t.Context(), &x); a != nil {
			if a.Status != 400 {
				t.Fatalf("%q: %d", path, a.Status)
			}
			return
		}
		target, args, _ := strings.Cut(x.RewrittenTarget, "?")
		if got, err := url.PathUnescape(target); err != nil || got != "/new"+path || got != x.Path {
			t.Errorf("%q: the target %q is the path %q (%v), and Path is %q", path, target, got, err, x.Path)
		}
		if strings.IndexFunc(x.RewrittenTarget, func(c rune) bool { return c <= 0x20 || c >= 0x7f || c == '#' }) >= 0 {
			t.Errorf("%q is no target", x.RewrittenTarget)
		}
		value, rest, _ := strings.Cut(args, "&")
		if got, err := url.QueryUnescape(value); err != nil || got != "x="+path || rest != query {
			t.Errorf("%q, %q: the query is %q", path, query, args)
		}
	})
}
