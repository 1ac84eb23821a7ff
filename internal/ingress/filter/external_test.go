package filter

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"minato/internal/ingress/h1"
	"minato/internal/ingress/table"
)

// guard is a server of external authentication.
type guard struct {
	*httptest.Server
	mu      sync.Mutex
	asked   int
	last    *http.Request
	body    string
	conns   map[string]int
	respond func(w http.ResponseWriter, r *http.Request)
}

func newGuard(t testing.TB, respond func(w http.ResponseWriter, r *http.Request)) *guard {
	t.Helper()
	g := &guard{respond: respond, conns: map[string]int{}}
	g.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		g.mu.Lock()
		g.asked++
		g.last, g.body = r, string(body)
		g.conns[r.RemoteAddr]++
		g.mu.Unlock()
		g.respond(w, r)
	}))
	g.Config.ErrorLog = log.New(io.Discard, "", 0)
	g.Start()
	t.Cleanup(g.Close)
	return g
}

func (g *guard) count() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.asked
}

func status(n int) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(n) }
}

// auth-url: 2xx passes, 401 and 403 are the answer without the server's body, all else is 500.
func TestExternalStatus(t *testing.T) {
	g := newGuard(t, nil)
	b := newBed(t).on("h.test /", "auth-url", g.URL+"/check").build()
	for _, c := range []struct{ theirs, want int }{
		{200, 0}, {202, 0}, {204, 0}, {299, 0}, {301, 500}, {302, 500}, {304, 500}, {400, 500}, {401, 401}, {403, 403}, {404, 500}, {429, 500}, {500, 500}, {503, 500},
	} {
		g.respond = func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Location", g.URL+"/open")
			w.Header().Add("WWW-Authenticate", `Basic realm="theirs"`)
			w.Header().Add("WWW-Authenticate", "Bearer")
			w.WriteHeader(c.theirs)
		}
		r := b.ask("GET", "http://h.test/")
		r.want(t, c.want, "")
		if got := strings.Join(r.header["Www-Authenticate"], "|"); (c.want == 401) != (got == `Basic realm="theirs"|Bearer`) {
			t.Errorf("%d: the challenge is %q", c.theirs, got)
		}
		if g.last.URL.Path != "/check" {
			t.Errorf("%d: %s was asked for", c.theirs, g.last.URL)
		}
	}
}

// The sub-request: no body, the client's header, X-Original-URL and its kin, its own Host; X-Forwarded-Proto is removed.
func TestExternalRequest(t *testing.T) {
	g := newGuard(t, status(200))
	b := newBed(t).on("h.test /", "auth-url", g.URL+"/check?of=$request_uri&as=$escaped_request_uri", "auth-proxy-set-headers", "extra", "auth-request-redirect", "https://$host$request_uri").
		on("post.test /", "auth-url", g.URL+"/check", "auth-method", "POST")
	b.configMaps["extra"] = map[string]string{"X-Asked": "$host", "X-Path": "$uri", "Host": "auth.$host"}
	b.ask("PUT", "https://h.test/a%0d%0ab?c=d", "Content-Type: text/plain", "Cookie: s=1", "Accept-Encoding: br", "Upgrade: websocket", "Connection: upgrade",
		"Authorization: Bearer tok", "X-Forwarded-Proto: http", "X-Original-URL: http://evil.test/open", "X-Original-Method: GET", "X-Original-URI: /open",
		"X-Sent-From: me", "X-Auth-Request-Redirect: /evil", "X-Forwarded-Uri: /open", "X-Forwarded-Method: GET", "X-Real-IP: 10.0.0.1", "Content-Length: 4").want(t, 0, "")
	want := map[string]string{
		"Content-Type": "text/plain", "Cookie": "s=1", "Accept-Encoding": "br", "Authorization": "Bearer tok", "X-Real-Ip": "192.0.2.1", "X-Forwarded-For": "192.0.2.1",
		"X-Request-Id": "id", "X-Original-Url": "https://h.test/a%0d%0ab?c=d", "X-Original-Uri": "/a%0d%0ab?c=d", "X-Original-Method": "PUT", "X-Sent-From": "nginx-ingress-controller",
		"X-Auth-Request-Redirect": "https://h.test/a%0d%0ab?c=d", "X-Asked": "h.test", "X-Path": "/a%0D%0Ab",
	}
	got := map[string]string{}
	for k, v := range g.last.Header {
		got[k] = strings.Join(v, "|")
	}
	if !maps.Equal(got, want) {
		t.Errorf("it got\n%v, want\n%v", got, want)
	}
	if g.last.Method != "GET" || g.body != "" || g.last.ContentLength != 0 || g.last.Host != "auth.h.test" {
		t.Errorf("it got %s with body %q for %s", g.last.Method, g.body, g.last.Host)
	}
	if want := "/check?of=/a%0d%0ab?c=d&as=%2Fa%250d%250ab%3Fc%3Dd"; g.last.RequestURI != want {
		t.Errorf("it was asked for %s, want %s", g.last.RequestURI, want)
	}
	b.ask("GET", "http://post.test/x").want(t, 0, "")
	if g.last.Method != "POST" || g.last.Host != g.Listener.Addr().String() || g.last.Header.Get("X-Auth-Request-Redirect") != "/x" {
		t.Errorf("it got %s, redirect %q", g.last.Method, g.last.Header.Get("X-Auth-Request-Redirect"))
	}
}

