package ingress

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Annotations that no spec of the portable ones is about, in requests to a node's ingress.
func TestAnnotationsOfHostsAndBackends(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a")
	g.service("tls", g.podWith(echoes("tls"), (*httptest.Server).StartTLS))
	g.must(g.client.CoreV1().Services("default").Create(t.Context(), &corev1.Service{ObjectMeta: metaOf("cluster"), Spec: corev1.ServiceSpec{
		ClusterIP: g.pod("cluster").Addr().String(), Ports: []corev1.ServicePort{{Port: backendPort, Name: "web"}},
	}}, metav1.CreateOptions{}))
	rule := func(name, path, service string, annotations ...string) {
		g.rule(name, []string{name + ".test Any " + path + " " + service}, annotations...)
	}
	rule("alias", "/", "a", `server-alias: one.test, *.many.test, ~^re[0-9]+\.test$, plain.test`)
	rule("plain", "/", "tls", "backend-protocol: https")
	rule("vhost", "/", "a", "upstream-vhost: in.$http_x_zone.test")
	rule("prefix", "/app(/|$)(.*)", "a", "rewrite-target: /$2", "x-forwarded-prefix: /app")
	rule("noprefix", "/", "a")
	rule("keep", "/", "a", "connection-proxy-header: keep-alive")
	rule("old", "/", "a", "proxy-http-version: 1.0")
	rule("auto", "/", "tls", "backend-protocol: AUTO_HTTP")
	rule("port", "/", "a", "force-ssl-redirect: true", "use-port-in-redirects: true")
	up := g.ruleOf("clusterip", []string{"clusterip.test Any / cluster"}, "service-upstream: true")
	up.Spec.Rules[0].HTTP.Paths[0].Backend.Service.Port.Number = backendPort
	g.ingress(up)
	g.open()

	for host, by := range map[string]string{"alias.test": "a", "one.test": "a", "x.many.test": "a", "re7.test": "a", "rex.test": "", "plain.test": "tls", "clusterip.test": "cluster"} {
		status := 200
		if by == "" {
			status = 404
		}
		g.want("http://"+host+"/", status, by)
	}
	if a := g.ask("http://vhost.test/", "X-Zone: z"); a.seen.Host != "in.z.test" || a.seen.Header.Get("X-Forwarded-Host") != "vhost.test" {
		t.Errorf("upstream-vhost: Host %q, X-Forwarded-Host %q", a.seen.Host, a.seen.Header.Get("X-Forwarded-Host"))
	}
	if a := g.ask("http://prefix.test/app/x", "X-Forwarded-Prefix: /mine"); a.seen.Header.Get("X-Forwarded-Prefix") != "/app" || a.seen.URI != "/x" {
		t.Errorf("x-forwarded-prefix: %q of %s", a.seen.Header["X-Forwarded-Prefix"], a.seen.URI)
	}
	if a := g.ask("http://noprefix.test/", "X-Forwarded-Prefix: /mine"); a.seen.Header.Get("X-Forwarded-Prefix") != "/mine" {
		t.Errorf("without the annotation: %q", a.seen.Header["X-Forwarded-Prefix"])
	}
	if a := g.ask("http://keep.test/"); a.seen.Header.Get("Connection") != "keep-alive" {
		t.Errorf("connection-proxy-header: %q", a.seen.Header["Connection"])
	}
	if a := g.ask("http://old.test/"); a.seen.Proto != "HTTP/1.0" || a.seen.Host != "old.test" {
		t.Errorf("proxy-http-version: %s with Host %q", a.seen.Proto, a.seen.Host)
	}
	g.want("https://auto.test/", 200, "tls")
	if a := g.ask("http://auto.test/"); a.status != 400 || a.seen.By != "" { // Go's answer to HTTP at a port of HTTPS
		t.Errorf("AUTO_HTTP over HTTP: %d by %q", a.status, a.seen.By)
	}
	g.wantLocation("http://port.test/x", 308, "https://port.test:443/x")
}

