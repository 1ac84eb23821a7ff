package ingress

import (
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
)

func TestPortableCORS(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a")
	g.rule("all", []string{"all.test Prefix / a"}, "enable-cors: true")
	g.rule("list", []string{"list.test Prefix / a"}, "enable-cors: true",
		"cors-allow-origin: http://origin.com:8080, https://*.wild.com, http://*.foo.bar, test://localhost", "cors-allow-credentials: false", "cors-max-age: 200", "cors-expose-headers: X-A, X-B")
	g.open()
	// 32
	for origin, allowed := range map[string]bool{
		"http://origin.com:8080": true, "http://origin.com": false, "http://origin.com:8081": false, "https://origin.com:8080": false,
		"https://a.wild.com": true, "https://a.b.wild.com": false, "https://wild.com": false, "https://a.wild.com.evil.com": false, "https://a.wild.com:80": false,
		"http://x.foo.bar": true, "http://x.fooxbar": false, "test://localhost": true, "test://localhost:1": false,
	} {
		for _, status := range []int{200, 404, 500} {
			a := g.want(fmt.Sprintf("http://list.test/?status=%d&set=Access-Control-Allow-Origin:backend", status), status, "a", "Origin: "+origin)
			want := "backend"
			if allowed {
				want = origin
			}
			if got := a.header["Access-Control-Allow-Origin"]; len(got) != 1 || got[0] != want {
				t.Errorf("origin %s, status %d: %q, want %q", origin, status, got, want)
			}
		}
		status, by := 200, "a"
		if allowed {
			status, by = 204, ""
		}
		a := g.want("OPTIONS http://list.test/", status, by, "Origin: "+origin)
		if allowed && (a.header.Get("Access-Control-Max-Age") != "200" || a.header.Get("Access-Control-Allow-Credentials") != "" || a.header.Get("Access-Control-Allow-Methods") == "") {
			t.Errorf("origin %s: %v", origin, a.header)
		}
	}
	a := g.want("http://all.test/", 200, "a")
	if a.header.Get("Access-Control-Allow-Origin") != "*" || a.header.Get("Access-Control-Allow-Credentials") != "true" {
		t.Errorf("without a list: %v", a.header)
	}
}

func TestPortableCanary(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("main", "header", "value", "pattern", "cookie", "half", "none", "all", "thousand", "hundred", "lone")
	for name, annotations := range map[string][]string{
		"header": {"canary-by-header: X-Canary"}, "value": {"canary-by-header: X-Canary", "canary-by-header-value: DoCanary"},
		"pattern": {"canary-by-header: X-Canary", "canary-by-header-pattern: ^[0-9]+$"}, "cookie": {"canary-by-cookie: canary"},
		"half": {"canary-weight: 50"}, "none": {"canary-weight: 0"}, "all": {"canary-weight: 100"}, "thousand": {"canary-weight: 1000", "canary-weight-total: 1000"},
		"hundred": {"canary-weight: 100", "canary-weight-total: 1000"},
	} {
		// A canary hangs on the Service: each has one of its own.
		g.web("main-" + name)
		g.rule(name, []string{name + ".test Prefix / main-" + name})
		g.rule(name+"-canary", []string{name + ".test Prefix / " + name}, append(annotations, "canary: true")...)
	}
	g.rule("lone", []string{"lone.test Prefix / lone"}, "canary: true", "canary-weight: 100")
	g.open()
	// 33
	for _, c := range []struct {
		host   string
		field  string
		canary bool
	}{
		{"header", "X-Canary: always", true}, {"header", "X-Canary: never", false}, {"header", "X-Canary: other", false}, {"header", "X-A: always", false},
		{"value", "X-Canary: DoCanary", true}, {"value", "X-Canary: always", false}, {"value", "X-Canary: docanary", false},
		{"pattern", "X-Canary: 123", true}, {"pattern", "X-Canary: 12a", false}, {"pattern", "X-Canary: always", false},
		{"cookie", "Cookie: canary=always", true}, {"cookie", "Cookie: canary=never", false}, {"cookie", "Cookie: canary=other", false},
		{"none", "X-A: b", false}, {"all", "X-A: b", true}, {"thousand", "X-A: b", true},
	} {
		by := "main-" + c.host
		if c.canary {
			by = c.host
		}
		for range 5 {
			g.want("http://"+c.host+".test/", 200, by, c.field)
		}
	}
	for host, between := range map[string][2]int{"half": {60, 140}, "hundred": {4, 45}} { // of 200, six deviations off
		n := 0
		for range 200 {
			if a := g.ask("http://" + host + ".test/"); a.seen.By == host {
				n++
			}
		}
		if n < between[0] || n > between[1] {
			t.Errorf("%s: of 200 requests the canary had %d", host, n)
		}
	}
	g.want("http://lone.test/", 404, "")
}