// How the client's certificate was judged is told to that server, too (auth-tls-secret).
func TestExternalClientCertificate(t *testing.T) {
	g := newGuard(t, status(200))
	b := newBed(t).on("h.test /", "auth-url", g.URL)
	fields := map[string]string{"ssl-client-verify": "SUCCESS", "ssl-client-subject-dn": "CN=ann", "ssl-client-issuer-dn": "CN=ca", "ssl-client-cert": "-----BEGIN%20"}
	b.forward = func(h *h1.Header) {
		for k, v := range fields {
			if err := h.SetName(k, v); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.ask("GET", "https://h.test/", "ssl-client-verify: FAILED").want(t, 0, "")
	for k, v := range fields {
		if got := strings.Join(g.last.Header.Values(k), "|"); got != v {
			t.Errorf("%s is %q, want %q", k, got, v)
		}
	}
}

// auth-response-headers, portable assertion 26: only the server of authentication sets them.
func TestExternalResponseHeaders(t *testing.T) {
	g := newGuard(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-User", "ann")
		w.Header()["X-Groups"] = []string{"a", "b"}
		w.Header().Set("X-Other", "no")
		w.Header().Set("Content-Length", "0")
	})
	pairs := []string{"auth-url", g.URL, "auth-response-headers", "X-User, X-Groups, Foo, Authorization"}
	b := newBed(t).set("enable-underscores-in-headers", "true").set("ignore-invalid-headers", "false").on("h.test /", pairs...).
		on("h.test /.well-known/acme-challenge/t", pairs...).on("any.test /", append([]string{"satisfy", "any", "allowlist-source-range", "192.0.2.0/24"}, pairs...)...)
	b.adjust = func(i *table.Ingress) { // which the annotation refuses
		i.Options.Location.External.ResponseHeaders = append(i.Options.Location.External.ResponseHeaders, "Content-Length", "Transfer-Encoding")
	}
	spoofed := []string{"X-User: root", "x-user: root", "X_User: root", "x_groups: root", "X.User: root", "Foo: bar", "Authorization: Bearer x", "X-Other: mine"}
	r := b.ask("GET", "http://h.test/", spoofed...).want(t, 0, "")
	for name, want := range map[string]string{
		"X-User": "ann", "X-Groups": "a, b", "Foo": "-", "X_User": "-", "x_groups": "-", "X.User": "-", "X-Other": "mine", "Authorization": "-",
		"Content-Length": "-", "Transfer-Encoding": "-",
	} {
		if got := r.backend(name); got != want {
			t.Errorf("%s: the backend gets %q, want %q", name, got, want)
		}
	}
	if got := g.last.Header.Get("Authorization"); got != "Bearer x" {
		t.Errorf("the server gets the Authorization %q", got)
	}
	// Where nobody is asked, they are removed all the same.
	asked := g.count()
	for _, u := range []string{"http://h.test/.well-known/acme-challenge/t", "http://any.test/"} {
		r := b.ask("GET", u, spoofed...).want(t, 0, "")
		for _, name := range []string{"X-User", "Foo", "X_User"} {
			if got := r.backend(name); got != "-" {
				t.Errorf("%s: the backend gets the %s %q", u, name, got)
			}
		}
	}
	if g.count() != asked {
		t.Error("the server was asked")
	}
	// Two Authorizations: which one the server reads isn't known.
	b.ask("GET", "http://h.test/", "Authorization: Bearer a", "+Authorization: Bearer b").want(t, 400, "")
}

// auth-signin, auth-signin-redirect-param, portable assertion 25.
func TestExternalSignIn(t *testing.T) {
	g := newGuard(t, status(401))
	for _, c := range []struct{ signIn, param, url, want string }{
		{"https://login.test/", "", "http://h/?a=b&c=d", "https://login.test/?rd=http://h%2F%3Fa%3Db%26c%3Dd"},
		{"https://login.test/in?x=y", "", "https://h/p", "https://login.test/in?x=y&rd=https://h%2Fp"},
		{"https://login.test/", "next", "http://h/", "https://login.test/?next=http://h%2F"},
		{"https://login.test/?rd=https://h/", "", "http://h/p", "https://login.test/?rd=https://h/"},
		{"https://$host/in", "", "http://h/%0d%0ap", "https://h/in?rd=http://h%2F%250d%250ap"},
		{"https://login.test/?rd=$escaped_request_uri", "", "http://h/a?b", "https://login.test/?rd=%2Fa%3Fb"},
		{"https://login.test/?q=$arg_q", "", "http://h/?q=1%26rd=evil", "https://login.test/?q=1%26rd=evil&rd=http://h%2F%3Fq%3D1%2526rd%3Devil"},
	} {
		pairs := []string{"auth-url", g.URL, "auth-signin", c.signIn}
		if c.param != "" {
			pairs = append(pairs, "auth-signin-redirect-param", c.param)
		}
		newBed(t).on("h /", pairs...).ask("GET", c.url).want(t, 302, c.want)
	}
	g.respond = status(403)
	newBed(t).on("h /", "auth-url", g.URL, "auth-signin", "https://login.test/").ask("GET", "http://h/").want(t, 403, "")
}

// Its cookies reach the client with 2xx and 3xx, or always (auth-always-set-cookie); portable assertion 29.
func TestExternalCookies(t *testing.T) {
	theirs := 200
	g := newGuard(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Set-Cookie"] = []string{"a=1", "b=2"}
		w.WriteHeader(theirs)
	})
	b := newBed(t).on("h.test /", "auth-url", g.URL, "auth-signin", "https://login.test/").on("always.test /", "auth-url", g.URL, "auth-always-set-cookie", "true")
	hooks := b.build().filters.Hooks()
	for _, c := range []struct {
		host   string
		status int
		want   string
	}{{"h", 200, "a=1|b=2"}, {"h", 302, "a=1|b=2"}, {"h", 404, ""}, {"h", 503, ""}, {"always", 503, "a=1|b=2"}} {
		r := b.ask("GET", "http://"+c.host+".test/").want(t, 0, "")
		if got := r.answered(&hooks, c.status); got != c.want {
			t.Errorf("%s %d: %q, want %q", c.host, c.status, got, c.want)
		}
	}
	theirs = 401
	if r := b.ask("GET", "http://h.test/"); r.status != 302 || len(r.header["Set-Cookie"]) != 2 {
		t.Errorf("sign-in: %d with %q", r.status, r.header["Set-Cookie"])
	}
	if r := b.ask("GET", "http://always.test/"); r.status != 401 || len(r.header["Set-Cookie"]) != 2 {
		t.Errorf("always: %d with %q", r.status, r.header["Set-Cookie"])
	}
}