func TestAnnotationsOfLimitsAndRetries(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a")
	fails := g.podOf(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Long", strings.Repeat("x", 2<<10))
		w.WriteHeader(http.StatusInternalServerError)
	})
	good := g.pod("good")
	g.service("half", fails, good)
	g.service("fails", fails)
	hold := make(chan struct{})
	g.service("slow", g.podOf(func(http.ResponseWriter, *http.Request) { <-hold }))
	defer close(hold)
	rule := func(name, service string, annotations ...string) {
		g.rule(name, []string{name + ".test Prefix / " + service}, annotations...)
	}
	rule("rps", "a", "limit-rps: 1", "limit-burst-multiplier: 3")
	rule("rpm", "a", "limit-rpm: 1", "limit-burst-multiplier: 2")
	rule("exempt", "a", "limit-rpm: 1", "limit-burst-multiplier: 1", "limit-whitelist: 127.0.0.0/8")
	rule("next", "half", "proxy-next-upstream: error http_500")
	g.service("other", fails, good)
	rule("stay", "other")
	rule("buffer", "fails", "proxy-buffer-size: 1k", "proxy-next-upstream: off")
	rule("wait", "slow", "proxy-read-timeout: 1", "proxy-next-upstream: off")
	rule("size", "a", "proxy-body-size: 10")
	rule("any", "a", "proxy-body-size: 0")
	g.open()
	for host, atOnce := range map[string][2]int{"rps": {4, 6}, "rpm": {3, 4}, "exempt": {20, 20}} { // with what time adds
		served := 0
		for range 20 {
			a := g.ask("http://" + host + ".test/")
			if a.status == 200 {
				served++
			} else if a.status != 503 {
				t.Errorf("%s: %d", host, a.status)
			}
		}
		if served < atOnce[0] || host != "rps" && served > atOnce[1] {
			t.Errorf("%s: of 20 requests %d were served, want %d to %d", host, served, atOnce[0], atOnce[1])
		}
	}
	statuses := map[int]int{}
	for range 10 {
		g.want("http://next.test/", 200, "good")
		statuses[g.ask("http://stay.test/").status]++
	}
	if statuses[200] == 0 || statuses[500] == 0 {
		t.Errorf("without http_500 in proxy-next-upstream: %v", statuses)
	}
	if a := g.ask("http://buffer.test/"); a.status != 502 {
		t.Errorf("a header above proxy-buffer-size: %d", a.status)
	}
	begin := time.Now()
	if a := g.ask("http://wait.test/"); a.status != 504 || time.Since(begin) > 10*time.Second {
		t.Errorf("proxy-read-timeout: %d after %v", a.status, time.Since(begin))
	}
	long := "+: " + strings.Repeat("x", 2<<20)
	if a := g.ask("POST http://size.test/", "+: "+strings.Repeat("x", 11)); a.status != 413 {
		t.Errorf("above proxy-body-size: %d", a.status)
	}
	if a := g.ask("POST http://any.test/", long); a.status != 200 || len(a.seen.Body) != 2<<20 {
		t.Errorf("proxy-body-size 0: %d, %d bytes", a.status, len(a.seen.Body))
	}
}

