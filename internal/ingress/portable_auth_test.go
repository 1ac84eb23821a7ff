package ingress

import (
	"encoding/base64"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func basicAuth(user, password string) string {
	return "Authorization: Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))
}

// Names and passwords.
func TestPortableBasicAuth(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a").secret("users", "auth", "foo:{SHA}Ys23Ag/5IOWqZCw9QGaVDdHwH00=\n").secret("map", "foo", "{SHA}Ys23Ag/5IOWqZCw9QGaVDdHwH00=").secret("bad", "auth", "foo:?\n")
	auth := func(name, secret string, more ...string) {
		g.rule(name, []string{name + ".test Prefix / a"}, append(more, "auth-type: basic", "auth-secret: "+secret, "auth-realm: test auth")...)
	}
	auth("basic", "users")
	auth("cors", "users", "enable-cors: true")
	auth("map", "map", "auth-secret-type: auth-map")
	auth("bad", "bad")
	auth("none", "missing")
	auth("any", "users", "satisfy: any", "allowlist-source-range: 192.0.2.7")
	auth("all", "users", "allowlist-source-range: 192.0.2.7")
	auth("near", "users", "satisfy: any", "allowlist-source-range: 127.0.0.0/8")
	g.open()
	good, wrong := basicAuth("foo", "bar"), basicAuth("foo", "baz")
	// 24
	a := g.want("http://basic.test/", 401, "")
	if got := a.header.Get("WWW-Authenticate"); got != `Basic realm="test auth"` {
		t.Errorf("WWW-Authenticate is %q", got)
	}
	g.want("http://basic.test/", 401, "", wrong)
	if a = g.want("http://basic.test/", 200, "a", good); a.seen.Header.Get("Authorization") != "" {
		t.Error("the backend got the password")
	}
	if a = g.want("http://cors.test/", 401, "", "Origin: http://origin.test"); a.header.Get("Access-Control-Allow-Origin") != "*" {
		t.Errorf("a 401 has no CORS headers: %v", a.header)
	}
	g.want("OPTIONS http://cors.test/", 204, "", "Origin: http://origin.test")
	g.want("http://map.test/", 200, "a", good)
	g.want("http://bad.test/", 401, "", good)
	g.want("http://none.test/", 503, "", good)
	// 30
	g.want("http://any.test/", 200, "a", good)
	g.want("http://any.test/", 401, "")
	g.want("http://all.test/", 403, "", good)
	g.want("http://near.test/", 200, "a")
}

// Authentication by another server.
func TestPortableExternalAuth(t *testing.T) {
	t.Parallel()
	g := newGate(t).web("a")
	var gone atomic.Bool
	server := "http://" + g.podOf(func(w http.ResponseWriter, r *http.Request) {
		if gone.Load() {
			panic(http.ErrAbortHandler)
		}
		w.Header().Set("Foo", "theirs")
		if strings.Contains(r.URL.Path, "cookie") { // an answer that sets one isn't cached
			w.Header().Set("Set-Cookie", "alma=armud")
		}
		w.Header().Set("X-Saw", strings.Join([]string{r.Header.Get("X-Original-Url"), r.Header.Get("X-Original-Method"), r.Header.Get("X-Sent-From"), r.Header.Get("Mine")}, " "))
		switch {
		case strings.Contains(r.URL.Path, "deny"):
			w.WriteHeader(http.StatusForbidden)
		case strings.Contains(r.URL.Path, "fault"):
			w.WriteHeader(http.StatusTeapot)
		case r.Header.Get("Authorization") == "" && strings.Contains(r.URL.Path, "login"):
			w.WriteHeader(http.StatusUnauthorized)
		}
	}).String()
	auth := func(name, url string, more ...string) {
		g.rule(name, []string{name + ".test Prefix / a", name + ".test Exact /bar a"}, append(more, "auth-url: "+url)...)
	}
	auth("login", server+"/login", "auth-signin: http://$host/auth/start")
	auth("rd", server+"/login", "auth-signin: http://login.test/start?rd=$scheme://$host$request_uri")
	auth("fields", server+"/ok", "auth-response-headers: Foo, X-Saw")
	auth("deny", server+"/deny")
	auth("fault", server+"/fault")
	auth("broken", "https://a..b")
	auth("cookie", server+"/cookie")
	auth("always", server+"/cookie", "auth-always-set-cookie: true")
	auth("cached", server+"/ok", "auth-cache-key: fixed", "auth-cache-duration: 200 202 401 30m")
	auth("cached2", server+"/ok", "auth-cache-key: fixed", "auth-cache-duration: 200 202 401 30m")
	auth("durations", server+"/ok", "auth-cache-key: fixed", "auth-cache-duration: soon")
	g.open()
	// 25
	g.wantLocation("http://login.test/?a=b&c=d", 302, "http://login.test/auth/start?rd=http://login.test%2F%3Fa%3Db%26c%3Dd")
	g.wantLocation("http://rd.test/x", 302, "http://login.test/start?rd=http://rd.test/x")
	g.want("http://login.test/", 200, "a", basicAuth("x", "y"))
	// 26
	a := g.want("POST http://fields.test/x?y", 200, "a", "Foo: mine", "Mine: m")
	if got := a.seen.Header["Foo"]; len(got) != 1 || got[0] != "theirs" {
		t.Errorf("the backend saw Foo: %q", got)
	}
	if got := a.seen.Header.Get("X-Saw"); got != "http://fields.test/x?y POST nginx-ingress-controller m" {
		t.Errorf("the server of auth-url saw %q", got)
	}
	g.want("http://deny.test/", 403, "")
	g.want("http://fault.test/", 500, "")
	// 28, and what is as good as no authentication
	g.want("http://broken.test/", 503, "")
	g.want("http://durations.test/", 503, "")
	// 29
	cookie := func(what, want string) {
		t.Helper()
		if got := g.ask(what).header.Get("Set-Cookie"); got != want {
			t.Errorf("%s: Set-Cookie is %q, want %q", what, got, want)
		}
	}
	cookie("http://cookie.test/", "alma=armud")
	cookie("http://cookie.test/?status=503", "")
	cookie("http://always.test/?status=503", "alma=armud")
	// 27
	g.want("http://cached.test/", 200, "a")
	gone.Store(true)
	g.want("http://cached.test/", 200, "a")
	g.want("http://cached.test/other", 200, "a") // of the same rule
	g.want("http://cached.test/bar", 500, "")
	g.want("http://cached2.test/", 500, "")
}
