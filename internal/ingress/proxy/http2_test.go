package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"minato/internal/ingress/table"
)

// h2Client speaks HTTP/2 with the proxy.
func (r *rig) h2Client(change func(*tls.Config)) *http.Client {
	conf := &tls.Config{InsecureSkipVerify: true}
	if change != nil {
		change(conf)
	}
	t := &http.Transport{
		TLSClientConfig: conf, ForceAttemptHTTP2: true, DisableCompression: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, r.https)
		},
	}
	r.t.Cleanup(t.CloseIdleConnections)
	return &http.Client{Transport: t, Timeout: 20 * time.Second}
}

func TestHTTP2(t *testing.T) {
	s := settings()
	s.HSTS = table.HSTS{Enabled: true, AllClasses: true, MaxAge: 10, SubDomains: true}
	r := start(t, tableOf(s, ingress("a", nil, "a.example / web")), nil)
	cert := selfSigned(t, "a.example")
	r.SetDefaultCertificate(cert)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Server", "secret")
		w.Header().Set("Strict-Transport-Security", "max-age=1")
		echo(w, q)
	}))
	c := r.h2Client(nil)
	for _, size := range []int{0, 10, 100_000, 2 << 20} {
		resp, err := c.Post("https://a.example/p?q", "text/plain", bytes.NewReader(make([]byte, size)))
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(resp.Body)
		if resp.ProtoMajor != 2 || resp.StatusCode != 200 || !strings.Contains(string(b), fmt.Sprintf("body %d, length %d", size, size)) {
			t.Fatalf("%d: %s %d %s", size, resp.Proto, resp.StatusCode, b)
		}
		if !strings.Contains(string(b), "X-Forwarded-Proto: https\r\n") || !strings.Contains(string(b), "X-Forwarded-Port: 443\r\n") {
			t.Errorf("%s", b)
		}
		if resp.Header.Get("Server") != "" || resp.Header.Get("Strict-Transport-Security") != "max-age=10; includeSubDomains" {
			t.Errorf("%v", resp.Header)
		}
	}
	resp, err := c.Get("https://other.example/")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != 404 {
		t.Errorf("another host: %d", resp.StatusCode)
	}
}

// TestHTTP2KeepAliveRequests: a connection that has had its requests is given up, by a GOAWAY that cuts no stream.
func TestHTTP2KeepAliveRequests(t *testing.T) {
	const limit, requests = 3, 60
	for name, change := range map[string]func(*table.Settings){
		"keep-alive-requests": func(s *table.Settings) { s.KeepAliveRequests = limit },
		"keep-alive 0":        func(s *table.Settings) { s.KeepAlive = 0 },
	} {
		t.Run(name, func(t *testing.T) {
			s := settings()
			change(s)
			r := start(t, tableOf(s, ingress("a", nil, "a.example / web")), nil)
			r.SetDefaultCertificate(selfSigned(t, "a.example"))
			r.backend("web", serve(t, echo))
			connections := 0
			ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
				if !info.Reused {
					connections++
				}
			}})
			c := r.h2Client(nil)
			for i := range requests {
				q, err := http.NewRequestWithContext(ctx, "POST", "https://a.example/", strings.NewReader("body"))
				if err != nil {
					t.Fatal(err)
				}
				resp, err := c.Do(q)
				if err != nil {
					t.Fatalf("request %d: %v", i, err)
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 || resp.Header.Get("Connection") != "" {
					t.Fatalf("request %d: %d %v %v", i, resp.StatusCode, resp.Header, err)
				}
				resp.Body.Close()
			}
			// The client may send some more before it has read the GOAWAY.
			if least := requests / (3 * limit); connections < least {
				t.Errorf("%d requests over %d connections, want at least %d", requests, connections, least)
			}
		})
	}
}

// TestHTTP2WithoutTLS: prior knowledge is not accepted on port 80, nor is an upgrade to h2c.
func TestHTTP2WithoutTLS(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, echo))
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, http2.ClientPreface)
	b, _ := io.ReadAll(c)
	if !bytes.HasPrefix(b, []byte("HTTP/1.1 505")) && !bytes.HasPrefix(b, []byte("HTTP/1.1 400")) {
		t.Errorf("answer to the preface: %q", b)
	}
	resp := r.ask("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n")
	body, _ := io.ReadAll(resp.Body)
	if resp.StatusCode != 200 || strings.Contains(string(body), "h2c") || strings.Contains(string(body), "Settings") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}

