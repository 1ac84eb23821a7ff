package h1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"
)

// The requests that are measured: of wrk, of curl behind a gateway, of a browser.
const (
	smallRequest = "GET / HTTP/1.1\r\nHost: 127.0.0.1:8080\r\n\r\n"
	tenFields    = "GET /api/v1/items?id=42&sort=asc HTTP/1.1\r\nHost: shop.example.com\r\nUser-Agent: curl/8.5.0\r\nAccept: */*\r\n" +
		"Accept-Encoding: gzip, deflate\r\nX-Request-ID: 2f1c3a5e9b7d4c6f\r\nX-Forwarded-For: 203.0.113.7\r\nX-Forwarded-Proto: https\r\n" +
		"Authorization: Bearer abcdefghijklmnopqrstuvwxyz0123456789\r\nCache-Control: no-cache\r\nConnection: keep-alive\r\n\r\n"
	browserRequest = "GET /assets/app.3f9c2d.js HTTP/1.1\r\nHost: www.example.com\r\nConnection: keep-alive\r\n" +
		"sec-ch-ua: \"Chromium\";v=\"140\", \"Not=A?Brand\";v=\"24\"\r\nsec-ch-ua-mobile: ?0\r\nsec-ch-ua-platform: \"Linux\"\r\n" +
		"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n" +
		"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\nSec-Fetch-Site: same-origin\r\n" +
		"Sec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script\r\nReferer: https://www.example.com/index.html\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n" +
		"Accept-Language: ja,en-US;q=0.9,en;q=0.8\r\nCookie: session=0123456789abcdef0123456789abcdef; theme=dark; _ga=GA1.1.1234567890.1234567890\r\n\r\n"
)

// cpu reports the processor's time per operation: on a machine that others use, too,
// it says more than the clock's.
func cpu(b *testing.B) func() {
	start := used(b)
	return func() { b.ReportMetric(float64(used(b)-start)/float64(b.N), "cpu-ns/op") }
}

func used(b *testing.B) int64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return u.Utime.Nano() + u.Stime.Nano()
}

// repeat is a connection on which the same bytes come again and again.
type repeat struct {
	text string
	at   int
}

func (r *repeat) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	if r.at += n; r.at == len(r.text) {
		r.at = 0
	}
	return n, nil
}