// sets is the Set-Cookie of an answer, without the cookie's value.
func sets(a answer) string {
	name, rest, _ := strings.Cut(a.header.Get("Set-Cookie"), "=")
	_, attributes, _ := strings.Cut(rest, ";")
	return name + ";" + attributes
}

func TestPortableAffinity(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("other")
	var pods []netip.AddrPort
	for i := range 6 {
		pods = append(pods, g.pod(fmt.Sprint("p", i)))
	}
	g.service("many", pods...)
	g.service("hashed", pods...)
	g.service("subset", pods...)
	g.rule("sticky", []string{"sticky.test Prefix /one many", "sticky.test Prefix /two many"}, "affinity: cookie", "session-cookie-name: route")
	g.rule("apart", []string{"sticky.test Prefix /three other"})
	g.rule("hashed", []string{"hashed.test Prefix / hashed"}, "upstream-hash-by: $request_uri")
	g.rule("subset", []string{"subset.test Prefix / subset"}, "upstream-hash-by: $request_uri", "upstream-hash-by-subset: true", "upstream-hash-by-subset-size: 3")
	g.open()
	// 34
	for path, want := range map[string]string{"/one/x": "route; Path=/one; HttpOnly", "/two": "route; Path=/two; HttpOnly", "/three": ";"} {
		a := g.ask("http://sticky.test" + path)
		if got := sets(a); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
		cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
		if path == "/three" {
			continue
		}
		for range 10 {
			if again := g.want("http://sticky.test"+path, 200, a.seen.By, "Cookie: "+cookie); again.header.Get("Set-Cookie") != "" {
				t.Errorf("%s: the cookie is set again", path)
			}
		}
	}
	if got := sets(g.ask("https://sticky.test/one")); got != "route; Path=/one; Secure; HttpOnly" {
		t.Errorf("over TLS the cookie is %q", got)
	}
	// 39
	for host, want := range map[string]int{"hashed": 1, "subset": 3} {
		seen := map[string]bool{}
		for range 100 {
			seen[g.ask("http://"+host+".test/same?x=y").seen.By] = true
		}
		if len(seen) != want {
			t.Errorf("%s: %d Pods answered: %v", host, len(seen), seen)
		}
	}
	seen := map[string]bool{}
	for i := range 200 {
		seen[g.ask(fmt.Sprintf("http://hashed.test/%d", i)).seen.By] = true
	}
	if len(seen) != 6 {
		t.Errorf("of 6 Pods %d answered for different URIs", len(seen))
	}
}

func TestPortableLimits(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	release := make(chan struct{})
	g.service("slow", g.podOf(func(http.ResponseWriter, *http.Request) { <-release }))
	g.rule("limited", []string{"limited.test Prefix / slow"}, "limit-connections: 8")
	g.open()
	// 36
	statuses := make(chan int, 20)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			a, _ := client{gate: g}.ask("http://limited.test/")
			statuses <- a.status
		})
	}
	count := map[int]int{}
	for i := range 20 {
		if i == 12 { // as many as are refused have been
			close(release)
		}
		count[<-statuses]++
	}
	wg.Wait()
	if count[200] != 8 || count[503] != 12 {
		t.Errorf("%v, want 8 × 200 and 12 × 503", count)
	}
}

