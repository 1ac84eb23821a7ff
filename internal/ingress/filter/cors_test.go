package filter

import (
	"maps"
	"slices"
	"testing"
)

// enable-cors, cors-allow-origin, portable assertion 32.
func TestPreflight(t *testing.T) {
	for _, c := range []struct{ origins, origin, want string }{
		{"", "https://any.test", "*"},
		{"", "", "*"},
		{"https://a.test", "https://a.test", "https://a.test"},
		{"https://a.test", "HTTPS://A.test", "HTTPS://A.test"},
		{"https://a.test", "https://a.test:8443", "-"},
		{"https://a.test:8443", "https://a.test:8443", "https://a.test:8443"},
		{"https://a.test", "https://b.test", "-"},
		{"https://a.test", "http://a.test", "-"},
		{"https://a.test", "", "-"},
		{"https://a.test", "null", "-"},
		{"https://foo.bar", "https://fooxbar", "-"},
		{"https://a.test", "https://evil.test/https://a.test", "-"},
		{"https://a.test", "https://a.test.evil.test", "-"},
		{"https://*.a.test", "https://x.a.test", "https://x.a.test"},
		{"https://*.a.test", "https://x.y.a.test", "-"},
		{"https://*.a.test", "https://a.test", "-"},
		{"https://*.a.test", "https://.a.test", "-"},
		{"https://*.a.test", "https://evil.test#.a.test", "-"},
		{"https://*.a.test:8080", "https://x.a.test:8080", "https://x.a.test:8080"},
		{"test://localhost", "test://localhost", "test://localhost"},
		{"https://a.test, https://*.b.test", "https://c.b.test", "https://c.b.test"},
		{"https://a.test, *", "https://c.test", "*"},
	} {
		pairs := []string{"enable-cors", "true", "auth-type", "basic", "auth-secret", "users"}
		if c.origins != "" {
			pairs = append(pairs, "cors-allow-origin", c.origins)
		}
		b := newBed(t).on("h.test /", pairs...)
		b.secrets["users"] = map[string]string{"auth": "ann:{PLAIN}pw"}
		var fields []string
		if c.origin != "" {
			fields = []string{"Origin: " + c.origin}
		}
		got := b.ask("OPTIONS", "http://h.test/", fields...)
		if c.want == "-" {
			// It goes on: here, to credentials.
			if got.status != 401 || got.header.Get("Access-Control-Allow-Origin") != "" {
				t.Errorf("%q, %q: %d %v", c.origins, c.origin, got.status, got.header)
			}
			continue
		}
		if got.status != 204 || got.header.Get("Access-Control-Allow-Origin") != c.want {
			t.Errorf("%q, %q: %d %v, want 204 %q", c.origins, c.origin, got.status, got.header, c.want)
		}
		if got := b.ask("GET", "http://h.test/", fields...); got.status != 401 {
			t.Errorf("GET: %d", got.status)
		}
	}
}

func TestPreflightFields(t *testing.T) {
	got := newBed(t).on("h.test /", "enable-cors", "true").ask("OPTIONS", "http://h.test/", "Origin: https://a.test")
	want := map[string]string{
		"Access-Control-Allow-Origin": "*", "Access-Control-Allow-Credentials": "true",
		"Access-Control-Allow-Methods": "GET, PUT, POST, DELETE, PATCH, OPTIONS",
		"Access-Control-Allow-Headers": "DNT,Keep-Alive,User-Agent,X-Requested-With,If-Modified-Since,Cache-Control,Content-Type,Range,Authorization",
		"Access-Control-Max-Age":       "1728000",
	}
	if len(got.header) != len(want) {
		t.Errorf("fields %v", slices.Sorted(maps.Keys(got.header)))
	}
	for name, v := range want {
		if got.header.Get(name) != v {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), v)
		}
	}
	got = newBed(t).on("h.test /", "enable-cors", "true", "cors-allow-origin", "https://a.test", "cors-allow-credentials", "false", "cors-allow-methods", "GET",
		"cors-allow-headers", "X-A", "cors-expose-headers", "X-B, X-C", "cors-max-age", "600", "permanent-redirect", "https://else.test").
		ask("OPTIONS", "http://h.test/", "Origin: https://a.test")
	want = map[string]string{
		"Access-Control-Allow-Origin": "https://a.test", "Access-Control-Allow-Methods": "GET", "Access-Control-Allow-Headers": "X-A",
		"Access-Control-Expose-Headers": "X-B, X-C", "Access-Control-Max-Age": "600", "Vary": "Origin",
	}
	if got.status != 204 || len(got.header) != len(want) {
		t.Errorf("%d, fields %v", got.status, got.header)
	}
	for name, v := range want {
		if got.header.Get(name) != v {
			t.Errorf("%s: %q, want %q", name, got.header.Get(name), v)
		}
	}
	// Two origins are none.
	newBed(t).on("h.test /", "enable-cors", "true", "cors-allow-origin", "https://a.test", "permanent-redirect", "https://else.test").
		ask("OPTIONS", "http://h.test/", "Origin: https://a.test", "Origin: https://evil.test").want(t, 301, "https://else.test")
}
