package proxy

import (
	"bytes"
	"fmt"
	"io"
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
