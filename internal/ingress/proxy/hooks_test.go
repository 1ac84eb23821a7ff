package proxy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// doubler is an Encoder that writes everything twice, and holds it back until it is flushed.
type doubler struct {
	w       io.Writer
	held    bytes.Buffer
	closed  *atomic.Int32
	aborted *atomic.Int32
}

func (d *doubler) Write(p []byte) (int, error) { d.held.Write(p); d.held.Write(p); return len(p), nil }
func (d *doubler) Flush() error                { _, err := d.held.WriteTo(d.w); return err }
func (d *doubler) Close() error                { d.closed.Add(1); _, _ = d.held.WriteString("."); return d.Flush() }
func (d *doubler) Abort()                      { d.aborted.Add(1) }

// TestEncode: a filter may change the body of an endpoint's answer; the client is told no length. It comes as it is sent.
func TestEncode(t *testing.T) {
	buffered := func(i *table.Ingress) { i.Options.Location.Buffering.Enabled = true }
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web"), ingress("b", buffered, "b.example / web")), nil)
	more := make(chan bool)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/empty":
		case "/fixed":
			w.Header().Set("Content-Length", "3")
			_, _ = io.WriteString(w, "abc")
		case "/stream":
			_, _ = io.WriteString(w, "a")
			w.(http.Flusher).Flush()
			<-more
			_, _ = io.WriteString(w, "b")
		case "/break":
			w.Header().Set("Content-Length", "10")
			_, _ = io.WriteString(w, "abc")
		case "/large":
			_, _ = w.Write(bytes.Repeat([]byte("x"), 4<<20))
		}
	}))
	var closed, aborted atomic.Int32
	lengths := make(chan int64, 100)
	r.SetHooks(exchange.Hooks{Encode: func(x *exchange.Exchange, length int64, w io.Writer) exchange.Encoder {
		lengths <- length
		if x.Query == "plain" {
			return nil
		}
		_ = x.Response.AddName("Content-Encoding", "twice")
		return &doubler{w: w, closed: &closed, aborted: &aborted}
	}})
	for _, host := range []string{"a.example", "b.example"} {
		resp, body := r.get(host, "/fixed")
		if body != "abcabc." || resp.ContentLength != -1 || resp.Header.Get("Content-Encoding") != "twice" || <-lengths != 3 {
			t.Errorf("%s: %q of %d, %v", host, body, resp.ContentLength, resp.Header)
		}
		if resp, body := r.get(host, "/fixed?plain"); body != "abc" || resp.ContentLength != 3 || <-lengths != 3 {
			t.Errorf("%s: as it is: %q of %d", host, body, resp.ContentLength)
		}
		if resp, body := r.get(host, "/empty"); body != "" || resp.ContentLength != 0 || len(lengths) != 0 {
			t.Errorf("%s: an answer without body: %q of %d", host, body, resp.ContentLength)
		}
		if resp, _ := r.do("HEAD", host, "/fixed", nil); resp.ContentLength != 3 || len(lengths) != 0 {
			t.Errorf("%s: HEAD: %d", host, resp.ContentLength)
		}
		if _, body := r.get(host, "/large"); len(body) != 8<<20+1 || <-lengths != -1 {
			t.Errorf("%s: of 4 MiB twice, %d bytes came", host, len(body))
		}
	}
	resp := r.ask("GET /stream HTTP/1.1\r\nHost: a.example\r\n\r\n")
	first := make([]byte, 2)
	if _, err := io.ReadFull(resp.Body, first); err != nil || string(first) != "aa" {
		t.Errorf("what was sent first came as %q, %v", first, err)
	}
	more <- true
	if rest, err := io.ReadAll(resp.Body); string(rest) != "bb." || err != nil {
		t.Errorf("the rest came as %q, %v", rest, err)
	}
	if n := aborted.Load(); n != 0 {
		t.Errorf("%d Encoders were aborted", n)
	}
	was := closed.Load()
	resp = r.ask("GET /break HTTP/1.1\r\nHost: a.example\r\n\r\n")
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("an answer that breaks off ends with %v", err)
	}
	eventually(t, "the Encoder is aborted", func() bool { return aborted.Load() == 1 })
	if closed.Load() != was {
		t.Error("the Encoder of an answer that broke off was closed")
	}
}