// TestRapidReset: a client that opens streams and resets them is cut off soon (CVE-2023-44487), and so is one that
// sends pings without end.
func TestRapidReset(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, echo))
	for name, flood := range map[string]func(fr *http2.Framer, i int, block []byte) error{
		"resets": func(fr *http2.Framer, i int, block []byte) error {
			id := uint32(2*i + 1)
			if err := fr.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: block, EndHeaders: true, EndStream: true}); err != nil {
				return err
			}
			return fr.WriteRSTStream(id, http2.ErrCodeCancel)
		},
		"pings":    func(fr *http2.Framer, i int, _ []byte) error { return fr.WritePing(false, [8]byte{}) },
		"settings": func(fr *http2.Framer, i int, _ []byte) error { return fr.WriteSettings() },
		"continuations": func(fr *http2.Framer, i int, block []byte) error {
			if i == 0 {
				return fr.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block})
			}
			return fr.WriteContinuation(1, false, []byte{0x00, 1, 'x', 1, 'y'})
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := tls.Dial("tcp", r.https, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(20 * time.Second))
			fmt.Fprint(c, http2.ClientPreface)
			fr := http2.NewFramer(c, nil)
			if err := fr.WriteSettings(); err != nil {
				t.Fatal(err)
			}
			go func() { _, _ = io.Copy(io.Discard, c) }()
			var buf bytes.Buffer
			enc := hpack.NewEncoder(&buf)
			for k, v := range map[string]string{":method": "GET", ":scheme": "https", ":path": "/", ":authority": "a.example"} {
				_ = enc.WriteField(hpack.HeaderField{Name: k, Value: v})
			}
			block := bytes.Clone(buf.Bytes())
			for i := range 100_000 {
				if flood(fr, i, block) != nil {
					t.Logf("cut off after %d", i)
					return
				}
			}
			t.Error("the flood went on")
		})
	}
}

func selfSigned(t testing.TB, names ...string) *tls.Certificate {
	t.Helper()
	return newAuthority(t, "self").issue(t, &x509.Certificate{DNSNames: names})
}

// TestHTTP2Cookies: a cookie that comes in pieces is one field for the endpoint (RFC 9113, 8.2.3).
func TestHTTP2Cookies(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		fmt.Fprintf(w, "%q", q.Header["Cookie"])
	}))
	req, err := http.NewRequest("GET", "https://a.example/", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header["Cookie"] = []string{"a=1; b=2", "c=3"} // the client sends three fields
	resp, err := r.h2Client(nil).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	if got := readAll(t, resp); got != `["a=1; b=2; c=3"]` {
		t.Errorf("the endpoint gets %s", got)
	}
}

// TestHTTP2Continue: a client that waits for it is asked for the body, once the body is wanted.
func TestHTTP2Continue(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", func(i *table.Ingress) { i.Options.Location.BodySize = 100 }, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, echo))
	asked := 0
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got100Continue: func() { asked++ }})
	for _, c := range []struct{ size, status, asked int }{{10, 200, 1}, {1000, 413, 0}} {
		asked = 0
		req, err := http.NewRequestWithContext(ctx, "POST", "https://a.example/", bytes.NewReader(make([]byte, c.size)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Expect", "100-continue")
		client := r.h2Client(nil)
		client.Transport.(*http.Transport).ExpectContinueTimeout = 10 * time.Second
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = readAll(t, resp)
		if resp.StatusCode != c.status || asked != c.asked {
			t.Errorf("%d bytes: %d, asked %d times", c.size, resp.StatusCode, asked)
		}
	}
}

// TestHTTP2Trailer: a trailer comes behind a body whose length was told.
func TestHTTP2Trailer(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", loc(func(l *table.Location) { l.Protocol = table.ProtocolGRPC }), "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", rawBackend(t, func(c net.Conn) {
		(&http2.Server{}).ServeConn(c, &http2.ServeConnOpts{Handler: http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
			_, _ = io.Copy(io.Discard, q.Body)
			w.Header().Set("Trailer", "Grpc-Status")
			if q.URL.Path == "/body" {
				fmt.Fprint(w, "body")
			}
			w.Header().Set("Grpc-Status", "0")
		})})
	}))
	for _, path := range []string{"/body", "/none"} {
		resp, err := r.h2Client(nil).Post("https://a.example"+path, "application/grpc", strings.NewReader("ask"))
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, resp); got != map[string]string{"/body": "body"}[path] || resp.Trailer.Get("Grpc-Status") != "0" {
			t.Errorf("%s: body %q, trailer %v", path, got, resp.Trailer)
		}
	}
}

// TestHTTP2SlowBody: a client that does not send its body is told so, and the stream ends.
func TestHTTP2SlowBody(t *testing.T) {
	s := settings()
	s.BodyTimeout = 200 * time.Millisecond
	r := start(t, tableOf(s, ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, echo))
	reader, writer := io.Pipe()
	defer writer.Close()
	go func() { _, _ = writer.Write([]byte("some")) }()
	resp, err := r.h2Client(nil).Post("https://a.example/", "text/plain", reader)
	if err != nil {
		t.Fatal(err)
	}
	if _ = readAll(t, resp); resp.StatusCode != 408 {
		t.Errorf("status %d", resp.StatusCode)
	}
}

// TestHTTP2Shutdown: idle connections end at once when the proxy is about to, and busy ones after their streams.
func TestHTTP2Shutdown(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	asked, release := make(chan struct{}), make(chan struct{})
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/slow" {
			close(asked)
			<-release
		}
		echo(w, q)
	}))
	idle, busy := r.h2Client(nil), r.h2Client(nil)
	resp, err := idle.Get("https://a.example/")
	if err != nil {
		t.Fatal(err)
	}
	_ = readAll(t, resp)
	answered := make(chan error, 1)
	go func() {
		resp, err := busy.Get("https://a.example/slow")
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
		}
		answered <- err
	}()
	<-asked
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- r.Shutdown(ctx) }()
	eventually(t, "the idle connection ends", func() bool { return r.open.Load() == 1 })
	close(release)
	if err := <-answered; err != nil {
		t.Errorf("the request that was under way: %v", err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