// auth-cache-key, auth-cache-duration, portable assertion 27: the server gone, the same path is served from memory.
func TestExternalCache(t *testing.T) {
	extra, theirs := http.Header{}, 200
	g := newGuard(t, func(w http.ResponseWriter, r *http.Request) {
		maps.Copy(w.Header(), extra)
		w.Header().Set("X-User", r.Header.Get("Authorization"))
		w.WriteHeader(theirs)
	})
	pairs := []string{"auth-url", g.URL, "auth-cache-key", "$remote_user$http_authorization", "auth-response-headers", "X-User"}
	b := newBed(t).on("h.test /a", pairs...).on("h.test /b", pairs...).on("o.test /a", pairs...).
		on("fixed.test /", "auth-url", g.URL, "auth-cache-key", "fixed").on("short.test /", "auth-url", g.URL, "auth-cache-key", "k", "auth-cache-duration", "200 10s, 403 1m").
		on("user.test /", "auth-url", g.URL, "auth-cache-key", "$remote_user")
	ask := func(url, auth string, want, asked int) {
		t.Helper()
		before := g.count()
		r := b.ask("GET", url, "Authorization: "+auth)
		r.want(t, want, "")
		if n := g.count() - before; n != asked {
			t.Errorf("%s %s: the server was asked %d times, want %d", url, auth, n, asked)
		}
		if want == 0 && strings.Contains(url, "h.test") && r.backend("X-User") != auth {
			t.Errorf("%s: the backend gets the user %q, want %q", url, r.backend("X-User"), auth)
		}
	}
	ask("http://h.test/a", "x", 0, 1)
	ask("http://h.test/a", "x", 0, 0)
	ask("http://h.test/a/below", "x", 0, 0) // the rule's path counts
	ask("http://h.test/a", "y", 0, 1)
	ask("http://h.test/b", "x", 0, 1)
	ask("http://o.test/a", "x", 0, 1)
	ask("http://fixed.test/", "x", 0, 1)
	ask("http://fixed.test/", "y", 0, 0)
	b.now = b.now.Add(5 * time.Minute)
	ask("http://h.test/a", "x", 0, 1)
	// Of who brings nothing that the key names, nothing is remembered.
	for range 2 {
		before := g.count()
		b.ask("GET", "http://h.test/a", "Cookie: session=1").want(t, 0, "")
		if g.count() != before+1 {
			t.Error("an answer for nobody was remembered")
		}
	}
	// $remote_user is who the client says it is.
	user := func(u string) string { return strings.TrimPrefix(basicField(u+":pw"), "Authorization: ") }
	ask("http://user.test/", user("ann"), 0, 1)
	ask("http://user.test/", user("bob"), 0, 1)
	ask("http://user.test/", user("ann"), 0, 0)
	// By status, each with its time.
	ask("http://short.test/", "x", 0, 1)
	b.now = b.now.Add(9 * time.Second)
	ask("http://short.test/", "x", 0, 0)
	b.now = b.now.Add(time.Second)
	theirs = 403
	ask("http://short.test/", "x", 403, 1)
	b.now = b.now.Add(59 * time.Second)
	ask("http://short.test/", "x", 403, 0)
	b.now = b.now.Add(time.Second)
	theirs = 401
	ask("http://short.test/", "x", 401, 1)
	ask("http://short.test/", "x", 401, 1)
	// What says itself that it isn't to be kept.
	theirs = 200
	for i, h := range []http.Header{
		{"Set-Cookie": {"a=1"}}, {"Cache-Control": {"no-store"}}, {"Cache-Control": {"public, private"}}, {"Cache-Control": {"max-age=0"}}, {"Cache-Control": {"max-age=x"}},
		{"Expires": {"0"}}, {"Vary": {"Cookie"}}, {"X-Accel-Expires": {"0"}},
	} {
		b.now = b.now.Add(time.Hour)
		extra = h
		ask("http://fixed.test/", "x", 0, 1)
		ask("http://fixed.test/", "x", 0, 1)
		if t.Failed() {
			t.Fatalf("header %d: %v", i, h)
		}
	}
	extra = http.Header{"Cache-Control": {"max-age=60"}}
	b.now = b.now.Add(time.Hour)
	ask("http://h.test/a", "x", 0, 1)
	b.now = b.now.Add(59 * time.Second)
	ask("http://h.test/a", "x", 0, 0)
	g.Close()
	ask("http://h.test/a", "x", 0, 0)
	ask("http://h.test/b", "x", 500, 0)
	ask("http://o.test/a", "x", 500, 0)
	b.now = b.now.Add(time.Second)
	ask("http://h.test/a", "x", 500, 0)
}

