package filter

import (
	"compress/gzip"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// The filters of answers in the proxy, from annotations to what clients and backends get: one request each.
func TestAnswersThroughTheProxy(t *testing.T) {
	long := strings.Repeat("a word, ", 200)
	b := newBed(t).set("use-gzip", "true").set("enable-opentelemetry", "true").
		on("sticky.test /shop", "affinity", "cookie", "session-cookie-name", "route", "session-cookie-samesite", "Lax").
		on("plain.test /").
		on("back.test /", "proxy-redirect-from", "http://internal/", "proxy-redirect-to", "/", "proxy-cookie-path", "/app/ /", "proxy-cookie-domain", "internal back.test",
			"enable-cors", "true", "cors-allow-origin", "https://a.test", "opentelemetry-trust-incoming-span", "false")
	address := b.served(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Saw-Trace", r.Header.Get("Traceparent"))
		w.Header().Set("Location", "http://internal/next")
		w.Header().Set("Set-Cookie", "s=1; Path=/app/x; Domain=internal")
		w.Header().Set("Access-Control-Allow-Origin", "*")
		w.Header().Set("Content-Type", "text/plain")
		w.Header().Set("ETag", `"v1"`)
		if strings.HasSuffix(r.URL.Path, "/gone") {
			w.WriteHeader(404)
		}
		_, _ = io.WriteString(w, long)
	})
	const sets = `route=[0-9a-f]{32}\|[0-9a-f]{32}; Path=/shop; HttpOnly; SameSite=Lax`
	const in = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, c := range []struct {
		line   string
		fields []string
		zipped bool
		header map[string]string // patterns
	}{
		{"GET sticky.test /shop/a", nil, false, map[string]string{"Set-Cookie": `^s=1; Path=/app/x; Domain=internal\|\|` + sets + "$", "Vary": "^Accept-Encoding$", "ETag": `^"v1"$`}},
		{"GET sticky.test /shop/a", []string{"Cookie: route=" + strings.Repeat("a", 32) + "|x"}, false, map[string]string{"Set-Cookie": "^s=1; Path=/app/x; Domain=internal$"}},
		{"GET plain.test /", []string{"Accept-Encoding: gzip", "Traceparent: " + in}, true, map[string]string{
			"Content-Encoding": "^gzip$", "ETag": `^W/"v1"$`, "Content-Length": "^$", "Location": "^http://internal/next$", "Access-Control-Allow-Origin": `^\*$`,
			"X-Saw-Trace": "^00-0af7651916cd43dd8448eb211c80319c-[0-9a-f]{16}-01$",
		}},
		{"GET back.test /gone", []string{"Accept-Encoding: gzip", "Origin: https://a.test", "Traceparent: " + in}, true, map[string]string{
			"Location": "^/next$", "Set-Cookie": "^s=1; Path=/x; Domain=back.test$", "Access-Control-Allow-Origin": "^https://a.test$",
			"Vary": `^Origin\|\|Accept-Encoding$`, "X-Saw-Trace": "^00-[0-9a-f]{32}-[0-9a-f]{16}-01$",
		}},
		{"GET back.test /", []string{"Origin: https://b.test"}, false, map[string]string{"Access-Control-Allow-Origin": `^\*$`, "Access-Control-Max-Age": "^$"}},
	} {
		resp, _ := raw(t, address, c.line, c.fields...)
		for name, want := range c.header {
			if got := strings.Join(resp.Header[http.CanonicalHeaderKey(name)], "||"); !regexp.MustCompile(want).MatchString(got) {
				t.Errorf("%s %q: %s is %q, not %s", c.line, c.fields, name, got, want)
			}
		}
		if trace := resp.Header.Get("X-Saw-Trace"); strings.Contains(trace, "b7ad6b7169203331") || strings.HasPrefix(c.line, "GET back") && strings.Contains(trace, "0af7651916cd43dd") {
			t.Errorf("%s: the backend saw %s", c.line, trace)
		}
		body := io.Reader(resp.Body)
		if c.zipped {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Errorf("%s: %v", c.line, err)
				continue
			}
			body = z
		}
		if got, err := io.ReadAll(body); string(got) != long || err != nil {
			t.Errorf("%s: the body is %.40q of %d, %v", c.line, got, len(got), err)
		}
	}
}
