package nginx

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/ingress/regex"
	"minato/internal/ingress/table"
)

func settingsMap(pairs ...string) *corev1.ConfigMap {
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "ingress-nginx-controller"}, Data: map[string]string{}}
	for i := 0; i < len(pairs); i += 2 {
		m.Data[pairs[i]] = pairs[i+1]
	}
	return m
}

func readSettings(t testing.TB, pairs ...string) (*table.Settings, *Defaults, []table.Finding) {
	t.Helper()
	s, d, f, _ := ReadSettings(settingsMap(pairs...), Flags{}, newCluster(t))
	return s, d, f
}

// both are settings and defaults, to compare them at once.
type both struct {
	S *table.Settings
	D *Defaults
}

func sameSettings(a, b both) string { return cmp.Diff(a, b, plain()...) }

// settingsCompanions are what a key needs besides itself to act.
func settingsCompanions(k string) []string {
	switch {
	case strings.HasPrefix(k, "gzip-"):
		return a("use-gzip", "true")
	case strings.HasPrefix(k, "brotli-"):
		return a("enable-brotli", "true")
	case strings.HasPrefix(k, "global-auth-") && k != "global-auth-url":
		return a("global-auth-url", "http://a.test/")
	case k == "proxy-redirect-from":
		return a("proxy-redirect-to", "/x")
	case k == "proxy-redirect-to":
		return a("proxy-redirect-from", "/y")
	case k == "limit-rate-after":
		return a("limit-rate", "1")
	}
	return nil
}

