package proxy

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/fcgi"
	"strings"
	"testing"

	"minato/internal/ingress/table"
)

// TestFastCGI speaks with the responder of the standard library.
func TestFastCGI(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		_ = fcgi.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			env := fcgi.ProcessEnv(q)
			n, _ := io.Copy(io.Discard, q.Body)
			w.Header().Set("X-Script", env["SCRIPT_FILENAME"])
			if q.URL.Path == "/missing" {
				w.WriteHeader(404)
			}
			if q.URL.Path == "/large" {
				_, _ = w.Write(make([]byte, 1<<20))
				return
			}
			fmt.Fprintf(w, "%s %s host %s body %d length %d mine %q for %q remote %s proxy %q", q.Method, q.URL.RequestURI(), q.Host, n, q.ContentLength,
				q.Header.Get("X-Mine"), q.Header.Get("X-Forwarded-For"), q.RemoteAddr, q.Header.Get("Proxy"))
		}))
	}()
	r := start(t, tableOf(settings(), ingress("a", loc(func(l *table.Location) {
		l.Protocol, l.RequestBuffering = table.ProtocolFCGI, false
		l.FastCGI = &table.FastCGI{Index: "index.php", Params: []table.ExpandedHeader{
			{Name: "SCRIPT_FILENAME", Value: table.Text{Parts: []table.Part{{Literal: "/www"}, {Var: table.VarURI}}}},
		}}
	}), "a.example / web")), nil)
	r.backend("web", l.Addr().String())
	resp, body := r.do("POST", "a.example", "/p?q=1", strings.NewReader("hello"), "X-Mine", "v", "Proxy", "http://evil")
	if resp.StatusCode != 200 || !strings.HasPrefix(body, `POST /p?q=1 host a.example body 5 length 5 mine "v" for "127.0.0.1" remote 127.0.0.1:`) || !strings.HasSuffix(body, `proxy ""`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if got := resp.Header.Get("X-Script"); got != "/www/p" {
		t.Errorf("SCRIPT_FILENAME %q", got)
	}
	if resp, _ := r.get("a.example", "/missing"); resp.StatusCode != 404 {
		t.Errorf("%d", resp.StatusCode)
	}
	if _, body := r.do("POST", "a.example", "/large", bytes.NewReader(make([]byte, 2<<20))); len(body) != 1<<20 {
		t.Errorf("%d bytes", len(body))
	}
	r.backend("web", rawBackend(t, func(c net.Conn) {
		_, _ = c.Read(make([]byte, 1<<10))
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\n\r\n")
	}))
	if resp, _ := r.get("a.example", "/"); resp.StatusCode != 502 {
		t.Errorf("an endpoint of HTTP: %d", resp.StatusCode)
	}
}
