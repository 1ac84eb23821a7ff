package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// refusing is an address that refuses connections.
func refusing(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func loc(change func(*table.Location)) func(*table.Ingress) {
	return func(i *table.Ingress) { change(&i.Options.Location) }
}

func TestRetries(t *testing.T) {
	r := start(t, tableOf(settings(),
		ingress("a", nil, "a.example / web"),
		ingress("once", loc(func(l *table.Location) { l.Retry.Tries = 1 }), "once.example / web"),
		ingress("any", loc(func(l *table.Location) { l.Retry.NonIdempotent = true }), "any.example / web"),
		ingress("none", loc(func(l *table.Location) { l.Retry = table.Retry{Tries: 3} }), "none.example / web"),
		ingress("status", loc(func(l *table.Location) { l.Retry.Statuses = []int{500} }), "status.example / web"),
	), nil)
	good := serve(t, echo)
	failing := serve(t, func(w http.ResponseWriter, q *http.Request) { w.WriteHeader(500) })
	cut := rawBackend(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4<<10)) }) // closes after the request
	garbage := rawBackend(t, func(c net.Conn) { _, _ = c.Read(make([]byte, 4<<10)); fmt.Fprint(c, "SSH-2.0-x\r\n") })
	for _, c := range []struct {
		name, method, host string
		endpoints          []string
		body               string
		want               int
		attempts           string // statuses, the last ones of the record
	}{
		{"connections refused", "GET", "a.example", []string{refusing(t), refusing(t), good}, "", 200, "200 502 502 200"},
		{"a POST whose connection is refused was not sent", "POST", "a.example", []string{refusing(t), refusing(t), good}, "x", 200, "200 502 502 200"},
		{"three tries and no more", "GET", "a.example", []string{refusing(t), refusing(t), refusing(t), refusing(t)}, "", 502, "502 502 502 502"},
		{"an endpoint that closes", "GET", "a.example", []string{cut, cut, good}, "", 200, "200 502 502 200"},
		{"a PUT with its body", "PUT", "a.example", []string{cut, cut, good}, "body", 200, "200 502 502 200"},
		{"a POST that was sent", "POST", "a.example", []string{cut}, "x", 502, "502 502"},
		{"a PATCH that was sent", "PATCH", "a.example", []string{cut}, "x", 502, "502 502"},
		{"a LOCK that was sent", "LOCK", "a.example", []string{cut}, "x", 502, "502 502"},
		{"non_idempotent", "POST", "any.example", []string{cut, cut, good}, "x", 200, "200 502 502 200"},
		{"one try", "GET", "once.example", []string{refusing(t)}, "", 502, "502 502"},
		{"off", "GET", "none.example", []string{refusing(t), refusing(t)}, "", 502, "502 502"},
		{"no HTTP", "GET", "a.example", []string{garbage}, "", 502, "502 502"},
		{"http_500", "GET", "status.example", []string{failing, failing, good}, "", 200, "200 500 500 200"},
		{"http_500 everywhere", "GET", "status.example", []string{failing, failing, failing}, "", 500, "500 500 500 500"},
		{"http_500 of a POST", "POST", "status.example", []string{failing}, "x", 500, "500 500"},
	} {
		t.Run(c.name, func(t *testing.T) {
			// The endpoints in their order, whatever the round is at.
			r.SetHooks(exchange.Hooks{Pick: func(x *exchange.Exchange, all exchange.Candidates) int {
				for i := range all.Len() {
					if !all.Tried(i) {
						return i
					}
				}
				return 0
			}})
			r.backend("web", dedup(t, c.endpoints)...)
			r.records.take()
			var body io.Reader
			if c.body != "" {
				body = strings.NewReader(c.body)
			}
			resp, text := r.do(c.method, c.host, "/", body)
			if resp.StatusCode != c.want || c.want == 200 && !strings.Contains(text, fmt.Sprintf("body %d,", len(c.body))) {
				t.Errorf("%d, want %d: %s", resp.StatusCode, c.want, text)
			}
			var got []string
			eventually(t, "the record", func() bool { got = append(got, r.records.take()...); return len(got) > 0 })
			if !strings.HasSuffix(got[0], c.attempts) {
				t.Errorf("attempts %q, want …%q", got[0], c.attempts)
			}
		})
	}
}

// dedup gives endpoints that are there twice another address: each has to be one of its own.
func dedup(t testing.TB, all []string) []string {
	t.Helper()
	var out []string
	for _, a := range all {
		if slices.Contains(out, a) {
			a = forwardTo(t, a)
		}
		out = append(out, a)
	}
	return out
}

// forwardTo listens and passes everything to the address.
func forwardTo(t testing.TB, address string) string {
	t.Helper()
	return rawBackend(t, func(c net.Conn) {
		to, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer to.Close()
		go func() { _, _ = io.Copy(to, c) }()
		_, _ = io.Copy(c, to)
	})
}

