package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"minato/internal/ingress/table"
)

// echo answers with what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	fmt.Fprintf(w, "%s %s %s\n", r.Method, r.RequestURI, r.Host)
	_ = r.Header.Write(w)
	n, _ := io.Copy(io.Discard, r.Body)
	fmt.Fprintf(w, "body %d, length %d, coding %v\n", n, r.ContentLength, r.TransferEncoding)
}

func TestRequestAndAnswer(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example /  web")), nil)
	r.backend("web", serve(t, echo))
	for range 3 { // on one connection
		resp, body := r.get("a.example", "/x/y?q=1", "X-Mine", "v")
		if resp.StatusCode != 200 || !strings.HasPrefix(body, "GET /x/y?q=1 a.example\n") || !strings.Contains(body, "X-Mine: v\r\n") {
			t.Fatalf("%d %s", resp.StatusCode, body)
		}
	}
	if resp, body := r.get("b.example", "/"); resp.StatusCode != 404 || !strings.Contains(body, "404 Not Found") {
		t.Errorf("another host: %d %s", resp.StatusCode, body)
	}
	if resp, _ := r.get("b.example", "/healthz"); resp.StatusCode != 200 {
		t.Errorf("healthz: %d", resp.StatusCode)
	}
	r.backend("web")
	if resp, _ := r.get("a.example", "/"); resp.StatusCode != 503 {
		t.Errorf("without endpoints: %d", resp.StatusCode)
	}
}

func TestBodies(t *testing.T) {
	buffered := ingress("a", nil, "a.example / web")
	streamed := ingress("b", func(i *table.Ingress) { i.Options.Location.RequestBuffering = false }, "b.example / web")
	r := start(t, tableOf(settings(), buffered, streamed), nil)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		b, _ := io.ReadAll(q.Body)
		w.Header().Set("X-Length", fmt.Sprint(q.ContentLength))
		_, _ = w.Write(b)
	}))
	for _, host := range []string{"a.example", "b.example"} {
		for _, size := range []int{0, 1, 100, 5000, 20000, 100_000, 3 << 20} {
			text := bytes.Repeat([]byte("0123456789abcdef"), size/16+1)[:size]
			for _, chunked := range []bool{false, true} {
				var body io.Reader = bytes.NewReader(text)
				if chunked {
					body = struct{ io.Reader }{body}
				}
				resp, got := r.do("POST", host, "/", body)
				if resp.StatusCode != 200 || got != string(text) {
					t.Fatalf("%s %d chunked %v: %d, %d bytes", host, size, chunked, resp.StatusCode, len(got))
				}
				want := fmt.Sprint(size)
				if chunked && host == "b.example" {
					want = "-1"
				}
				if l := resp.Header.Get("X-Length"); l != want {
					t.Errorf("%s %d chunked %v: the backend was told of length %s, want %s", host, size, chunked, l, want)
				}
			}
		}
	}
}

// TestKeepAlive: keep-alive and keep-alive-requests say how long a client's connection is kept.
func TestKeepAlive(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*table.Settings)
		want   int // requests on one connection
	}{
		"keep-alive 0":          {func(s *table.Settings) { s.KeepAlive = 0 }, 1},
		"keep-alive-requests 3": {func(s *table.Settings) { s.KeepAliveRequests = 3 }, 3},
	} {
		s := settings()
		c.change(s)
		r := start(t, tableOf(s, ingress("a", nil, "a.example / web")), nil)
		r.backend("web", serve(t, echo))
		conn, err := net.Dial("tcp", r.http)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		rd := bufio.NewReader(conn)
		for i := 1; i <= c.want; i++ {
			fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
			resp, err := http.ReadResponse(rd, nil)
			if err != nil {
				t.Fatalf("%s: request %d: %v", name, i, err)
			}
			_ = readAll(t, resp)
			if resp.Close != (i == c.want) {
				t.Errorf("%s: request %d closes: %v", name, i, resp.Close)
			}
		}
	}
}

// TestPipelining: requests that come together are answered in their order.
func TestPipelining(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, echo))
	conn, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var text strings.Builder
	for i := range 50 {
		fmt.Fprintf(&text, "POST /%d HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n%s", i, strings.Repeat("x", 100))
	}
	go func() { _, _ = io.WriteString(conn, text.String()) }()
	rd := bufio.NewReader(conn)
	for i := range 50 {
		resp, err := http.ReadResponse(rd, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body := readAll(t, resp); !strings.HasPrefix(body, fmt.Sprintf("POST /%d ", i)) || !strings.Contains(body, "body 100,") {
			t.Fatalf("answer %d: %s", i, body)
		}
	}
}

// TestHeadAndEmpty: answers without a body, and what they say of its length.
func TestHeadAndEmpty(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		switch q.URL.Path {
		case "/304":
			w.Header().Set("Etag", `"1"`)
			w.WriteHeader(304)
		case "/204":
			w.WriteHeader(204)
		default:
			w.Header().Set("Content-Length", "1000")
			if q.Method != "HEAD" {
				_, _ = w.Write(make([]byte, 1000))
			}
		}
	}))
	for range 2 { // the connections are still in step
		if resp, body := r.do("HEAD", "a.example", "/", nil); resp.ContentLength != 1000 || body != "" {
			t.Errorf("HEAD: %v %q", resp.Header, body)
		}
		if resp, body := r.get("a.example", "/304"); resp.StatusCode != 304 || body != "" {
			t.Errorf("%d %q", resp.StatusCode, body)
		}
		if resp, body := r.get("a.example", "/204"); resp.StatusCode != 204 || body != "" || resp.Header.Get("Content-Length") != "" {
			t.Errorf("%d %q %v", resp.StatusCode, body, resp.Header)
		}
		if resp, body := r.do("HEAD", "b.example", "/", nil); resp.StatusCode != 404 || body != "" || resp.ContentLength <= 0 {
			t.Errorf("HEAD of the proxy's own page: %d %q", resp.StatusCode, body)
		}
		if resp, body := r.get("a.example", "/"); resp.StatusCode != 200 || len(body) != 1000 {
			t.Errorf("%d, %d bytes", resp.StatusCode, len(body))
		}
	}
}
