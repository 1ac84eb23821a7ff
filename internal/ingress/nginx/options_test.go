package nginx

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	networkingv1 "k8s.io/api/networking/v1"

	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

func prefixes(list ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range list {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

func pattern(t *testing.T, s string, o regex.Options) *regex.Regexp {
	t.Helper()
	re, err := regex.Compile(s, o)
	if err != nil {
		t.Fatal(err)
	}
	return re
}

type row struct {
	// source is what of ingress-nginx's behaviour the row is about, by the annotation's entry in its documentation.
	source string
	pairs  []string
	want   func(*table.Options)
}

func a(pairs ...string) []string { return pairs }

// Each row: what the annotations add to an Ingress of class nginx that has none.
func TestOptions(t *testing.T) {
	yes, no := true, false
	rows := []row{
		{"rewrite-target: a path with captures", a("rewrite-target", "/new/$2"), func(o *table.Options) {
			o.Location.Rewrite = &table.Rewrite{Target: *text("/new/", capture("2"))}
		}},
		{"rewrite-target: a URL is a redirect", a("rewrite-target", "https://h.test/$1"), func(o *table.Options) {
			o.Location.Rewrite = &table.Rewrite{Target: *text("https://h.test/", capture("1")), URL: true}
		}},
		{"rewrite-target: $10 is $1 and a zero", a("rewrite-target", "/$10"), func(o *table.Options) {
			o.Location.Rewrite = &table.Rewrite{Target: *text("/", capture("1"), "0")}
		}},
		{"use-regex: Go's forms of booleans", a("use-regex", "T"), func(o *table.Options) { o.Location.UseRegex = true }},
		{"x-forwarded-prefix", a("rewrite-target", "/", "x-forwarded-prefix", "/app/$1"), func(o *table.Options) {
			o.Location.Rewrite = &table.Rewrite{Target: *text("/")}
			o.Location.ForwardedPrefix = text("/app/", capture("1"))
		}},
		{"app-root", a("app-root", "/foo"), func(o *table.Options) { o.Host.AppRoot = "/foo" }},
		{"ssl-redirect", a("ssl-redirect", "false"), func(o *table.Options) { o.Location.SSLRedirect = false }},
		{"force-ssl-redirect", a("force-ssl-redirect", "1"), func(o *table.Options) { o.Location.ForceSSLRedirect = true }},
		{"preserve-trailing-slash, use-port-in-redirects, relative-redirects",
			a("preserve-trailing-slash", "true", "use-port-in-redirects", "true", "relative-redirects", "true"), func(o *table.Options) {
				o.Location.PreserveTrailingSlash, o.Location.UsePortInRedirects, o.Location.RelativeRedirects = true, true, true
			}},
		{"permanent-redirect: 301, the text as it is", a("permanent-redirect", "https://e.test/x?y=1"), func(o *table.Options) {
			o.Location.Redirect = &table.Redirect{Target: *text("https://e.test/x?y=1"), Code: 301}
		}},
		{"permanent-redirect: a path, with a code", a("permanent-redirect", "/x", "permanent-redirect-code", "308"), func(o *table.Options) {
			o.Location.Redirect = &table.Redirect{Target: *text("/x"), Code: 308}
		}},
		{"permanent-redirect-code: outside of 300 to 308 it is 301", a("permanent-redirect", "/x", "permanent-redirect-code", "404"), func(o *table.Options) {
			o.Location.Redirect = &table.Redirect{Target: *text("/x"), Code: 301}
		}},
		{"temporal-redirect beats permanent-redirect", a("permanent-redirect", "/x", "temporal-redirect", "http://e.test"), func(o *table.Options) {
			o.Location.Redirect = &table.Redirect{Target: *text("http://e.test"), Code: 302}
		}},
		{"temporal-redirect-code", a("temporal-redirect", "http://e.test", "temporal-redirect-code", "307"), func(o *table.Options) {
			o.Location.Redirect = &table.Redirect{Target: *text("http://e.test"), Code: 307}
		}},
		{"from-to-www-redirect", a("from-to-www-redirect", "true"), func(o *table.Options) { o.Host.FromToWWW = true }},
		{"proxy-redirect-from: off", a("proxy-redirect-from", "off"), func(o *table.Options) { o.Location.ProxyRedirect = &table.Replacement{Off: true} }},
		{"proxy-redirect-to: default", a("proxy-redirect-from", "http://x/", "proxy-redirect-to", "default"), func(o *table.Options) {
			o.Location.ProxyRedirect = &table.Replacement{Default: true}
		}},
		{"proxy-redirect: texts", a("proxy-redirect-from", "http://x/", "proxy-redirect-to", "https://y/"), func(o *table.Options) {
			o.Location.ProxyRedirect = &table.Replacement{From: "http://x/", To: "https://y/"}
		}},
		{"proxy-redirect: a pattern and captures", a("proxy-redirect-from", "~*^http://x/(.*)$", "proxy-redirect-to", "/$1"), func(o *table.Options) {
			o.Location.ProxyRedirect = &table.Replacement{From: "~*^http://x/(.*)$", To: "/$1", Pattern: pattern(t, "^http://x/(.*)$", regex.Options{IgnoreCase: true}), Expand: text("/", capture("1"))}
		}},
		{"server-alias: names and patterns", a("server-alias", "WWW.Shop.test, *.s.test,~^a[0-9]\\.test$"), func(o *table.Options) {
			o.Host.Aliases = []string{"www.shop.test", "*.s.test"}
			o.Host.AliasPatterns = []*regex.Regexp{pattern(t, "^a[0-9]\\.test$", regex.Options{IgnoreCase: true})}
		}},
		{"ssl-passthrough, with its flag", a("ssl-passthrough", "true"), func(o *table.Options) { o.Host.Passthrough = true }},
		{"ssl-ciphers: those that are there", a("ssl-ciphers", "ECDHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES128-GCM-SHA256:!aNULL"), func(o *table.Options) {
			o.Host.Ciphers = []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}
		}},
		{"ssl-prefer-server-ciphers", a("ssl-prefer-server-ciphers", "false"), func(o *table.Options) { o.Host.PreferCiphers = &no }},
		{"enable-cors: defaults", a("enable-cors", "true"), func(o *table.Options) {
			o.Location.CORS = &table.CORS{Origins: []string{"*"}, Methods: "GET, PUT, POST, DELETE, PATCH, OPTIONS",
				Headers:     "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
				Credentials: true, MaxAge: 1728000}
		}},
		{"cors-*", a("enable-cors", "true", "cors-allow-origin", "https://*.a.test:8443, test://localhost", "cors-allow-methods", "GET,POST", "cors-allow-headers", "X-A",
			"cors-expose-headers", "*", "cors-allow-credentials", "false", "cors-max-age", "600"), func(o *table.Options) {
			o.Location.CORS = &table.CORS{Origins: []string{"https://*.a.test:8443", "test://localhost"}, Methods: "GET,POST", Headers: "X-A", ExposeHeaders: "*", MaxAge: 600}
		}},
		{"cors-allow-origin: none that can be read allows none, not all", a("enable-cors", "true", "cors-allow-origin", "nonsense"), func(o *table.Options) {
			o.Location.CORS = &table.CORS{Origins: []string{}, Methods: corsMethods, Headers: corsHeaders, Credentials: true, MaxAge: 1728000}
		}},
		{"enable-cors: false", a("enable-cors", "false", "cors-max-age", "1"), func(*table.Options) {}},
		{"denylist-source-range, allowlist-source-range", a("denylist-source-range", "10.1.2.3", "allowlist-source-range", "2001:db8::1/32, 10.0.0.0/8,10.0.0.1/8"), func(o *table.Options) {
			o.Location.Deny, o.Location.Allow = prefixes("10.1.2.3/32"), prefixes("10.0.0.0/8", "2001:db8::/32")
		}},
		{"whitelist-source-range is the older name", a("whitelist-source-range", "::ffff:10.0.0.0/104"), func(o *table.Options) { o.Location.Allow = prefixes("10.0.0.0/8") }},
		{"satisfy", a("satisfy", "any"), func(o *table.Options) { o.Location.Satisfy = table.SatisfyAny }},
		{"limit-*", a("limit-rps", "10", "limit-rpm", "600", "limit-connections", "5", "limit-burst-multiplier", "3", "limit-whitelist", "10.0.0.0/8"), func(o *table.Options) {
			o.Location.Limits = &table.Limits{RPS: 10, RPM: 600, Connections: 5, Burst: 3, Exempt: prefixes("10.0.0.0/8")}
		}},
		{"limit-rps: the multiplier is 5", a("limit-rps", "1", "limit-allowlist", "::1"), func(o *table.Options) {
			o.Location.Limits = &table.Limits{RPS: 1, Burst: 5, Exempt: prefixes("::1/128")}
		}},
		{"limit-rate: KB", a("limit-rate", "2", "limit-rate-after", "3"), func(o *table.Options) { o.Location.Pace = &table.Pace{Rate: 2048, After: 3072} }},
		{"auth-type basic with a file", a("auth-type", "basic", "auth-secret", "users"), func(o *table.Options) {
			o.Location.Basic = &table.BasicAuth{Realm: "Authentication Required", Secret: name("shop", "users"), Users: map[string]string{"ann": "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="}}
		}},
		{"auth-secret-type auth-map, auth-realm", a("auth-type", "basic", "auth-secret", "shop/map", "auth-secret-type", "auth-map", "auth-realm", `the "shop"`), func(o *table.Options) {
			o.Location.Basic = &table.BasicAuth{Realm: `the "shop"`, Secret: name("shop", "map"), Users: map[string]string{"bob": "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M="}}
		}},
		{"auth-url: defaults", a("auth-url", "http://$host/check"), func(o *table.Options) {
			o.Location.External = newExternal(*text("http://", table.VarHost, "/check"))
		}},
		{"auth-url and all of its kin", a("auth-url", "https://auth.test/", "auth-method", "POST", "auth-signin", "https://auth.test/in?rd=$escaped_request_uri", "auth-signin-redirect-param", "next",
			"auth-response-headers", "X-User, X-Id", "auth-always-set-cookie", "true", "auth-request-redirect", "https://x.test$request_uri", "auth-proxy-set-headers", "auth-headers",
			"auth-cache-key", "$remote_user$binary_remote_addr", "auth-cache-duration", "200 202 10m, 401 1h 30m, 5s", "auth-keepalive", "4", "auth-keepalive-requests", "7", "auth-keepalive-timeout", "9"), func(o *table.Options) {
			o.Location.External = &table.ExternalAuth{URL: *text("https://auth.test/"), Method: "POST", SignIn: text("https://auth.test/in?rd=", table.VarEscapedRequestURI), RedirectParam: "next",
				ResponseHeaders: []string{"X-User", "X-Id"}, AlwaysSetCookie: true, RequestRedirect: text("https://x.test", table.VarRequestURI),
				SetHeaders: []table.ExpandedHeader{{Name: "X-Asked", Value: *text(table.VarHost)}}, CacheKey: text(table.VarRemoteUser, table.VarRemoteAddr),
				CacheDurations: []table.CacheDuration{{Codes: []int{200, 202}, Duration: 10 * time.Minute}, {Codes: []int{401}, Duration: 90 * time.Minute}, {Duration: 5 * time.Second}},
				Keepalive:      4, KeepaliveReqs: 7, KeepaliveTime: 9 * time.Second}
		}},
		{"enable-global-auth", a("enable-global-auth", "false"), func(o *table.Options) { o.Location.NoGlobal = true }},
		{"backend-protocol: in any case", a("backend-protocol", "grpcs"), func(o *table.Options) { o.Location.Protocol = table.ProtocolGRPCS }},
		{"backend-protocol: AUTO_HTTP", a("backend-protocol", "AUTO_HTTP"), func(o *table.Options) { o.Location.Protocol = table.ProtocolAuto }},
		{"backend-protocol: what isn't one is HTTP", a("backend-protocol", "AJP"), func(*table.Options) {}},
		{"fastcgi-*", a("backend-protocol", "FCGI", "fastcgi-index", "index.php", "fastcgi-params-configmap", "shop/fastcgi-params"), func(o *table.Options) {
			o.Location.Protocol = table.ProtocolFCGI
			o.Location.FastCGI = &table.FastCGI{Index: "index.php", Params: []table.ExpandedHeader{{Name: "SCRIPT_FILENAME", Value: *text("/var/www", table.VarURI)}}}
		}},
		{"upstream-vhost", a("upstream-vhost", "$service_name.$namespace.svc"), func(o *table.Options) {
			o.Location.UpstreamVhost = text(table.VarServiceName, ".", table.VarNamespace, ".svc")
		}},
		{"connection-proxy-header", a("connection-proxy-header", "close"), func(o *table.Options) { o.Location.ConnectionHeader = "close" }},
		{"proxy-http-version", a("proxy-http-version", "1.0"), func(o *table.Options) { o.Location.HTTP10 = true }},
		{"custom-headers: a $ is a $", a("custom-headers", "shop/answer-headers"), func(o *table.Options) {
			o.Location.ResponseHeaders = []table.HeaderField{{Name: "X-Answer", Value: "yes $remote_addr"}}
		}},
		{"proxy-ssl-server-name, proxy-ssl-name without a Secret", a("proxy-ssl-server-name", "on", "proxy-ssl-name", "$host"), func(o *table.Options) {
			o.Location.BackendTLS = &table.BackendTLS{Depth: 1, ServerName: true, Name: text(table.VarHost)}
		}},
		{"proxy-ssl-protocols, -ciphers, -verify-depth", a("proxy-ssl-protocols", "TLSv1.3 TLSv1.2", "proxy-ssl-ciphers", "AES128-SHA", "proxy-ssl-verify-depth", "3"), func(o *table.Options) {
			o.Location.BackendTLS = &table.BackendTLS{Depth: 3, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS13, Ciphers: []uint16{tls.TLS_RSA_WITH_AES_128_CBC_SHA}}
		}},
		{"proxy-*-timeout: seconds", a("proxy-connect-timeout", "1", "proxy-read-timeout", "3600", "proxy-send-timeout", "7"), func(o *table.Options) {
			o.Location.ConnectTimeout, o.Location.ReadTimeout, o.Location.SendTimeout = time.Second, time.Hour, 7*time.Second
		}},
		{"proxy-read-timeout: 60s is the default, and not by value", a("proxy-read-timeout", "90s"), func(*table.Options) {}},
		{"proxy-body-size: nginx's sizes", a("proxy-body-size", "8M"), func(o *table.Options) { o.Location.BodySize = 8 << 20 }},
		{"proxy-body-size: 0 is none", a("proxy-body-size", "0"), func(o *table.Options) { o.Location.BodySize = 0 }},
		{"proxy-request-buffering, client-body-buffer-size", a("proxy-request-buffering", "off", "client-body-buffer-size", "1g"), func(o *table.Options) {
			o.Location.RequestBuffering, o.Location.RequestBuffer = false, 1<<30
		}},
		{"proxy-buffering and its kin", a("proxy-buffering", "on", "proxy-buffers-number", "8", "proxy-buffer-size", "16k", "proxy-max-temp-file-size", "0"), func(o *table.Options) {
			o.Location.Buffering = table.Buffering{Enabled: true, HeaderSize: 16 << 10, Buffers: 8, Busy: 32 << 10}
		}},
		{"proxy-busy-buffers-size", a("proxy-busy-buffers-size", "64k"), func(o *table.Options) { o.Location.Buffering.Busy = 64 << 10 }},
		{"proxy-next-upstream and its kin", a("proxy-next-upstream", "error http_502 http_429 non_idempotent", "proxy-next-upstream-tries", "2", "proxy-next-upstream-timeout", "9"), func(o *table.Options) {
			o.Location.Retry = table.Retry{Error: true, NonIdempotent: true, Statuses: []int{502, 429}, Tries: 2, Total: 9 * time.Second}
		}},
		{"proxy-next-upstream: off", a("proxy-next-upstream", "off"), func(o *table.Options) { o.Location.Retry = table.Retry{Tries: 3} }},
		{"proxy-cookie-domain, proxy-cookie-path", a("proxy-cookie-domain", "off", "proxy-cookie-path", "/a/ /"), func(o *table.Options) {
			o.Location.CookieDomain = &table.Replacement{Off: true}
			o.Location.CookiePath = &table.Replacement{From: "/a/", To: "/"}
		}},
		{"service-upstream, load-balance", a("service-upstream", "true", "load-balance", "ewma"), func(o *table.Options) {
			o.Upstream = table.UpstreamOptions{Set: table.SetServiceUpstream | table.SetLoadBalance, ServiceUpstream: true, LoadBalance: table.EWMA}
		}},
		{"upstream-hash-by", a("upstream-hash-by", "$binary_remote_addr$arg_id"), func(o *table.Options) {
			o.Upstream = table.UpstreamOptions{Set: table.SetHashBy, HashBy: text(table.VarRemoteAddr, table.Part{Var: table.VarArg, Name: "id"})}
		}},
		{"upstream-hash-by-subset: 3", a("upstream-hash-by", "x", "upstream-hash-by-subset", "true"), func(o *table.Options) {
			o.Upstream = table.UpstreamOptions{Set: table.SetHashBy, HashBy: text("x"), HashSubset: 3}
		}},
		{"upstream-hash-by-subset-size", a("upstream-hash-by", "x", "upstream-hash-by-subset", "true", "upstream-hash-by-subset-size", "2"), func(o *table.Options) {
			o.Upstream = table.UpstreamOptions{Set: table.SetHashBy, HashBy: text("x"), HashSubset: 2}
		}},
		{"affinity: defaults", a("affinity", "cookie"), func(o *table.Options) {
			o.Upstream = table.UpstreamOptions{Set: table.SetAffinity, Affinity: &table.CookieOption{Name: "INGRESSCOOKIE"}}
		}},
		{"affinity and all of its kin", a("affinity", "cookie", "affinity-mode", "persistent", "affinity-canary-behavior", "legacy", "session-cookie-name", "r", "session-cookie-path", "/p",
			"session-cookie-domain", ".e.test", "session-cookie-samesite", "strict", "session-cookie-conditional-samesite-none", "true", "session-cookie-secure", "true",
			"session-cookie-max-age", "5", "session-cookie-expires", "6", "session-cookie-change-on-failure", "true", "session-cookie-partitioned", "true"), func(o *table.Options) {
			o.Upstream = table.UpstreamOptions{Set: table.SetAffinity, Affinity: &table.CookieOption{Persistent: true, CanaryLegacy: true, Name: "r", Path: "/p", Domain: ".e.test", SameSite: "Strict",
				ConditionalNone: true, Secure: &yes, MaxAge: 5, Expires: 6, ChangeOnFailure: true, Partitioned: true}}
		}},
		{"canary: weight", a("canary", "true", "canary-weight", "20", "canary-weight-total", "1000"), func(o *table.Options) { o.Canary = &table.Canary{Weight: 20, Total: 1000} }},
		{"canary-weight-total: counts only above 100", a("canary", "true", "canary-weight", "20", "canary-weight-total", "50"), func(o *table.Options) {
			o.Canary = &table.Canary{Weight: 20, Total: 100}
		}},
		{"canary-by-header: a value comes before a pattern", a("canary", "true", "canary-by-header", "X-C", "canary-by-header-value", "v", "canary-by-header-pattern", "p", "canary-by-cookie", "c"), func(o *table.Options) {
			o.Canary = &table.Canary{Header: "X-C", HeaderValue: "v", Cookie: "c", Total: 100}
		}},
		{"canary-by-header-pattern", a("canary", "true", "canary-by-header", "X-C", "canary-by-header-pattern", "^(?!x)"), func(o *table.Options) {
			o.Canary = &table.Canary{Header: "X-C", HeaderPattern: pattern(t, "^(?!x)", regex.Options{}), Total: 100}
		}},
		{"canary-by-header-pattern: a broken one goes to the primary", a("canary", "true", "canary-by-header", "X-C", "canary-by-header-pattern", "("), func(o *table.Options) {
			o.Canary = &table.Canary{Header: "X-C", PatternBroken: true, Total: 100}
		}},
		{"custom-http-errors, disable-proxy-intercept-errors", a("custom-http-errors", "503, 404", "disable-proxy-intercept-errors", "true"), func(o *table.Options) {
			o.Location.CustomErrors, o.Location.KeepErrors = []int{404, 503}, true
		}},
		{"default-backend: the first port", a("default-backend", "errors"), func(o *table.Options) {
			o.Location.ErrorsBackend = &table.BackendRef{Namespace: "shop", Service: "errors"}
		}},
		{"mirror-target: the host is the target's", a("mirror-target", "http://m.test:81$request_uri"), func(o *table.Options) {
			o.Location.Mirror = &table.Mirror{Target: *text("http://m.test:81", table.VarRequestURI), Host: *text("m.test:81"), Body: true}
		}},
		{"mirror-host, mirror-request-body", a("mirror-target", "https://m.test/", "mirror-host", "$host", "mirror-request-body", "off"), func(o *table.Options) {
			o.Location.Mirror = &table.Mirror{Target: *text("https://m.test/"), Host: *text(table.VarHost)}
		}},
		{"enable-access-log, enable-rewrite-log", a("enable-access-log", "false", "enable-rewrite-log", "true"), func(o *table.Options) {
			o.Location.NoAccessLog, o.Location.RewriteLog = true, true
		}},
		{"enable-opentelemetry and its kin", a("enable-opentelemetry", "true", "opentelemetry-trust-incoming-span", "false"), func(o *table.Options) {
			o.Location.Tracing, o.Location.TracingTrust = &yes, &no
		}},
	}
	for _, r := range rows {
		t.Run(r.source, func(t *testing.T) {
			want, _ := read(t)
			r.want(&want)
			got, findings := read(t, r.pairs...)
			if d := cmp.Diff(want, got, plain()...); d != "" {
				t.Errorf("%s\n%s", d, messages(findings))
			}
		})
	}
}

func TestClassDefaults(t *testing.T) {
	n, _, _ := Read(ingress(), table.ClassNginx, NewDefaults(), newCluster(t))
	m, _, _ := Read(ingress(), table.ClassMinato, NewDefaults(), newCluster(t))
	if !n.Location.SSLRedirect || n.Location.BodySize != 1<<20 || !n.Location.RequestBuffering {
		t.Errorf("class nginx: %+v", n.Location)
	}
	if m.Location.SSLRedirect || m.Location.BodySize != 0 || m.Location.RequestBuffering {
		t.Errorf("class minato: %+v", m.Location)
	}
	if m.Location.ReadTimeout != time.Minute || m.Location.Retry.Tries != 3 {
		t.Errorf("class minato: %+v", m.Location)
	}
}

func TestSecretsOfClientsAndBackends(t *testing.T) {
	o, f := read(t, "auth-tls-secret", "shop/clients-ca", "auth-tls-verify-client", "optional_no_ca", "auth-tls-verify-depth", "2", "auth-tls-error-page", "https://e.test/$ssl_client_verify",
		"auth-tls-match-cn", "CN=a.*", "auth-tls-pass-certificate-to-upstream", "true", "proxy-ssl-secret", "backend-tls", "proxy-ssl-verify", "on")
	c := o.Host.ClientTLS
	if len(f) != 0 || c == nil || c.Broken != "" || c.CAs == nil || len(c.CAList) != 1 || c.Verify != table.VerifyOptionalNoCA || c.Depth != 2 || c.ErrorPage == nil || c.MatchCN == nil || !c.PassUpstream {
		t.Errorf("clients: %+v, findings %s", c, messages(f))
	}
	b := o.Location.BackendTLS
	if b == nil || !b.Verify || b.CAs == nil || len(b.Certificate) == 0 || len(b.Key) == 0 || b.Secret != name("shop", "backend-tls") {
		t.Errorf("backends: %+v", b)
	}
}

// What concerns access and can't be honoured closes the paths, and never opens them.
func TestClosed(t *testing.T) {
	for _, c := range []struct {
		what  string
		pairs []string
		names string // what the finding names, besides the annotation
	}{
		{"auth-type without auth-secret", a("auth-type", "basic"), "auth-secret"},
		{"auth-secret that isn't there", a("auth-type", "basic", "auth-secret", "gone"), "shop/gone"},
		{"auth-secret without its key", a("auth-type", "basic", "auth-secret", "map"), "key auth"},
		{"auth-secret of another namespace", a("auth-type", "basic", "auth-secret", "other/users"), "allow-cross-namespace-resources"},
		{"auth-type that isn't one", a("auth-type", "bearer"), "basic, digest"},
		{"auth-url without a host", a("auth-url", "https://a..b"), "a..b"},
		{"auth-url with a variable that isn't one", a("auth-url", "http://auth.test/$nothing"), "$nothing"},
		{"auth-url of another scheme", a("auth-url", "ftp://auth.test/"), "http://"},
		{"auth-url with a password", a("auth-url", "http://a:b@auth.test/"), "host"},
		{"auth-url with a line break", a("auth-url", "http://auth.test/\nx"), "auth-url"},
		{"auth-cache-duration", a("auth-url", "http://auth.test/", "auth-cache-duration", "200"), "without a unit"},
		{"auth-request-redirect", a("auth-url", "http://auth.test/", "auth-request-redirect", "$nope"), "$nope"},
		{"auth-proxy-set-headers", a("auth-url", "http://auth.test/", "auth-proxy-set-headers", "gone"), "shop/gone"},
		{"allowlist-source-range", a("allowlist-source-range", "10.0.0.0/33"), "10.0.0.0/33"},
		{"denylist-source-range", a("denylist-source-range", "nobody"), "nobody"},
		{"satisfy", a("satisfy", "some"), "all, any"},
		{"limit-rps", a("limit-rps", "many"), "many"},
		{"custom-headers with a name that isn't allowed", a("custom-headers", "auth-headers"), "global-allowed-response-headers"},
		{"custom-headers that aren't there", a("custom-headers", "gone"), "shop/gone"},
		{"proxy-ssl-verify without authorities", a("proxy-ssl-verify", "on"), "proxy-ssl-secret"},
		{"proxy-ssl-verify with a Secret without authorities", a("proxy-ssl-verify", "on", "proxy-ssl-secret", "pair-only"), "ca.crt"},
		{"permanent-redirect with variables", a("permanent-redirect", "https://$host/"), "$"},
	} {
		t.Run(c.what, func(t *testing.T) {
			o, f := read(t, c.pairs...)
			if o.Fault == "" {
				t.Fatalf("the paths are open; findings %s", messages(f))
			}
			if len(f) != 1 || !f[0].Warning || f[0].Reason != ReasonInvalid || !strings.Contains(f[0].Message, c.names) {
				t.Errorf("findings %s want one that names %s", messages(f), c.names)
			}
		})
	}
}

func TestClosedHost(t *testing.T) {
	for _, pairs := range [][]string{
		a("auth-tls-secret", "gone"), a("auth-tls-secret", "users"), a("auth-tls-secret", "other/users"),
		a("auth-tls-secret", "clients-ca", "auth-tls-match-cn", "CN=("), a("auth-tls-secret", "clients-ca", "auth-tls-match-cn", "O=x"),
	} {
		o, f := read(t, pairs...)
		if c := o.Host.ClientTLS; c == nil || c.Broken == "" || len(f) != 1 {
			t.Errorf("%v: the host is open: %+v, findings %s", pairs, c, messages(f))
		}
	}
	o, f := read(t, "auth-tls-secret", "clients-ca", "auth-tls-verify-client", "yes")
	if o.Host.ClientTLS.Verify != table.VerifyOn || len(f) != 1 {
		t.Errorf("auth-tls-verify-client that isn't one: %+v, findings %s", o.Host.ClientTLS, messages(f))
	}
}

func TestOtherNamespacesWhenAllowed(t *testing.T) {
	d := testDefaults()
	d.CrossNamespace = true
	o, f, refs := Read(ingress("auth-type", "basic", "auth-secret", "other/users"), table.ClassNginx, d, newCluster(t))
	if o.Fault != "" || o.Location.Basic.Users["eve"] == "" || len(f) != 0 {
		t.Errorf("options %+v, findings %s", o, messages(f))
	}
	if want := []Ref{{"Secret", name("other", "users")}}; !cmp.Equal(refs, want) {
		t.Errorf("references %v, want %v", refs, want)
	}
}

// The references name what was asked for, whether it is there or not, each once.
func TestRefs(t *testing.T) {
	_, _, refs := Read(ingress("auth-type", "basic", "auth-secret", "gone", "auth-tls-secret", "clients-ca", "proxy-ssl-secret", "clients-ca",
		"custom-headers", "answer-headers", "default-backend", "missing"), table.ClassMinato, testDefaults(), newCluster(t))
	want := []Ref{{"ConfigMap", name("shop", "answer-headers")}, {"Secret", name("shop", "clients-ca")}, {"Secret", name("shop", "gone")}, {"Service", name("shop", "missing")}}
	if !cmp.Equal(refs, want) {
		t.Errorf("references %v, want %v", refs, want)
	}
}

// A risk above the level that is set closes; by default none does, and snippets are refused without closing.
func TestRisk(t *testing.T) {
	for _, c := range []struct {
		level  Risk
		pairs  []string
		closed bool
	}{
		{0, a("auth-url", "http://a.test/"), false},
		{RiskHigh, a("auth-url", "http://a.test/"), false},
		{RiskMedium, a("auth-url", "http://a.test/"), true},
		{RiskMedium, a("rewrite-target", "/"), false},
		{RiskLow, a("rewrite-target", "/"), true},
		{RiskLow, a("use-regex", "true", "proxy-read-timeout", "1"), false},
		{RiskLow, a("server-snippet", "return 404;"), false},
	} {
		d := testDefaults()
		d.MaxRisk = c.level
		o, f, _ := Read(ingress(c.pairs...), table.ClassNginx, d, newCluster(t))
		if (o.Fault != "") != c.closed || c.closed && !strings.Contains(messages(f), "annotations-risk-level") {
			t.Errorf("level %s, %v: fault %q, %s", c.level, c.pairs, o.Fault, messages(f))
		}
	}
	for _, a := range known().all {
		if strings.HasSuffix(a.Name, "-snippet") != (riskOf(a.Name) == RiskCritical) {
			t.Errorf("%s: %s", a.Name, riskOf(a.Name))
		}
	}
}

func TestBlocklist(t *testing.T) {
	d := testDefaults()
	d.Blocklist = []string{"by_lua"}
	o, f, _ := Read(ingress("upstream-vhost", "content_by_lua"), table.ClassNginx, d, newCluster(t))
	if o.Fault == "" || len(f) != 1 || !strings.Contains(f[0].Message, "annotation-value-word-blocklist") {
		t.Errorf("fault %q, findings %s", o.Fault, messages(f))
	}
}

// The global authentication holds unless an Ingress has its own or opts out; one that can't be read closes.
func TestGlobalAuth(t *testing.T) {
	d := testDefaults()
	d.each(func(c *ClassDefaults) { c.Location.External = newExternal(*text("http://global.test/")) })
	objects := newCluster(t)
	ext := func(ing *networkingv1.Ingress) string {
		o, _, _ := Read(ing, table.ClassNginx, d, objects)
		if o.Fault != "" {
			return "closed"
		}
		if o.Location.External == nil {
			return ""
		}
		return o.Location.External.URL.Parts[0].Literal
	}
	if got := ext(ingress()); got != "http://global.test/" {
		t.Errorf("by default: %q", got)
	}
	if got := ext(ingress("enable-global-auth", "false")); got != "" {
		t.Errorf("opted out: %q", got)
	}
	if got := ext(ingress("enable-global-auth", "nope")); got != "http://global.test/" {
		t.Errorf("a value that can't be read: %q", got)
	}
	if got := ext(ingress("auth-url", "http://own.test/")); got != "http://own.test/" {
		t.Errorf("its own: %q", got)
	}
	if got := ext(ingress("auth-url", "nonsense")); got != "closed" {
		t.Errorf("its own, which can't be read: %q", got)
	}
	d.GlobalFault = "broken"
	if got := ext(ingress()); got != "closed" {
		t.Errorf("a broken one: %q", got)
	}
	if got := ext(ingress("enable-global-auth", "false")); got != "" {
		t.Errorf("a broken one, opted out: %q", got)
	}
}

// What a value changes nothing of is said, not passed over.
func TestDifferencesAreTold(t *testing.T) {
	for name, pairs := range map[string][]string{
		"auth-keepalive-share-vars": a("auth-url", "http://a.test/", "auth-keepalive-share-vars", "true"),
		"ssl-prefer-server-ciphers": a("ssl-prefer-server-ciphers", "true"),
		"auth-realm":                a("auth-type", "basic", "auth-secret", "users", "auth-realm", "off"),
		"ssl-ciphers":               a("ssl-ciphers", "HIGH:ECDHE-RSA-AES128-GCM-SHA256"),
	} {
		if _, f := read(t, pairs...); len(f) != 1 || f[0].Reason != ReasonDiffers || f[0].Field != DefaultPrefix+"/"+name {
			t.Errorf("%s: %s", name, messages(f))
		}
	}
	// nginx asks nobody for credentials with the realm "off".
	o, _ := read(t, "auth-type", "basic", "auth-secret", "users", "auth-realm", "off")
	if o.Location.Basic == nil || o.Location.Basic.Realm != "off" || len(o.Location.Basic.Users) != 1 {
		t.Errorf("the realm off: %+v", o.Location.Basic)
	}
}

// An event's message has 1,024 bytes at most.
func TestMessagesFitEvents(t *testing.T) {
	_, f := read(t, "configuration-snippet", strings.Repeat("proxy_set_header X-A b;\nreturn 301 /x;\n", 1)+longSnippet(), "upstream-vhost", "$"+strings.Repeat("x", 5000))
	if len(f) != 2 {
		t.Fatal(messages(f))
	}
	for _, x := range f {
		if len(x.Message) > 1024 {
			t.Errorf("%d bytes: %s", len(x.Message), x.Message)
		}
	}
}

func longSnippet() string {
	var b strings.Builder
	for _, d := range []string{"add_header", "deny", "allow", "rewrite", "if", "set", "gzip", "proxy_pass", "auth_basic", "limit_req", "error_page", "mirror", "sub_filter", "root", "include", "expires"} {
		b.WriteString(d + " something_long_enough_to_fill_a_line;\n")
	}
	return b.String()
}

func TestPassthroughNeedsItsFlag(t *testing.T) {
	d := testDefaults()
	d.Passthrough = false
	o, f, _ := Read(ingress("ssl-passthrough", "true"), table.ClassNginx, d, newCluster(t))
	if o.Host.Passthrough || len(f) != 1 || !strings.Contains(f[0].Message, "--enable-ssl-passthrough") {
		t.Errorf("%+v, findings %s", o.Host, messages(f))
	}
}