// TestStandIn: Replace says who answers for a backend without endpoints, and for which path; without the hook it is
// default-backend. A stand-in's own answer is not replaced again.
func TestStandIn(t *testing.T) {
	errorsBackend := func(i *table.Ingress) {
		i.Options.Location.ErrorsBackend = &table.BackendRef{Namespace: "d", Service: "errors", Port: "80"}
	}
	r := start(t, tableOf(settings(), ingress("a", errorsBackend, "a.example / web"), ingress("b", nil, "b.example / web")), nil)
	r.backend("errors", serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.WriteHeader(404)
		_, _ = io.WriteString(w, q.URL.Path+" "+q.Header.Get("X-Code"))
	}))
	if resp, body := r.get("a.example", "/x"); resp.StatusCode != 404 || body != "/x " {
		t.Errorf("without the hook: %d %s", resp.StatusCode, body)
	}
	var asked atomic.Int32
	r.SetHooks(exchange.Hooks{Replace: func(x *exchange.Exchange, status int) *table.BackendRef {
		asked.Add(1)
		if x.Host == "b.example" && x.Query != "cut" || status != 503 || len(x.Attempts) > 0 || x.FromBackend {
			return nil
		}
		if x.Query == "cut" {
			x.RewrittenTarget = "/"
		}
		_ = x.Forward.SetName("X-Code", "503")
		return &table.BackendRef{Namespace: "d", Service: "errors", Port: "80"}
	}})
	if resp, body := r.get("a.example", "/x"); resp.StatusCode != 404 || body != "/x 503" {
		t.Errorf("with the hook: %d %s", resp.StatusCode, body)
	}
	if resp, body := r.get("b.example", "/x?cut"); resp.StatusCode != 404 || body != "/ 503" {
		t.Errorf("with another path: %d %s", resp.StatusCode, body)
	}
	if resp, _ := r.get("b.example", "/x"); resp.StatusCode != 503 {
		t.Errorf("where the hook says nobody: %d", resp.StatusCode)
	}
	if n := asked.Load(); n != 3 {
		t.Errorf("three requests asked %d times", n)
	}
	r.SetHooks(exchange.Hooks{Replace: func(*exchange.Exchange, int) *table.BackendRef { return &table.BackendRef{Service: "none"} }})
	if resp, _ := r.get("a.example", "/x"); resp.StatusCode != 503 {
		t.Errorf("with a stand-in that has no endpoints either: %d", resp.StatusCode)
	}
}

// TestRefusalsStay: what Access refuses is not replaced where custom-http-errors does not list it, whatever Replace says, nor
// where the backend has no endpoints.
func TestRefusalsStay(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web"), ingress("b", nil, "b.example / none")), nil)
	page := serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "a page") })
	r.backend("web", page)
	r.backend("errors", page)
	var replaced atomic.Int32
	status := atomic.Int32{}
	r.SetHooks(exchange.Hooks{
		Access: func(_ context.Context, x *exchange.Exchange) *exchange.Answer { return x.Reply(int(status.Load())) },
		Replace: func(x *exchange.Exchange, _ int) *table.BackendRef {
			if x.Host == "a.example" {
				replaced.Add(1)
			}
			return &table.BackendRef{Namespace: "d", Service: "errors", Port: "80"}
		},
	})
	for _, s := range []int{401, 403, 500, 503} {
		status.Store(int32(s))
		for _, host := range []string{"a.example", "b.example"} {
			if resp, body := r.get(host, "/"); resp.StatusCode != s || strings.Contains(body, "a page") {
				t.Errorf("%s: a refusal with %d became %d %s", host, s, resp.StatusCode, body)
			}
		}
	}
	if n := replaced.Load(); n != 0 {
		t.Errorf("%d refusals were to be replaced", n)
	}
}