// Whatever goes wrong, nothing is served.
func TestExternalFails(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed := "http://" + gone.Addr().String()
	gone.Close()
	release := make(chan struct{})
	slow := newGuard(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-release:
		case <-r.Context().Done():
		}
	})
	defer close(release)
	big := newGuard(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Big", strings.Repeat("x", 2*authHeader))
	})
	cut := newGuard(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		w.WriteHeader(200)
		panic(http.ErrAbortHandler)
	})
	secure := httptest.NewUnstartedServer(http.HandlerFunc(status(200)))
	secure.Config.ErrorLog = log.New(io.Discard, "", 0)
	secure.StartTLS()
	defer secure.Close()
	for name, url := range map[string]string{"gone": closed, "slow": slow.URL, "large header": big.URL, "cut off": cut.URL, "unknown authority": secure.URL} {
		b := newBed(t).on("h.test /", "auth-url", url)
		b.adjust = func(i *table.Ingress) {
			i.Options.Location.ConnectTimeout, i.Options.Location.ReadTimeout = 100*time.Millisecond, 100*time.Millisecond
			if name == "large header" || name == "cut off" || name == "unknown authority" {
				i.Options.Location.ReadTimeout = 10 * time.Second
			}
		}
		t.Run(name, func(t *testing.T) { b.ask("GET", "http://h.test/").want(t, 500, "") })
	}
	// Portable assertion 28.
	newBed(t).on("h.test /", "auth-url", "https://a..b").ask("GET", "http://h.test/").want(t, 503, "")
	// Fields of the connection are neither passed on nor set.
	refused := newBed(t).on("h.test /", "auth-url", closed, "auth-response-headers", "X-User, Content-Length").on("c.test /", "auth-url", closed, "auth-proxy-set-headers", "bad")
	refused.configMaps["bad"] = map[string]string{"Transfer-Encoding": "chunked"}
	refused.ask("GET", "http://h.test/").want(t, 503, "")
	refused.ask("GET", "http://c.test/").want(t, 503, "")
	// A long body is left; the answer counts.
	long := newGuard(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 2*maxAuthBody)) })
	newBed(t).on("h.test /", "auth-url", long.URL).ask("GET", "http://h.test/").want(t, 0, "")
	// A server whose authority is known.
	b := newBed(t).on("h.test /", "auth-url", secure.URL)
	roots := x509.NewCertPool()
	roots.AddCert(secure.Certificate())
	b.cfg.AuthTLS = &tls.Config{RootCAs: roots}
	b.ask("GET", "http://h.test/").want(t, 0, "")
	// A transport that is passed in.
	b = newBed(t).on("h.test /", "auth-url", "http://auth.test/")
	b.cfg.AuthTransport = failing{}
	b.ask("GET", "http://h.test/").want(t, 500, "")
}

