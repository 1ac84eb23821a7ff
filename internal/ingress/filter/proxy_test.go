package filter

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"minato/internal/ingress/proxy"
	"minato/internal/ingress/table"
)

// served runs a proxy with the bed's table and filters before a backend, and returns its address.
func (b *bed) served(backend http.HandlerFunc) string {
	b.t.Helper()
	b.cfg.Now = nil
	b.build()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.t.Fatal(err)
	}
	srv, err := proxy.New(proxy.Config{Logger: b.cfg.Logger, Listeners: []proxy.Listener{{Listener: l, Port: 80}}, TempDir: b.t.TempDir()})
	if err != nil {
		b.t.Fatal(err)
	}
	s := httptest.NewServer(backend)
	srv.SetTable(b.table)
	srv.SetHooks(b.filters.Hooks())
	srv.SetEndpoints(table.BackendRef{Namespace: "shop", Service: "web", Port: "80"}, []proxy.Endpoint{{Address: netip.MustParseAddrPort(s.Listener.Addr().String())}})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- srv.Run(ctx) }()
	b.t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			b.t.Errorf("Run: %v", err)
		}
		s.Close()
	})
	return l.Addr().String()
}

// raw sends a request of HTTP/1.1 as it is and returns the answer, and its header as text.
func raw(t testing.TB, address, line string, fields ...string) (*http.Response, string) {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	method, rest, _ := strings.Cut(line, " ")
	host, target, _ := strings.Cut(rest, " ")
	text := method + " " + target + " HTTP/1.1\r\nHost: " + host + "\r\nConnection: close\r\n"
	for _, f := range fields {
		text += f + "\r\n"
	}
	if _, err := io.WriteString(c, text+"\r\n"); err != nil {
		t.Fatal(err)
	}
	all, err := io.ReadAll(c)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(strings.NewReader(string(all))), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("answer to %q: %v", line, err)
	}
	head, _, _ := strings.Cut(string(all), "\r\n\r\n")
	return resp, head
}

// The filters in the proxy: one request each of what they do.
func TestThroughTheProxy(t *testing.T) {
	g := newGuard(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Cookie") != "s=1" {
			w.WriteHeader(401)
			return
		}
		w.Header().Set("X-User", "ann")
		w.Header().Set("Set-Cookie", "auth=2")
	})
	b := newBed(t).set("block-user-agents", "~*bot").
		on("rw.test /app(/|$)([^z]*)", "rewrite-target", "/$2").
		on("basic.test /", "auth-type", "basic", "auth-secret", "users", "enable-cors", "true", "cors-allow-origin", "https://a.test").
		on("ext.test /", "auth-url", g.URL, "auth-response-headers", "X-User", "auth-signin", "https://login.test/").
		on("tls.test /", "tls", "tls.test", "ssl-redirect", "true").on("www.test /", "from-to-www-redirect", "true").on("root.test /", "app-root", "/app")
	b.secrets["users"] = map[string]string{"auth": "ann:{PLAIN}pw"}
	address := b.served(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Saw", r.RequestURI)
		w.Header().Set("X-Saw-User", strings.Join(r.Header["X-User"], "|"))
		w.Header().Set("X-Saw-Authorization", r.Header.Get("Authorization"))
	})
	for _, c := range []struct {
		line   string
		fields []string
		status int
		header map[string]string
	}{
		{"GET rw.test /app/%0d%0aX-Evil:%201?q=%0d", nil, 200, map[string]string{"X-Saw": "/%0D%0AX-Evil:%201?q=%0d", "X-Evil": ""}},
		{"GET rw.test /app/x", []string{"User-Agent: Robot"}, 403, nil},
		{"GET basic.test /", []string{"Origin: https://a.test"}, 401, map[string]string{"Access-Control-Allow-Origin": "https://a.test", "WWW-Authenticate": `Basic realm="Authentication Required"`}},
		{"OPTIONS basic.test /", []string{"Origin: https://a.test"}, 204, map[string]string{"Access-Control-Allow-Origin": "https://a.test", "X-Saw": ""}},
		{"OPTIONS basic.test /", []string{"Origin: https://b.test", basicField("ann:pw")}, 200, map[string]string{"Access-Control-Allow-Origin": "", "X-Saw": "/"}},
		{"GET basic.test /", []string{basicField("ann:pw")}, 200, map[string]string{"X-Saw-Authorization": ""}},
		{"GET ext.test /a?b", nil, 302, map[string]string{"Location": "https://login.test/?rd=http://ext.test%2Fa%3Fb"}},
		{"GET ext.test /a?b", []string{"Cookie: s=1", "X-User: root"}, 200, map[string]string{"X-Saw-User": "ann", "Set-Cookie": "auth=2"}},
		{"GET tls.test /a/", nil, 308, map[string]string{"Location": "https://tls.test/a"}},
		{"GET test /foo", nil, 308, map[string]string{"Location": "http://www.test:80/foo"}},
		{"GET root.test /", nil, 302, map[string]string{"Location": "http://root.test/app"}},
	} {
		resp, head := raw(t, address, c.line, c.fields...)
		if resp.StatusCode != c.status {
			t.Errorf("%s %q: %d, want %d", c.line, c.fields, resp.StatusCode, c.status)
		}
		for name, want := range c.header {
			if got := strings.Join(resp.Header[http.CanonicalHeaderKey(name)], "|"); got != want {
				t.Errorf("%s %q: %s is %q, want %q", c.line, c.fields, name, got, want)
			}
		}
		if strings.Contains(head, "\nX-Evil") {
			t.Errorf("%s: a field was injected: %q", c.line, head)
		}
	}
}

// limit-connections, portable assertion 36: of 20 slow requests at a time, 8 are served.
func TestConnectionsThroughTheProxy(t *testing.T) {
	release := make(chan struct{})
	b := newBed(t).on("h.test /", "limit-connections", "8")
	address := b.served(func(http.ResponseWriter, *http.Request) { <-release })
	statuses := make(chan int, 20)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			resp, _ := raw(t, address, "GET h.test /")
			statuses <- resp.StatusCode
		})
	}
	count := map[int]int{}
	for range 12 {
		count[<-statuses]++
	}
	close(release)
	wg.Wait()
	for range 8 {
		count[<-statuses]++
	}
	if count[200] != 8 || count[503] != 12 {
		t.Errorf("%v, want 8 × 200 and 12 × 503", count)
	}
	deadline := time.Now().Add(10 * time.Second)
	for {
		if resp, _ := raw(t, address, "GET h.test /"); resp.StatusCode == 200 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("requests that have ended are still counted")
		}
		time.Sleep(time.Millisecond)
	}
}