// TestErrorPages: what the proxy refuses is replaced where custom-http-errors lists it, by a page that is asked for in HTTP and
// without body and password; a 2xx for a 401 or 403 has that status. A page that can't be had leaves the refusal as it was.
func TestErrorPages(t *testing.T) {
	change := func(i *table.Ingress) {
		l := &i.Options.Location
		l.CustomErrors, l.BodySize, l.Protocol = []int{401, 403, 413, 502, 503}, 10, table.ProtocolHTTPS
	}
	streams := func(i *table.Ingress) { change(i); i.Options.Location.RequestBuffering = false }
	r := start(t, tableOf(settings(), ingress("a", change, "a.example / web"), ingress("s", streams, "s.example / web"), ingress("n", change, "n.example / none")), nil)
	plain := serve(t, func(http.ResponseWriter, *http.Request) {})
	r.backend("web", plain) // does not speak TLS
	page := atomic.Int32{}
	r.backend("errors", serve(t, func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		w.Header().Set("X-Page", q.Method+" "+q.URL.Path+" "+q.Header.Get("X-Code")+" "+string(body)+q.Header.Get("Authorization")+q.Header.Get("Upgrade"))
		w.WriteHeader(int(page.Load()))
	}))
	status := atomic.Int32{}
	r.SetHooks(exchange.Hooks{
		Access: func(_ context.Context, x *exchange.Exchange) *exchange.Answer {
			if s := int(status.Load()); s != 0 {
				return x.Reply(s).With("WWW-Authenticate", "Basic").With("X-Page", "none")
			}
			return nil
		},
		Replace: func(x *exchange.Exchange, s int) *table.BackendRef {
			if len(x.Attempts) == 0 && !x.Refused {
				return nil // no endpoints
			}
			_ = x.Forward.SetName("X-Code", http.StatusText(s))
			return &table.BackendRef{Namespace: "d", Service: "errors", Port: "80"}
		},
	})
	for _, c := range []struct {
		host, send   string
		refuse, page int
		want         int
		saw          string
	}{
		{"a.example", "POST / HTTP/1.1\r\nContent-Length: 3\r\nAuthorization: x\r\n", 401, 200, 401, "POST / Unauthorized"},
		{"a.example", "GET /x HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: websocket\r\n", 403, 204, 403, "GET / Forbidden"},
		{"a.example", "GET /x HTTP/1.1\r\n", 403, 302, 302, "GET / Forbidden"},
		{"a.example", "GET /x HTTP/1.1\r\n", 503, 200, 200, "GET / Service Unavailable"},
		{"a.example", "GET /x HTTP/1.1\r\n", 404, 200, 404, "none"},
		{"a.example", "POST /x HTTP/1.1\r\nContent-Length: 11\r\nExpect: 100-continue\r\n", 0, 200, 200, "POST / Request Entity Too Large"},
		{"a.example", "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n", 0, 200, 200, "POST / Request Entity Too Large"},
		{"s.example", "POST /x HTTP/1.1\r\nContent-Length: 11\r\n", 0, 413, 413, "POST / Request Entity Too Large"},
		{"a.example", "GET /x HTTP/1.1\r\n", 0, 200, 200, "GET / Bad Gateway"},
		{"n.example", "GET /x HTTP/1.1\r\n", 0, 200, 200, "GET / Service Unavailable"},
	} {
		status.Store(int32(c.refuse))
		page.Store(int32(c.page))
		text := c.send + "Host: " + c.host + "\r\n\r\n"
		switch {
		case strings.Contains(text, "Length: 3"):
			text += "abc"
		case strings.Contains(text, "chunked"):
			text += "b\r\n01234567890\r\n0\r\n\r\n"
		}
		resp := r.ask(text)
		_, _ = io.Copy(io.Discard, resp.Body)
		if got := resp.Header.Get("X-Page"); resp.StatusCode != c.want || got != c.saw {
			t.Errorf("%q refused with %d: %d and %q, want %d and %q", c.send, c.refuse, resp.StatusCode, got, c.want, c.saw)
		}
		if c.refuse == 401 && resp.Header.Get("WWW-Authenticate") != "Basic" {
			t.Error("the page in place of a challenge has no challenge")
		}
	}
	status.Store(403)
	r.backend("errors", "127.0.0.1:1") // nobody is there
	if resp, _ := r.get("a.example", "/"); resp.StatusCode != 403 {
		t.Errorf("without a page a refusal is %d", resp.StatusCode)
	}
	// The body that nobody has read is not taken for a request.
	r.backend("errors", plain)
	resp := r.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 8\r\n\r\nabcd")
	if resp.Close != true {
		t.Error("a connection with an unread body is kept")
	}
}