func TestPortableHeaders(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a").settings("global-allowed-response-headers", "X-Mine,Server,X-Gone", "add-headers", Namespace+"/add", "proxy-set-headers", Namespace+"/set", "hide-headers", "X-Secret")
	g.configMap("default", "custom", "X-Mine", "$remote_addr", "X-Gone", "")
	g.configMap("default", "other", "X-Not-Allowed", "x")
	g.configMap(Namespace, "add", "X-All", "yes", "X-Off", "")
	g.configMap(Namespace, "set", "X-Host", "$host", "Accept-Encoding", "", "X-Nothing", "$arg_nothing")
	g.rule("custom", []string{"custom.test Prefix / a"}, "custom-headers: default/custom")
	g.rule("missing", []string{"missing.test Prefix / a"}, "custom-headers: default/none")
	g.rule("other", []string{"other.test Prefix / a"}, "custom-headers: default/other")
	g.rule("plain", []string{"plain.test Prefix / a"})
	g.open()
	// 37
	for _, status := range []int{200, 404, 500} {
		a := g.want(fmt.Sprintf("http://custom.test/?status=%d&set=X-Mine:backend&set=X-Gone:x&set=X-Secret:s&set=X-Off:o", status), status, "a")
		for name, want := range map[string]string{"X-Mine": "$remote_addr", "X-All": "yes"} {
			if got := a.header[name]; len(got) != 1 || got[0] != want {
				t.Errorf("%d: %s is %q", status, name, got)
			}
		}
		for _, name := range []string{"X-Gone", "X-Secret", "X-Off", "Server"} {
			if got, has := a.header[name]; has {
				t.Errorf("%d: %s is %q", status, name, got)
			}
		}
		for name, want := range map[string]string{"X-Host": "custom.test", "Accept-Encoding": "", "X-Nothing": ""} {
			if got, has := a.seen.Header[name]; has != (want != "") || has && got[0] != want {
				t.Errorf("the backend saw %s: %q", name, got)
			}
		}
	}
	g.want("http://missing.test/", 503, "")
	g.want("http://other.test/", 503, "")
	if a := g.ask("http://plain.test/"); a.header.Get("X-All") != "yes" || a.header.Get("X-Mine") != "" {
		t.Errorf("%v", a.header)
	}
}

func TestPortableErrorPages(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a", "errors", "local").secret("users", "auth", "foo:{SHA}Ys23Ag/5IOWqZCw9QGaVDdHwH00=\n")
	g.options.Flags.DefaultBackend = "default/errors"
	g.service("empty")
	g.rule("pages", []string{"pages.test Prefix / a"}, "custom-http-errors: 404,503")
	g.rule("local", []string{"local.test Prefix / a"}, "custom-http-errors: 404", "default-backend: local")
	g.rule("off", []string{"off.test Prefix / a"}, "custom-http-errors: 404,503", "disable-proxy-intercept-errors: true")
	g.rule("empty", []string{"empty.test Prefix / empty"}, "default-backend: local")
	const all = "custom-http-errors: 401,403,413"
	g.rule("basic", []string{"basic.test Prefix / a"}, all, "auth-type: basic", "auth-secret: users")
	g.rule("deny", []string{"deny.test Prefix / a"}, all, "denylist-source-range: 127.0.0.0/8")
	g.rule("small", []string{"small.test Prefix / a"}, all, "proxy-body-size: 10")
	g.open()
	// 38
	a := g.want("POST http://pages.test/x?status=404", 200, "errors", "+: body", "Accept: text/html")
	for name, want := range map[string]string{
		"X-Code": "404", "X-Format": "text/html", "X-Original-Uri": "/x?status=404", "X-Namespace": "default", "X-Ingress-Name": "pages", "X-Service-Name": "a", "X-Service-Port": "80",
	} {
		if got := a.seen.Header.Get(name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if a.seen.Method != "POST" || a.seen.URI != "/" || a.seen.Body != "body" {
		t.Errorf("the page was asked for with %s %s %q", a.seen.Method, a.seen.URI, a.seen.Body)
	}
	g.want("http://pages.test/x?status=500", 500, "a")
	g.want("http://local.test/x?status=404", 200, "local")
	g.want("http://off.test/x?status=404", 404, "a")
	if a := g.want("http://empty.test/x", 200, "local"); a.seen.URI != "/x" || a.seen.Header.Get("X-Code") != "503" {
		t.Errorf("without endpoints: %s, X-Code %q", a.seen.URI, a.seen.Header.Get("X-Code"))
	}
	g.want("http://nobody.test/", 200, "errors")
	// The proxy's own refusals have pages too: with the page's status, unless it says that all is well.
	for what, code := range map[string]string{"http://pages.test/?refused": "", "http://basic.test/": "401", "http://deny.test/": "403", "POST http://small.test/": "413"} {
		status := map[string]int{"": 200, "413": 200, "401": 401, "403": 403}[code]
		by := "errors"
		if code == "" {
			by = "a"
		}
		a := g.want(what, status, by, "+: "+strings.Repeat("x", 100))
		if got := a.seen.Header.Get("X-Code"); got != code || code != "" && a.seen.Body != "" {
			t.Errorf("%s: X-Code %q, body %q", what, got, a.seen.Body)
		}
		if code == "401" && a.header.Get("WWW-Authenticate") == "" {
			t.Error("a page in place of a challenge has no challenge")
		}
	}
}