// TestStaleConnections: an endpoint that closes kept connections costs no request, whatever its method.
func TestStaleConnections(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	var connections atomic.Int32
	r.backend("web", rawBackend(t, func(c net.Conn) {
		connections.Add(1)
		rd := bufio.NewReader(c)
		q, err := http.ReadRequest(rd)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, q.Body)
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok") // and closes, without having said so
	}))
	for i := range 40 {
		method := []string{"GET", "POST"}[i%2]
		if i%4 >= 2 {
			<-time.After(15 * time.Millisecond) // once with, once without time to notice
		}
		if method == "POST" {
			// A POST that was sent is not sent again, so that the connection has to be seen closed before.
			<-time.After(5 * time.Millisecond)
		}
		if resp, body := r.do(method, "a.example", "/", nil); resp.StatusCode != 200 || body != "ok" {
			t.Fatalf("request %d: %d %s", i, resp.StatusCode, body)
		}
	}
	if n := connections.Load(); n != 40 {
		t.Errorf("%d connections for 40 requests", n)
	}
}

func TestTimeouts(t *testing.T) {
	r := start(t, tableOf(settings(),
		ingress("a", loc(func(l *table.Location) { l.ReadTimeout = 300 * time.Millisecond; l.Retry.Tries = 1 }), "a.example / web"),
		ingress("b", loc(func(l *table.Location) { l.ReadTimeout = 300 * time.Millisecond }), "b.example / web"),
		ingress("c", loc(func(l *table.Location) { l.ConnectTimeout = 200 * time.Millisecond; l.Retry.Tries = 1 }), "c.example / dead"),
	), func(c *Config) {
		c.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "192.0.2.1:") {
				<-ctx.Done() // an address that does not answer
				return nil, ctx.Err()
			}
			var d net.Dialer
			return d.DialContext(ctx, network, address)
		}
	})
	var asked atomic.Int32
	silent := func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4<<10))
		asked.Add(1)
		_, _ = c.Read(make([]byte, 1))
	}
	r.backend("web", rawBackend(t, silent), rawBackend(t, silent), rawBackend(t, silent))
	r.backend("dead", "192.0.2.1:80")
	for host, want := range map[string]struct {
		method string
		status int
		asked  int32
	}{"a.example": {"GET", 504, 1}, "b.example": {"GET", 504, 3}, "c.example": {"GET", 504, 0}} {
		asked.Store(0)
		began := time.Now()
		resp, _ := r.do(want.method, host, "/", nil)
		if resp.StatusCode != want.status || asked.Load() != want.asked || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %d after %v and %d endpoints", host, resp.StatusCode, time.Since(began), asked.Load())
		}
	}
	// An answer that stops in its middle cannot be completed: the client must see that.
	r.backend("web", rawBackend(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 4<<10))
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
		_, _ = c.Read(make([]byte, 1))
	}))
	resp := r.ask("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	if b, err := io.ReadAll(resp.Body); err == nil || string(b) != "half" {
		t.Errorf("half an answer: %q, %v", b, err)
	}
}

// TestFailingEndpointsAreTriedLast: an endpoint that refused a connection is left alone for a while.
func TestFailingEndpointsAreTriedLast(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", refusing(t), serve(t, echo))
	failed := 0
	for range 20 {
		if resp, _ := r.get("a.example", "/"); resp.StatusCode != 200 {
			t.Fatal(resp.Status)
		}
	}
	var records []string
	eventually(t, "the records", func() bool { records = append(records, r.records.take()...); return len(records) == 20 })
	for _, rec := range records {
		if strings.Contains(rec, " 502") {
			failed++
		}
	}
	if failed > 1 {
		t.Errorf("%d of 20 requests asked the endpoint that refuses connections", failed)
	}
}

// TestClientGone: a request whose client has gone is ended at the endpoint, and told as 499.
func TestClientGone(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	asked, ended := make(chan struct{}, 2), make(chan struct{}, 2)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		asked <- struct{}{}
		<-q.Context().Done()
		ended <- struct{}{}
	}))
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	<-asked
	c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	req, _ := http.NewRequestWithContext(ctx, "GET", "https://a.example/", nil)
	if _, err := r.h2Client(nil).Do(req); err == nil {
		t.Error("no answer was to come")
	}
	for range 2 {
		select {
		case <-ended:
		case <-time.After(8 * time.Second):
			t.Fatal("the endpoint goes on")
		}
	}
	var all []string
	eventually(t, "both records", func() bool { all = append(all, r.records.take()...); return len(all) == 2 })
	for _, rec := range all {
		if !strings.Contains(rec, " 499") {
			t.Errorf("record %q", rec)
		}
	}
}

// TestReplace: an answer that is replaced by another backend's (custom-http-errors).
func TestReplace(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web"), ingress("b", nil, "b.example / dead")), nil)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) { http.Error(w, "mine", 404) }))
	r.backend("dead", refusing(t))
	r.backend("errors", serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.WriteHeader(418)
		fmt.Fprintf(w, "%s %s %s", q.Method, q.RequestURI, q.Header.Get("X-Code"))
	}))
	r.SetHooks(exchange.Hooks{Replace: func(x *exchange.Exchange, status int) *table.BackendRef {
		_ = x.Forward.SetName("X-Code", fmt.Sprint(status))
		ref := refOf("errors")
		return &ref
	}})
	for host, want := range map[string]string{"a.example": "POST / 404", "b.example": "POST / 502"} {
		for range 2 {
			if resp, body := r.do("POST", host, "/path", strings.NewReader("x")); resp.StatusCode != 418 || body != want {
				t.Errorf("%s: %d %q, want 418 %q", host, resp.StatusCode, body, want)
			}
		}
	}
}
