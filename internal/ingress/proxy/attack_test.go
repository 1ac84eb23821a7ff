package proxy

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"minato/internal/ingress/table"
)

// tape is what an endpoint has got.
type tape struct {
	mu sync.Mutex
	b  []byte
}

func (p *tape) take() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := string(p.b)
	p.b = nil
	return s
}

// recorded is a backend that keeps what it gets, and answers once for each head.
func recorded(t *testing.T, into *tape) string {
	return rawBackend(t, func(c net.Conn) {
		buf := make([]byte, 64<<10)
		seen := 0
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			into.mu.Lock()
			into.b = append(into.b, buf[:n]...)
			into.mu.Unlock()
			for heads := bytes.Count(buf[:n], []byte(" HTTP/1.1\r\n")); seen < heads; seen++ {
				fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
			}
			seen = 0
		}
	})
}

// TestEndpointsSeeOneReading: what reaches an endpoint has one meaning, whatever the client wrote: one length, no extensions of
// chunks, no fields that look like the proxy's own, the host by which the route was chosen.
func TestEndpointsSeeOneReading(t *testing.T) {
	streams := loc(func(l *table.Location) { l.RequestBuffering = false })
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web"), ingress("s", streams, "s.example / web"), ingress("b", nil, "b.example / other")), nil)
	var web, other tape
	r.backend("web", recorded(t, &web))
	r.backend("other", recorded(t, &other))
	for _, c := range []struct {
		name, text string
		at         *tape
		has, not   []string
	}{
		{"extensions of chunks, collected", "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3;a=\"b\" ;c\r\nabc\r\n0;d\r\nContent-Length: 7\r\nX-T: y\r\n\r\n", &web,
			[]string{"Content-Length: 3\r\n", "\r\n\r\nabc"}, []string{"a=\"", "chunked", "Content-Length: 7", ";d"}},
		{"extensions of chunks, streamed", "POST / HTTP/1.1\r\nHost: s.example\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0;d\r\nContent-Length: 7\r\nHost: evil\r\nX-T: y\r\n\r\n", &web,
			[]string{"abc"}, []string{"a=b", "Content-Length: 7", ";d", "evil"}},
		{"fields named in Connection", "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Host, X-Forwarded-For, X-Real-IP, X-Request-ID, X-Mine, close\r\nX-Mine: 1\r\n\r\n", &web,
			[]string{"Host: a.example\r\n", "X-Forwarded-For: 127.0.0.1\r\n", "X-Real-IP: 127.0.0.1\r\n", "X-Request-ID: "}, []string{"X-Mine"}},
		{"fields with underscores", "GET / HTTP/1.1\r\nHost: a.example\r\nX_Forwarded_For: 1.2.3.4\r\nContent_Length: 9\r\nTransfer_Encoding: chunked\r\n\r\n", &web,
			[]string{"X-Forwarded-For: 127.0.0.1\r\n"}, []string{"1.2.3.4", "_"}},
		{"a target with a host", "GET http://b.example/x?y HTTP/1.1\r\nHost: a.example\r\n\r\n", &other, []string{"GET /x?y HTTP/1.1\r\n", "Host: b.example\r\n"}, []string{"a.example"}},
		{"a host in capitals, with dot and port", "GET /x HTTP/1.1\r\nHost: B.Example.:80\r\n\r\n", &other, []string{"GET /x HTTP/1.1\r\n"}, nil},
		{"an upgrade to h2c", "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", &web, []string{"GET / "}, []string{"h2c", "Settings"}},
		{"an upgrade with a body", "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n\r\nabc", &web, []string{"Content-Length: 3\r\n"}, []string{"websocket"}},
		{"a body of a GET", "GET / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 30\r\n\r\nGET /evil HTTP/1.1\r\nHost: b\r\n\r\n", &web, []string{"Content-Length: 30\r\n", "\r\n\r\nGET /evil"}, nil},
		{"bytes beyond ASCII in a target", "GET /\xc3\xa9\xa0?\x85 HTTP/1.1\r\nHost: a.example\r\n\r\n", &web, []string{"GET /%C3%A9%A0?%85 HTTP/1.1\r\n"}, nil},
	} {
		resp := r.ask(c.text)
		if resp.StatusCode != 200 {
			t.Errorf("%s: %d", c.name, resp.StatusCode)
			continue
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		got := c.at.take()
		for _, want := range c.has {
			if !strings.Contains(got, want) {
				t.Errorf("%s: no %q in %q", c.name, want, got)
			}
		}
		for _, bad := range c.not {
			if strings.Contains(got, bad) {
				t.Errorf("%s: %q in %q", c.name, bad, got)
			}
		}
		if rest := web.take() + other.take(); rest != "" {
			t.Errorf("%s: another endpoint got %q", c.name, rest)
		}
	}
}

// h2Raw sends one request in HTTP/2 with the fields as they are, and returns what became of it: a status, or "reset". With a field
// "+open" the stream stays open for a body that does not come.
func h2Raw(t *testing.T, address string, body string, fields ...string) string {
	t.Helper()
	c, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	// All comes at once: an endpoint that answers before the body could be faster than a fault of it.
	all := bytes.NewBufferString(http2.ClientPreface)
	fr := http2.NewFramer(all, c)
	fr.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	var buf bytes.Buffer
	enc := hpack.NewEncoder(&buf)
	open := false
	for _, f := range fields {
		if strings.HasPrefix(f, "+open") {
			open = true
			continue
		}
		i := strings.Index(f[1:], ": ") + 1
		_ = enc.WriteField(hpack.HeaderField{Name: f[:i], Value: f[i+2:]})
	}
	if err := fr.WriteSettings(); err != nil {
		t.Fatal(err)
	}
	if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: buf.Bytes(), EndHeaders: true, EndStream: body == "" && !open}); err != nil {
		t.Fatal(err)
	}
	if body != "" {
		if err := fr.WriteData(1, true, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Write(all.Bytes()); err != nil {
		t.Fatal(err)
	}
	for {
		f, err := fr.ReadFrame()
		if err != nil {
			return "reset"
		}
		switch f := f.(type) {
		case *http2.MetaHeadersFrame:
			return f.PseudoValue("status")
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return "reset"
		}
	}
}

// TestDowngrade: what HTTP/2 can carry and HTTP/1 can't is refused, and reaches no endpoint.
func TestDowngrade(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", loc(func(l *table.Location) { l.RequestBuffering = false }), "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	var web tape
	r.backend("web", recorded(t, &web))
	good := []string{":method: POST", ":scheme: https", ":path: /", ":authority: a.example"}
	change := func(name, value string) []string {
		out := append([]string(nil), good...)
		for i, f := range out {
			if strings.HasPrefix(f, name+": ") {
				out[i] = name + ": " + value
				return out
			}
		}
		return append(out, name+": "+value)
	}
	if got := h2Raw(t, r.https, "abc", good...); got != "200" || !strings.Contains(web.take(), "abc") {
		t.Fatalf("a good request: %s", got)
	}
	for name, fields := range map[string][]string{
		"a space in the path":       change(":path", "/x HTTP/1.1"),
		"a line end in the path":    change(":path", "/x HTTP/1.1\r\nX-Evil: 1"),
		"a path without a slash":    change(":path", "evil"),
		"no path":                   change(":path", ""),
		"a fragment":                change(":path", "/#x"),
		"a path above the root":     change(":path", "/../x"),
		"a space in the method":     change(":method", "GET /evil HTTP/1.1\r\nX: "),
		"CONNECT":                   change(":method", "CONNECT"),
		"TRACE":                     change(":method", "TRACE"),
		"a path in the authority":   change(":authority", "a.example/evil"),
		"a user in the authority":   change(":authority", "evil@a.example"),
		"a line end in a field":     change("x-a", "b\r\nX-Evil: 1"),
		"a bare LF in a field":      change("x-a", "b\nX-Evil: 1"),
		"NUL in a field":            change("x-a", "b\x00"),
		"a space in a name":         change("x-a evil", "1"),
		"a colon in a name":         change("x-a:evil", "1"),
		"a name in capitals":        change("X-A", "1"),
		"transfer-encoding":         change("transfer-encoding", "chunked"),
		"connection":                change("connection", "x-real-ip"),
		"a length of no number":     change("content-length", "3x"),
		"a length that is too long": change("content-length", "30"),
		"a length that is too low":  change("content-length", "1"),
		"another pseudo-field":      append(append([]string(nil), good...), ":evil: 1"),
		"the path twice":            append(append([]string(nil), good...), ":path: /evil"),
		"another host":              change("host", "evil.example"),
	} {
		got := h2Raw(t, r.https, "abc", fields...)
		at := web.take()
		if got == "200" || strings.Contains(strings.ToLower(at), "evil") {
			t.Errorf("%s: %s, and the endpoint got %q", name, got, at)
		}
	}
	// And the connection to the endpoint is in no confusion.
	if got := h2Raw(t, r.https, "abc", good...); got != "200" {
		t.Errorf("a good request afterwards: %s", got)
	}
}

// TestMisreadPaths: a path that the backend may read as one that is guarded otherwise is refused.
func TestMisreadPaths(t *testing.T) {
	guard := loc(func(l *table.Location) { l.Basic = &table.BasicAuth{} })
	r := start(t, tableOf(settings(), ingress("open", nil, "a.example / web", "a.example /open web"), ingress("closed", guard, "a.example /closed web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, echo))
	for path, want := range map[string]int{
		"/open/a%2Fb": 200, "/open;v=1/x": 200, "/open//x": 200, "/open/x/../y": 200, "/closed": 200, "/open/../closed": 200,
		"/closed/../open": 400, "/closed/..%2fopen": 400, "/closed/%2e%2e/open": 400, "/closed;x": 400, "/open/..;/closed": 400, `/open\..\closed`: 400,
	} {
		if resp := r.ask("GET " + path + " HTTP/1.1\r\nHost: a.example\r\n\r\n"); resp.StatusCode != want {
			t.Errorf("%s: %d, want %d", path, resp.StatusCode, want)
		}
		if got := h2Raw(t, r.https, "", ":method: GET", ":scheme: https", ":path: "+path, ":authority: a.example"); got != fmt.Sprint(want) {
			t.Errorf("%s in HTTP/2: %s, want %d", path, got, want)
		}
	}
}

// TestConnectionLimit: beyond max-worker-connections, a new connection is closed, and there is room again once another one ends.
func TestConnectionLimit(t *testing.T) {
	s := settings()
	s.MaxConnections, s.Workers = 3, 1
	r := start(t, tableOf(s, ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, echo))
	open := func() net.Conn {
		c, err := net.Dial("tcp", r.http)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	served := func(c net.Conn) bool {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
		n, err := c.Read(make([]byte, 64<<10))
		return err == nil && n > 0
	}
	kept := []net.Conn{open(), open(), open()}
	for i, c := range kept {
		if !served(c) {
			t.Fatalf("connection %d of 3 is not served", i+1)
		}
	}
	for range 5 {
		if served(open()) {
			t.Fatal("a fourth connection is served")
		}
	}
	for _, c := range kept[1:] {
		if !served(c) {
			t.Error("a connection that was there has suffered")
		}
	}
	kept[0].Close()
	eventually(t, "there is room again", func() bool {
		c := open()
		defer c.Close()
		return served(c)
	})
}

// TestSlowTLS: who connects and does not shake hands is cut off, and so is who sends a body over HTTP/2 without end.
func TestSlowTLS(t *testing.T) {
	s := settings()
	s.HeaderTimeout, s.BodyTimeout = 300*time.Millisecond, 300*time.Millisecond
	r := start(t, tableOf(s, ingress("a", nil, "a.example / web"), ingress("s", loc(func(l *table.Location) { l.RequestBuffering = false }), "s.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, echo))
	for name, first := range map[string]string{"nothing": "", "half a record": "\x16\x03\x01\x02\x00\x01\x00"} {
		c, err := net.Dial("tcp", r.https)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(c, first)
		if b, err := io.ReadAll(c); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%s: not cut off: %q %v", name, b, err)
		}
	}
	for _, host := range []string{"a.example", "s.example"} {
		began := time.Now()
		if got := h2Raw(t, r.https, "", ":method: POST", ":scheme: https", ":path: /", ":authority: "+host, "content-length: 10", "+open: "); got == "200" || time.Since(began) > 8*time.Second {
			t.Errorf("%s: a body that does not come over HTTP/2: %s after %v", host, got, time.Since(began))
		}
	}
}