// TestEncodeHTTP2: the same for clients of HTTP/2.
func TestEncodeHTTP2(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "3")
		_, _ = io.WriteString(w, "abc")
	}))
	var closed, aborted atomic.Int32
	r.SetHooks(exchange.Hooks{Encode: func(_ *exchange.Exchange, _ int64, w io.Writer) exchange.Encoder {
		return &doubler{w: w, closed: &closed, aborted: &aborted}
	}})
	resp, err := r.h2Client(nil).Get("https://a.example/")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); string(body) != "abcabc." || resp.ContentLength == 3 || resp.ProtoMajor != 2 || err != nil {
		t.Errorf("%q of %d, %v", body, resp.ContentLength, err)
	}
}

// TestCanaryWithoutEndpoints: the primary answers for it.
func TestCanaryWithoutEndpoints(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "primary") }))
	canary := &table.CanaryUpstream{Upstream: &table.Upstream{BackendRef: refOf("new")}}
	r.SetHooks(exchange.Hooks{Choose: func(x *exchange.Exchange) { x.Upstream, x.Canary = canary.Upstream, canary }})
	if resp, body := r.get("a.example", "/"); resp.StatusCode != 200 || body != "primary" {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	r.backend("new", serve(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "canary") }))
	if _, body := r.get("a.example", "/"); body != "canary" {
		t.Errorf("with endpoints: %s", body)
	}
}

// TestPickOfOne: a single endpoint needs no choice, but its cookie set.
func TestPickOfOne(t *testing.T) {
	affinity := func(i *table.Ingress) { i.Options.Upstream.Affinity = &table.CookieOption{Name: "c"} }
	r := start(t, tableOf(settings(), ingress("a", affinity, "a.example / web"), ingress("b", nil, "b.example / other")), nil)
	address := serve(t, func(http.ResponseWriter, *http.Request) {})
	r.backend("web", address)
	r.backend("other", address)
	var picks atomic.Int32
	r.SetHooks(exchange.Hooks{Pick: func(*exchange.Exchange, exchange.Candidates) int { picks.Add(1); return 0 }})
	r.get("b.example", "/")
	if n := picks.Load(); n != 0 {
		t.Errorf("%d picks without a cookie", n)
	}
	r.get("a.example", "/")
	if n := picks.Load(); n != 1 {
		t.Errorf("%d picks with a cookie", n)
	}
}

// TestMirrorBody: a body that is mirrored is read ahead, in memory or in a file, even where bodies stream.
func TestMirrorBody(t *testing.T) {
	mirrored := func(body bool) func(*table.Ingress) {
		return func(i *table.Ingress) {
			i.Options.Location.RequestBuffering = false
			i.Options.Location.Mirror = &table.Mirror{Body: body}
		}
	}
	r := start(t, tableOf(settings(), ingress("a", mirrored(true), "a.example / web"), ingress("b", mirrored(false), "b.example / web"), ingress("c", nil, "c.example / web")), nil)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		n, _ := io.Copy(io.Discard, q.Body)
		w.Header().Set("X-Read", string(rune('0'+min(n, 9))))
	}))
	got := make(chan string, 10)
	r.SetHooks(exchange.Hooks{Mirror: func(_ *exchange.Exchange, body exchange.Body) {
		if body.Size() < 0 {
			got <- "not read"
			return
		}
		b := make([]byte, body.Size())
		if n, err := body.ReadAt(b, 0); n != len(b) {
			got <- "short: " + err.Error()
			return
		}
		got <- string(b)
	}})
	large := strings.Repeat("0123456789", 20000)
	for _, body := range []string{"", "small", large} {
		// The length of a Reader that net/http does not know is not known: the body comes in chunks.
		r.do("POST", "a.example", "/", struct{ io.Reader }{strings.NewReader(body)})
		select {
		case g := <-got:
			if g != body {
				t.Errorf("of %d bytes the mirror sees %d", len(body), len(g))
			}
		case <-time.After(10 * time.Second):
			t.Fatal("nothing is mirrored")
		}
	}
	r.do("POST", "b.example", "/", struct{ io.Reader }{strings.NewReader(large)})
	if g := <-got; g != "not read" {
		t.Errorf("a body that is not mirrored is read ahead: %d bytes", len(g))
	}
	r.do("POST", "c.example", "/", strings.NewReader("x"))
	if len(got) != 0 {
		t.Error("a location without a mirror is mirrored")
	}
}