func TestAnnotationsOfAuthentication(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a")
	server := "http://" + g.podOf(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Saw", fmt.Sprintf("%s %s %s %s %s", r.Method, r.URL.Path, r.Header.Get("X-Auth-Request-Redirect"), r.Header.Get("X-Extra"), r.Header.Get("X-Forwarded-Proto")))
		if strings.HasPrefix(r.URL.Path, "/deny") {
			w.WriteHeader(http.StatusUnauthorized)
		}
	}).String()
	g.settings("global-auth-url", server+"/deny-all")
	g.configMap("default", "extra", "X-Extra", "to $host")
	rule := func(name string, annotations ...string) {
		g.rule(name, []string{name + ".test Prefix / a"}, annotations...)
	}
	rule("global")
	rule("out", "enable-global-auth: false")
	rule("own", "auth-url: "+server+"/ok", "auth-method: POST", "auth-request-redirect: https://$host/back", "auth-proxy-set-headers: default/extra", "auth-response-headers: X-Saw")
	rule("acme")
	g.rule("challenge", []string{"acme.test Prefix /.well-known/acme-challenge a"})
	g.open()
	g.want("http://global.test/", 401, "")
	g.want("http://out.test/", 200, "a")
	g.want("http://acme.test/", 401, "")
	g.want("http://acme.test/.well-known/acme-challenge/x", 200, "a")
	if got := g.want("http://own.test/", 200, "a").seen.Header.Get("X-Saw"); got != "POST /ok https://own.test/back to own.test" {
		t.Errorf("the server of auth-url saw %q", got)
	}
}

func TestAnnotationsOfCookies(t *testing.T) {
	t.Parallel()
	g := newGate(t)
	one, two := g.pod("one"), g.pod("two")
	for _, s := range []string{"full", "regex", "change", "stays", "persistent", "ewma"} {
		g.service(s, one, two)
	}
	rule := func(name, path string, annotations ...string) {
		g.rule(name, []string{name + ".test Any " + path + " " + name}, annotations...)
	}
	rule("full", "/", "affinity: cookie", "session-cookie-name: c", "session-cookie-path: /p", "session-cookie-domain: full.test", "session-cookie-samesite: None",
		"session-cookie-secure: true", "session-cookie-max-age: 10", "session-cookie-expires: 10", "session-cookie-conditional-samesite-none: true")
	rule("regex", "/r[a-z]+", "use-regex: true", "affinity: cookie", "session-cookie-path: /r")
	rule("change", "/", "affinity: cookie", "session-cookie-change-on-failure: true")
	rule("stays", "/", "affinity: cookie")
	rule("persistent", "/", "affinity: cookie", "affinity-mode: persistent")
	rule("ewma", "/", "load-balance: ewma")
	g.open()
	got := sets(g.ask("http://full.test/"))
	for _, want := range []string{"c;", " Path=/p;", " Domain=full.test", " Max-Age=10", " Expires=", " SameSite=None", " Secure", " HttpOnly"} {
		if !strings.Contains(got+";", want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	const old = "User-Agent: Mozilla/5.0 (iPhone; CPU iPhone OS 12_4 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/12.1.2 Mobile/15E148 Safari/604.1"
	if got := sets(g.ask("http://full.test/", old)); strings.Contains(got, "SameSite") {
		t.Errorf("to a browser that takes it wrongly: %q", got)
	}
	if got := sets(g.ask("http://regex.test/rxy")); got != "INGRESSCOOKIE; Path=/r; HttpOnly" {
		t.Errorf("with a pattern: %q", got)
	}
	seen := map[string]int{}
	for range 40 {
		seen[g.ask("http://ewma.test/").seen.By]++
	}
	if seen["one"] == 0 || seen["two"] == 0 {
		t.Errorf("ewma: %v", seen)
	}
	// A client's Pod goes: the client has another one, with persistent and without, and a new cookie.
	for _, host := range []string{"persistent", "change", "stays"} {
		a := g.ask("http://" + host + ".test/")
		cookie, _, _ := strings.Cut(a.header.Get("Set-Cookie"), ";")
		rest, other := one, "one"
		if a.seen.By == "one" {
			rest, other = two, "two"
		}
		for range 5 {
			g.want("http://"+host+".test/", 200, a.seen.By, "Cookie: "+cookie)
		}
		g.scale(host, rest)
		until(t, "the other Pod serves", func() error { return answeredBy(g.ask("http://"+host+".test/", "Cookie: "+cookie), 200, other) })
	}
}