func BenchmarkReadRequest(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"small", smallRequest}, {"ten", tenFields}, {"browser", browserRequest}} {
		b.Run("h1/"+c.name, func(b *testing.B) {
			var pool Buffers
			var q Request
			rd := NewReader(&repeat{text: c.text}, &pool)
			lim := defaultRequestLimits()
			b.ReportAllocs()
			defer cpu(b)()
			b.SetBytes(int64(len(c.text)))
			for b.Loop() {
				if err := rd.ReadRequest(&q, &lim); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("nethttp/"+c.name, func(b *testing.B) {
			rd := bufio.NewReader(&repeat{text: c.text})
			b.ReportAllocs()
			defer cpu(b)()
			b.SetBytes(int64(len(c.text)))
			for b.Loop() {
				if _, err := http.ReadRequest(rd); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkForward is what a proxy does to a head: parse, edit, write.
func BenchmarkForward(b *testing.B) {
	for _, c := range []struct{ name, text string }{{"small", smallRequest}, {"ten", tenFields}, {"browser", browserRequest}} {
		b.Run(c.name, func(b *testing.B) {
			var pool Buffers
			var q Request
			rd := NewReader(&repeat{text: c.text}, &pool)
			lim := defaultRequestLimits()
			out := make([]byte, 0, 8192)
			addr := []byte("203.0.113.9")
			drop := Mask(XForwardedFor, XForwardedHost, XForwardedPort, XForwardedProto, XForwardedScheme, XScheme, XRealIP, Proxy)
			b.ReportAllocs()
			defer cpu(b)()
			for b.Loop() {
				if err := rd.ReadRequest(&q, &lim); err != nil {
					b.Fatal(err)
				}
				h := &q.Header
				h.RemoveHopByHop(false)
				h.DelMask(drop)
				_ = h.Add(XRealIP, addr)
				_ = h.Add(XForwardedFor, addr)
				_ = h.Add(XForwardedHost, q.Host)
				_ = h.AddString(XForwardedPort, "443")
				_ = h.AddString(XForwardedProto, "https")
				out, _ = appendRequestHead(out[:0], q.MethodName, q.URI, h)
			}
		})
	}
}

const okResponse = "HTTP/1.1 200 OK\r\nDate: Fri, 27 Nov 2026 11:00:00 GMT\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: 13\r\n" +
	"Connection: keep-alive\r\nCache-Control: no-store\r\nETag: \"3f9c2d\"\r\n\r\nHello, World!"

func BenchmarkReadResponse(b *testing.B) {
	b.Run("h1", func(b *testing.B) {
		var pool Buffers
		var p Response
		rd := NewReader(&repeat{text: okResponse}, &pool)
		lim := ResponseLimits(4096)
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			if err := rd.ReadResponse(&p, MethodGet, &lim); err != nil {
				b.Fatal(err)
			}
			if body, err := p.Body.Next(); err != nil || len(body) != 13 {
				b.Fatal(body, err)
			}
		}
	})
	b.Run("nethttp", func(b *testing.B) {
		rd := bufio.NewReader(&repeat{text: okResponse})
		b.ReportAllocs()
		defer cpu(b)()
		for b.Loop() {
			p, err := http.ReadResponse(rd, nil)
			if err != nil {
				b.Fatal(err)
			}
			if n, err := io.Copy(io.Discard, p.Body); n != 13 || err != nil {
				b.Fatal(n, err)
			}
		}
	})
}

func BenchmarkChunkedBody(b *testing.B) {
	text := "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 256) + "0\r\n\r\n"
	var pool Buffers
	var q Request
	rd := NewReader(&repeat{text: text}, &pool)
	lim := defaultRequestLimits()
	b.SetBytes(1 << 20)
	b.ReportAllocs()
	defer cpu(b)()
	for b.Loop() {
		if err := rd.ReadRequest(&q, &lim); err != nil {
			b.Fatal(err)
		}
		if n, err := q.Body.WriteTo(io.Discard); n != 1<<20 || err != nil {
			b.Fatal(n, err)
		}
	}
}

// The steady state allocates nothing.
func TestNoAllocations(t *testing.T) {
	var pool Buffers
	var q Request
	var p Response
	text := browserRequest + "POST /up HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n"
	rd := NewReader(&repeat{text: text}, &pool)
	back := NewReader(&repeat{text: okResponse}, &pool)
	lim, rlim := defaultRequestLimits(), ResponseLimits(4096)
	var out []byte
	run := func() {
		for range 2 {
			if err := rd.ReadRequest(&q, &lim); err != nil {
				t.Fatal(err)
			}
			if err := back.ReadResponse(&p, q.Method, &rlim); err != nil {
				t.Fatal(err)
			}
			q.Header.RemoveHopByHop(false)
			_ = q.Header.SetString(XForwardedFor, "203.0.113.1")
			_ = q.Header.SetName("X-Other", "1")
			out, _ = appendRequestHead(out[:0], q.MethodName, q.URI, &q.Header)
			out = AppendResponseHead(out, p.Status, p.Phrase, &p.Header)
			for _, b := range []*Body{&q.Body, &p.Body} {
				for {
					data, err := b.Next()
					if err == io.EOF {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					out = appendChunk(out, data)
				}
				out = AppendLastChunk(out, b.Trailer())
			}
		}
	}
	run()
	if n := testing.AllocsPerRun(100, run); n > 0 {
		t.Errorf("%v allocations per two requests and responses", n)
	}
	if !bytes.Contains(out, []byte("X-Sum: 1\r\n")) {
		t.Errorf("the trailer is not in %q", out)
	}
}