// Every key that is said to be honoured changes what is done, and every other one has a finding: none is accepted and
// ignored.
func TestNoKeyIsIgnored(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range knownKeys().all {
		if seen[k.Name] {
			t.Errorf("%s is there twice", k.Name)
		}
		seen[k.Name] = true
		t.Run(k.Name, func(t *testing.T) {
			with := settingsCompanions(k.Name)
			s0, d0, _ := readSettings(t, with...)
			if k.Support == Refused {
				s, d, f := readSettings(t, append(with, k.Name, "1")...)
				if len(f) != 1 || f[0].Field != k.Name || f[0].Reason != ReasonSettingRefused || f[0].Kind != "ConfigMap" {
					t.Errorf("findings %s", messages(f))
				}
				if diff := sameSettings(both{s0, d0}, both{s, d}); diff != "" {
					t.Error(diff)
				}
				return
			}
			s, d, f := readSettings(t, append(with, k.Name, k.Example)...)
			for _, x := range f {
				if x.Field == k.Name && x.Reason != ReasonSettingDiffers {
					t.Errorf("the example has a finding: %s", x.Message)
				}
			}
			if sameSettings(both{s0, d0}, both{s, d}) == "" && len(f) == 0 {
				t.Error("it is accepted and ignored")
			}
			// A value that can't be used is told of and leaves the default, or closes.
			bad := "no such ( \x01 $thing"
			if strings.HasPrefix(k.Name, "block-") {
				bad = "~("
			}
			s, d, f = readSettings(t, append(with, k.Name, bad)...)
			if k.Name == "annotation-value-word-blocklist" || k.Name == "proxy-redirect-from" {
				return // any text will do
			}
			if len(f) == 0 || f[0].Field != k.Name || !f[0].Warning {
				t.Fatalf("nothing is said about %q: %s", bad, messages(f))
			}
			switch k.Name {
			case "proxy-real-ip-cidr", "whitelist-source-range", "denylist-source-range", "block-cidrs", "proxy-redirect-to": // see TestListsLeaveOut
			default:
				if d.GlobalFault != "" {
					if !strings.HasPrefix(k.Name, "global-auth-") {
						t.Errorf("closed: %s", d.GlobalFault)
					}
					return
				}
				if diff := sameSettings(both{s0, d0}, both{s, d}); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

// Each row: what the keys add to the settings and the defaults of both classes.
func TestSettings(t *testing.T) {
	loc := func(set func(*table.Location)) func(both) {
		return func(b both) { b.D.each(func(c *ClassDefaults) { set(&c.Location) }) }
	}
	s := func(set func(*table.Settings)) func(both) { return func(b both) { set(b.S) } }
	for _, c := range []struct {
		source string
		pairs  []string
		want   func(both)
	}{
		{"use-forwarded-headers and its kin", a("use-forwarded-headers", "true", "compute-full-forwarded-for", "true", "enable-real-ip", "true", "forwarded-for-header", "X-C", "proxy-real-ip-cidr", "10.0.0.0/8, ::1"),
			s(func(s *table.Settings) {
				s.ForwardedHeaders, s.FullForwardedFor, s.RealIP, s.ForwardedForHeader = true, true, true, "X-C"
				s.TrustedProxies = prefixes("10.0.0.0/8", "::1/128")
			})},
		{"use-proxy-protocol", a("use-proxy-protocol", "true", "proxy-protocol-header-timeout", "1500ms"), s(func(s *table.Settings) { s.ProxyProtocol, s.ProxyHeaderTimeout = true, 1500*time.Millisecond })},
		{"ssl-*", a("ssl-protocols", "TLSv1.3", "ssl-ciphers", "ECDHE-RSA-AES128-GCM-SHA256", "ssl-session-tickets", "true", "ssl-reject-handshake", "true"), s(func(s *table.Settings) {
			s.TLS.Min, s.TLS.Max, s.TLS.Ciphers, s.TLS.Tickets, s.TLS.RejectUnknown = tls.VersionTLS13, tls.VersionTLS13, []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}, true, true
		})},
		{"ssl-session-*", a("ssl-session-cache", "false", "ssl-session-cache-size", "1m", "ssl-session-timeout", "1h"), s(func(s *table.Settings) {
			s.TLS.SessionCache, s.TLS.SessionCacheSize, s.TLS.SessionTimeout = false, 1<<20, time.Hour
		})},
		{"hsts: said, it holds for both classes", a("hsts", "true", "hsts-max-age", "5", "hsts-include-subdomains", "false", "hsts-preload", "true"), s(func(s *table.Settings) {
			s.HSTS = table.HSTS{Enabled: true, AllClasses: true, Preload: true, MaxAge: 5}
		})},
		{"hsts: false", a("hsts", "false"), s(func(s *table.Settings) { s.HSTS.Enabled = false })},
		{"ssl-redirect: said, it holds for both classes", a("ssl-redirect", "true"), func(b both) {
			b.D.Minato.Location.SSLRedirect, b.S.Location.SSLRedirect = true, true
		}},
		{"ssl-redirect: false", a("ssl-redirect", "false"), func(b both) { b.D.Nginx.Location.SSLRedirect, b.S.TLS.RedirectToHTTPS = false, false }},
		{"force-ssl-redirect", a("force-ssl-redirect", "true"), func(b both) {
			b.S.TLS.ForceRedirect = true
			loc(func(l *table.Location) { l.ForceSSLRedirect = true })(b)
		}},
		{"use-http2", a("use-http2", "false", "http2-max-concurrent-streams", "9"), s(func(s *table.Settings) { s.HTTP2, s.HTTP2Streams = false, 9 })},
		{"keep-alive*", a("keep-alive", "0", "keep-alive-requests", "2", "upstream-keepalive-connections", "3", "upstream-keepalive-timeout", "4", "upstream-keepalive-requests", "5", "upstream-keepalive-time", "6m"), s(func(s *table.Settings) {
			s.KeepAlive, s.KeepAliveRequests, s.UpstreamIdle, s.UpstreamIdleTimeout, s.UpstreamRequests, s.UpstreamTime = 0, 2, 3, 4*time.Second, 5, 6*time.Minute
		})},
		{"client-*", a("client-header-buffer-size", "2k", "large-client-header-buffers", "8 16k", "client-header-timeout", "3", "client-body-timeout", "4"), s(func(s *table.Settings) {
			s.HeaderBuffer, s.LargeHeaderBuffers, s.LargeHeaderSize, s.HeaderTimeout, s.BodyTimeout = 2<<10, 8, 16<<10, 3*time.Second, 4*time.Second
		})},
		{"worker-*", a("worker-processes", "3", "max-worker-connections", "4", "worker-shutdown-timeout", "5s"), s(func(s *table.Settings) { s.Workers, s.MaxConnections, s.ShutdownTimeout = 3, 4, 5*time.Second })},
		{"worker-processes: auto", a("worker-processes", "auto"), func(both) {}},
		{"headers", a("server-tokens", "true", "allow-backend-server-header", "true", "hide-headers", "X-A, X-B", "enable-underscores-in-headers", "true", "ignore-invalid-headers", "false",
			"generate-request-id", "false", "proxy-add-original-uri-header", "true", "proxy-set-headers", "ingress-nginx/to-backends", "add-headers", "to-clients"), s(func(s *table.Settings) {
			s.ServerTokens, s.BackendServerHeader, s.HideHeaders, s.Underscores, s.KeepInvalidHeaders, s.RequestID, s.OriginalURIHeader = true, true, []string{"X-A", "X-B"}, true, true, false, true
			s.SetHeaders = []table.ExpandedHeader{{Name: "X-To", Value: *text(table.VarHost)}}
			s.AddHeaders = []table.HeaderField{{Name: "X-From", Value: "minato"}}
		})},
		{"use-gzip", a("use-gzip", "true", "gzip-types", "text/css Text/HTML", "gzip-level", "9", "gzip-min-length", "1"), s(func(s *table.Settings) {
			s.Gzip = &table.Compression{Level: 9, MinLength: 1, Types: []string{"text/css", "text/html"}}
		})},
		{"enable-brotli: defaults", a("enable-brotli", "true"), s(func(s *table.Settings) {
			s.Brotli = &table.Compression{Level: 4, MinLength: 20, Types: mediaTypes(compressible)}
		})},
		{"brotli-*", a("enable-brotli", "true", "brotli-types", "font/otf", "brotli-level", "11", "brotli-min-length", "0"), s(func(s *table.Settings) {
			s.Brotli = &table.Compression{Level: 11, Types: []string{"font/otf", "text/html"}}
		})},
		{"opentelemetry", a("enable-opentelemetry", "true", "opentelemetry-trust-incoming-span", "false"), loc(func(l *table.Location) {
			yes, no := true, false
			l.Tracing, l.TracingTrust = &yes, &no
		})},
		{"block-*", a("block-cidrs", "10.0.0.1", "block-user-agents", "curl/7.1, ~*bot", "block-referers", "~x"), s(func(s *table.Settings) {
			s.BlockCIDRs = prefixes("10.0.0.1/32")
			s.BlockAgents = []*regex.Regexp{pattern(t, `^curl/7\.1$`, regex.Options{IgnoreCase: true}), pattern(t, "bot", regex.Options{IgnoreCase: true})}
			s.BlockReferers = []*regex.Regexp{pattern(t, "x", regex.Options{})}
		})},
		{"statuses and places", a("http-redirect-code", "301", "limit-req-status-code", "429", "limit-conn-status-code", "430", "no-tls-redirect-locations", "/a,/b", "no-auth-locations", "/c"), s(func(s *table.Settings) {
			s.RedirectCode, s.LimitRequestStatus, s.LimitConnStatus, s.NoTLSRedirect, s.NoAuth = 301, 429, 430, []string{"/a", "/b"}, []string{"/c"}
		})},
		{"what annotations may", a("allow-cross-namespace-resources", "true", "global-allowed-response-headers", "X-A,x-b", "annotation-value-word-blocklist", "a,b", "annotations-risk-level", "Critical"), func(b both) {
			b.D.MaxRisk = RiskCritical
			b.D.CrossNamespace, b.D.ResponseHeaders, b.D.Blocklist = true, []string{"x-a", "x-b"}, []string{"a", "b"}
		}},
		{"global-auth-*", a("global-auth-url", "http://a.test/$host", "global-auth-method", "POST", "global-auth-signin", "$scheme://$host/in", "global-auth-signin-redirect-param", "n", "global-auth-response-headers", "X-U",
			"global-auth-request-redirect", "http://$host/", "global-auth-cache-key", "$binary_remote_addr", "global-auth-cache-duration", "1m", "global-auth-always-set-cookie", "true"), func(b both) {
			e := newExternal(*text("http://a.test/", table.VarHost))
			e.Method, e.SignIn, e.RedirectParam, e.ResponseHeaders, e.AlwaysSetCookie = "POST", text(table.VarScheme, "://", table.VarHost, "/in"), "n", []string{"X-U"}, true
			e.RequestRedirect, e.CacheKey, e.CacheDurations = text("http://", table.VarHost, "/"), text(table.VarRemoteAddr), []table.CacheDuration{{Duration: time.Minute}}
			b.S.GlobalAuth = e
			loc(func(l *table.Location) { l.External = e })(b)
		}},
		{"logs", a("log-format-upstream", "$status\n$host", "log-format-escape-json", "true", "log-format-stream", "$protocol", "disable-access-log", "true", "disable-http-access-log", "true",
			"disable-stream-access-log", "true", "skip-access-log-urls", "/healthz,/x", "log-format-escape-none", "true"), s(func(s *table.Settings) {
			s.Log = table.LogSettings{Off: true, HTTPOff: true, StreamOff: true, Format: text(table.VarStatus, table.VarHost), JSON: true, EscapeNone: true, StreamFormat: text(table.VarProtocol), SkipPaths: []string{"/healthz", "/x"}}
		})},
		{"proxy-stream-*", a("proxy-stream-timeout", "1m", "proxy-stream-next-upstream-tries", "0", "proxy-stream-next-upstream-timeout", "5s"), s(func(s *table.Settings) {
			s.StreamTimeout, s.StreamTries, s.StreamRetryTime = time.Minute, 0, 5*time.Second
		})},
		{"proxy-stream-next-upstream: false", a("proxy-stream-next-upstream", "false"), s(func(s *table.Settings) { s.StreamTries = 1 })},
		{"proxy-*: for both classes", a("proxy-body-size", "5m", "proxy-connect-timeout", "1", "proxy-read-timeout", "2", "proxy-send-timeout", "3", "proxy-next-upstream", "http_500", "proxy-next-upstream-tries", "1",
			"proxy-next-upstream-timeout", "4", "retry-non-idempotent", "true", "proxy-request-buffering", "on", "proxy-buffering", "on", "proxy-buffers-number", "5", "proxy-buffer-size", "8k", "proxy-max-temp-file-size", "6",
			"client-body-buffer-size", "7k", "proxy-http-version", "1.0", "proxy-cookie-domain", "a b", "proxy-cookie-path", "off", "proxy-redirect-from", "/x", "proxy-redirect-to", "/y"), loc(func(l *table.Location) {
			l.BodySize, l.ConnectTimeout, l.ReadTimeout, l.SendTimeout = 5<<20, time.Second, 2*time.Second, 3*time.Second
			l.Retry = table.Retry{NonIdempotent: true, Statuses: []int{500}, Tries: 1, Total: 4 * time.Second}
			l.RequestBuffering, l.RequestBuffer, l.HTTP10 = true, 7<<10, true
			l.Buffering = table.Buffering{Enabled: true, HeaderSize: 8 << 10, Buffers: 5, Busy: 16 << 10, MaxTempFile: 6}
			l.CookieDomain, l.CookiePath = &table.Replacement{From: "a", To: "b"}, &table.Replacement{Off: true}
			l.ProxyRedirect = &table.Replacement{From: "/x", To: "/y"}
		})},
		{"the rest of what annotations can set too", a("custom-http-errors", "404,503", "disable-proxy-intercept-errors", "true", "whitelist-source-range", "10.0.0.0/8", "denylist-source-range", "10.0.0.1", "limit-rate", "1",
			"limit-rate-after", "2", "preserve-trailing-slash", "true", "use-port-in-redirects", "true", "relative-redirects", "true", "proxy-busy-buffers-size", "1k"), loc(func(l *table.Location) {
			l.CustomErrors, l.KeepErrors, l.Allow, l.Deny, l.Pace = []int{404, 503}, true, prefixes("10.0.0.0/8"), prefixes("10.0.0.1/32"), &table.Pace{Rate: 1024, After: 2048}
			l.PreserveTrailingSlash, l.UsePortInRedirects, l.RelativeRedirects, l.Buffering.Busy = true, true, true, 1<<10
		})},
		{"service-upstream, load-balance", a("service-upstream", "true", "load-balance", "ewma"), func(b both) {
			b.D.each(func(c *ClassDefaults) {
				c.Upstream = table.UpstreamOptions{ServiceUpstream: true, LoadBalance: table.EWMA}
			})
		}},
	} {
		t.Run(c.source, func(t *testing.T) {
			s0, d0, _ := readSettings(t)
			want := both{s0, d0}
			c.want(want)
			l := want.D.Minato.Location
			want.S.Location = &l
			s, d, f := readSettings(t, c.pairs...)
			if diff := sameSettings(want, both{s, d}); diff != "" || len(f) != 0 {
				t.Errorf("%s\n%s", diff, messages(f))
			}
		})
	}
}

func TestSettingsDefaults(t *testing.T) {
	s, d, f, refs := ReadSettings(nil, Flags{}, newCluster(t))
	if len(f) != 0 || len(refs) != 0 || s.RedirectCode != 308 || !s.HSTS.Enabled || s.HSTS.AllClasses || s.HSTS.MaxAge != 31536000 || s.TLS.Min != tls.VersionTLS12 || s.KeepAlive != 75*time.Second ||
		s.LargeHeaderSize != 8<<10 || s.UpstreamIdle != 320 || s.Gzip != nil {
		t.Errorf("%+v, %s", s, messages(f))
	}
	if d.CrossNamespace || d.Passthrough || !d.Nginx.Location.SSLRedirect || d.Minato.Location.SSLRedirect {
		t.Errorf("%+v", d)
	}
}

func TestFlags(t *testing.T) {
	s, d, f, _ := ReadSettings(nil, Flags{AnnotationsPrefix: "p.test", DefaultBackend: "a/b", DefaultCertificate: "c/d", Passthrough: true, NoCatchAll: true}, newCluster(t))
	if len(f) != 0 || d.Prefix != "p.test" || !d.Passthrough || !s.Passthrough || !s.NoCatchAll || *s.DefaultBackend != (table.BackendRef{Namespace: "a", Service: "b"}) || s.DefaultCertificate != name("c", "d") {
		t.Errorf("%+v %+v %s", s, d, messages(f))
	}
	if _, _, f, _ := ReadSettings(nil, Flags{DefaultBackend: "b", DefaultCertificate: "c/"}, newCluster(t)); len(f) != 2 || f[0].Field != "--default-backend-service" {
		t.Errorf("flags that can't be used: %s", messages(f))
	}
}

// Of lists of addresses what can't be read is left out, and never opens more than is said.
func TestListsLeaveOut(t *testing.T) {
	s, d, f := readSettings(t, "proxy-real-ip-cidr", "nonsense", "whitelist-source-range", "nonsense", "denylist-source-range", "nonsense,10.0.0.1", "block-cidrs", "10.0.0.2,nonsense")
	if s.TrustedProxies == nil || len(s.TrustedProxies) != 0 {
		t.Errorf("believed: %v, want nobody", s.TrustedProxies)
	}
	if l := d.Nginx.Location; l.Allow == nil || len(l.Allow) != 0 || !cmp.Equal(l.Deny, prefixes("10.0.0.1/32"), plain()...) {
		t.Errorf("allowed %v, denied %v", l.Allow, l.Deny)
	}
	if !cmp.Equal(s.BlockCIDRs, []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}, plain()...) || len(f) != 4 {
		t.Errorf("blocked %v, %s", s.BlockCIDRs, messages(f))
	}
}

func TestBrokenGlobalAuthCloses(t *testing.T) {
	for _, pairs := range [][]string{
		a("global-auth-url", "nonsense"),
		a("global-auth-url", "http://a.test", "global-auth-cache-duration", "never"),
		a("global-auth-url", "http://a.test", "global-auth-signin", "$nope"),
		a("global-auth-url", "http://a.test", "global-auth-response-headers", "a b"),
	} {
		s, d, f := readSettings(t, pairs...)
		if d.GlobalFault == "" || s.GlobalAuth != nil || len(f) != 1 {
			t.Errorf("%v: fault %q, %s", pairs, d.GlobalFault, messages(f))
		}
	}
}

func TestUnknownKeysAndSnippets(t *testing.T) {
	_, _, f := readSettings(t, "proxy-body-sise", "1m", "http-snippet", "gzip on;", "allow-snippet-annotations", "false", "enable-modsecurity", "true")
	if len(f) != 3 || f[0].Field != "enable-modsecurity" || !strings.Contains(f[1].Message, "use-gzip") || f[2].Reason != ReasonSettingUnknown {
		t.Errorf("%s", messages(f))
	}
}

// tcp-services and udp-services, as ingress-nginx's documentation has their values.
func TestReadStreams(t *testing.T) {
	tcp := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "tcp-services"}, Data: map[string]string{
		"9000": "default/example-go:8080", "2222": "git/ssh:ssh:PROXY", "2223": "git/ssh:22::PROXY", "2224": "git/ssh:22:PROXY:PROXY",
		"x": "a/b:1", "70000": "a/b:1", "1": "b:1", "2": "a/b", "3": "a/b:1:TLS", "4": "a/b:1:PROXY:PROXY:PROXY", "5": "a/b:0",
	}}
	udp := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ingress-nginx", Name: "udp-services"}, Data: map[string]string{"53": "kube-system/kube-dns:53", "54": "a/b:1:PROXY"}}
	got, f := ReadStreams(tcp, udp)
	want := []table.Stream{
		{Port: 2222, Backend: table.BackendRef{Namespace: "git", Service: "ssh", Port: "ssh"}, DecodeProxy: true},
		{Port: 2223, Backend: table.BackendRef{Namespace: "git", Service: "ssh", Port: "22"}, EncodeProxy: true},
		{Port: 2224, Backend: table.BackendRef{Namespace: "git", Service: "ssh", Port: "22"}, DecodeProxy: true, EncodeProxy: true},
		{Port: 9000, Backend: table.BackendRef{Namespace: "default", Service: "example-go", Port: "8080"}},
		{Port: 53, UDP: true, Backend: table.BackendRef{Namespace: "kube-system", Service: "kube-dns", Port: "53"}},
	}
	if d := cmp.Diff(want, got); d != "" || len(f) != 8 {
		t.Errorf("%s\n%d findings: %s", d, len(f), messages(f))
	}
	for _, x := range f {
		if x.Kind != "ConfigMap" || x.Ingress.Namespace != "ingress-nginx" || !x.Warning {
			t.Errorf("%+v", x)
		}
	}
	if got, f := ReadStreams(nil, nil); len(got)+len(f) != 0 {
		t.Error(got, f)
	}
}

func FuzzSettings(f *testing.F) {
	all := knownKeys().all
	for i, k := range all {
		f.Add(uint16(i), k.Example)
	}
	objects := newCluster(f)
	f.Fuzz(func(t *testing.T, i uint16, value string) {
		k := all[int(i)%len(all)]
		_, _, findings, _ := ReadSettings(settingsMap(append(settingsCompanions(k.Name), k.Name, value)...), Flags{}, objects)
		for _, x := range findings {
			if x.Message == "" || x.Field == "" {
				t.Fatalf("%s=%q: %+v", k.Name, value, x)
			}
		}
		ReadStreams(settingsMap(value, k.Example), settingsMap("53", value))
	})
}