type failing struct{}

func (failing) RoundTrip(*http.Request) (*http.Response, error) { return nil, errors.New("no") }

// Which server it is that decides is not the client's to say.
func TestExternalHost(t *testing.T) {
	var asked atomic.Value
	b := newBed(t).on("h.test /", "auth-url", "http://$host/check").on("p.test /", "auth-url", "http://$http_host/check").on("*.w.test /", "auth-url", "http://auth.$host:81/check").
		on("x.test /", "auth-url", "http://$http_x_auth/check").on("arg.test /", "auth-url", "http://auth.test:81/$arg_p").on("s.test /", "auth-url", "http://$service_name.$namespace.svc/").
		on("alias.test /", "auth-url", "http://$host/", "server-alias", "Other.test").on("- /", "auth-url", "http://$host/check")
	b.cfg.AuthTransport = roundTrip(func(r *http.Request) (*http.Response, error) {
		asked.Store(r.URL.String())
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
	})
	for _, c := range []struct{ url, best, want string }{
		{"http://h.test/", "", "http://h.test/check"},
		{"http://H.test:8080/", "", "http://h.test/check"},
		{"http://p.test/", "", "http://p.test/check"},
		{"http://p.test:9999/", "", ""},
		{"http://p.test:80/", "", "http://p.test:80/check"},
		{"http://a.w.test/", "", "http://auth.a.w.test:81/check"},
		{"http://x.test/", "", ""},
		{"http://evil.test/", "", ""},
		{"http://alias.test/", "", "http://alias.test/"},
		{"http://other.test/", "", "http://other.test/"},
		{"http://arg.test/?p=@evil.test/", "", "http://auth.test:81/@evil.test/"},
		{"http://s.test/", "", "http://web.shop.svc/"},
	} {
		asked.Store("")
		r := b.ask("GET", c.url, "X-Auth: evil.test")
		if got := asked.Load(); got != c.want || (c.want == "") != (r.status == 500) {
			t.Errorf("%s: %d, %q was asked, want %q", c.url, r.status, got, c.want)
		}
	}
	// A forwarded host may be anybody's.
	b = newBed(t).on("h.test /", "auth-url", "http://$best_http_host/check")
	b.cfg.AuthTransport = roundTrip(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: 200, Header: http.Header{}, Body: http.NoBody}, nil
	})
	x := b.exchange("GET", "http://h.test/")
	x.BestHost = "evil.test"
	b.run(x).want(t, 500, "")
	b.ask("GET", "http://h.test/").want(t, 0, "")
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// auth-keepalive-requests: a connection carries so many.
func TestExternalKeepalive(t *testing.T) {
	g := newGuard(t, status(200))
	b := newBed(t).on("h.test /", "auth-url", g.URL, "auth-keepalive", "1", "auth-keepalive-requests", "3").on("d.test /", "auth-url", g.URL).build()
	for range 9 {
		b.ask("GET", "http://h.test/").want(t, 0, "")
	}
	for a, n := range g.conns {
		if n > 3 {
			t.Errorf("the connection from %s carried %d requests", a, n)
		}
	}
	if len(g.conns) < 3 {
		t.Errorf("%d connections for 9 requests", len(g.conns))
	}
	clear(g.conns)
	for range 9 {
		b.ask("GET", "http://d.test/").want(t, 0, "")
	}
	if len(g.conns) > 2 {
		t.Errorf("%d connections for 9 requests, want them kept", len(g.conns))
	}
}

// global-auth-url, enable-global-auth, an Ingress's own auth-url.
func TestExternalGlobal(t *testing.T) {
	global, own := newGuard(t, status(401)), newGuard(t, status(200))
	b := newBed(t).set("global-auth-url", global.URL).set("global-auth-signin", "https://login.test/").on("h.test /").on("out.test /", "enable-global-auth", "false").
		on("own.test /", "auth-url", own.URL).on("h.test /.well-known/acme-challenge/t")
	b.ask("GET", "http://h.test/").want(t, 302, "https://login.test/?rd=http://h.test%2F")
	b.ask("GET", "http://out.test/").want(t, 0, "")
	b.ask("GET", "http://own.test/").want(t, 0, "")
	b.ask("GET", "http://h.test/.well-known/acme-challenge/t").want(t, 0, "")
}

// satisfy with both kinds of credentials.
func TestExternalSatisfy(t *testing.T) {
	theirs := 200
	g := newGuard(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(theirs) })
	pairs := []string{"auth-url", g.URL, "auth-type", "basic", "auth-secret", "users"}
	b := newBed(t).on("any.test /", append([]string{"satisfy", "any"}, pairs...)...).on("all.test /", pairs...)
	b.secrets["users"] = map[string]string{"auth": "ann:{PLAIN}pw"}
	pw := []string{basicField("ann:pw")}
	for _, c := range []struct {
		host   string
		fields []string
		theirs int
		want   int
		asked  int
	}{
		{"all", pw, 200, 0, 1}, {"all", nil, 200, 401, 0}, {"all", pw, 403, 403, 1}, {"all", pw, 500, 500, 1},
		{"any", pw, 403, 0, 0}, {"any", nil, 200, 0, 1}, {"any", nil, 403, 401, 1}, {"any", nil, 401, 401, 1}, {"any", nil, 503, 500, 1},
	} {
		theirs = c.theirs
		before := g.count()
		b.ask("GET", "http://"+c.host+".test/", c.fields...).want(t, c.want, "")
		if n := g.count() - before; n != c.asked {
			t.Errorf("%s: the server was asked %d times, want %d", c.host, n, c.asked)
		}
	}
}
