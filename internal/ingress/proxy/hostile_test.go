package proxy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// TestSmuggling: what two parsers could read in two ways never reaches the endpoint, and ends the connection.
func TestSmuggling(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web"), ingress("s", loc(func(l *table.Location) { l.RequestBuffering = false }), "s.example / web")), nil)
	var seen atomic.Int32
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		seen.Add(1)
		_, _ = io.Copy(io.Discard, q.Body)
	}))
	const evil = "GET /evil HTTP/1.1\r\nHost: a.example\r\n\r\n"
	for name, text := range map[string]string{
		"length and coding":      "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"two lengths":            "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n12345",
		"a list of lengths":      "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5, 5\r\n\r\n12345",
		"a length with a sign":   "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: +5\r\n\r\n12345",
		"space before the colon": "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
		"folded field":           "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
		"another coding":         "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
		"chunked twice":          "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
		"bare LF":                "GET / HTTP/1.1\nHost: a.example\n\n",
		"bare CR":                "GET / HTTP/1.1\r\nHost: a.example\rX: y\r\n\r\n",
		"NUL":                    "GET / HTTP/1.1\r\nHost: a.example\r\nX: a\x00b\r\n\r\n",
		"two hosts":              "GET / HTTP/1.1\r\nHost: a.example\r\nHost: b.example\r\n\r\n",
		"a host with a path":     "GET / HTTP/1.1\r\nHost: a.example/x\r\n\r\n",
		"no host":                "GET / HTTP/1.1\r\n\r\n",
		"above the root":         "GET /a/../../b HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"above, escaped":         "GET /%2e%2e/b HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"HTTP/1.0 with a coding": "POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"chunk size of letters":  "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
		"chunk size too large":   "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
		"chunk without its CRLF": "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\n",
		"field name of no token": "GET / HTTP/1.1\r\nHost: a.example\r\nX(y): z\r\n\r\n",
		"a chunk's line with LF": "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
		"LF in an extension":     "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3;\nabc\r\n0\r\n\r\n",
		"CR in an extension":     "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3;a\rb\r\nabc\r\n0\r\n\r\n",
		"a long extension":       "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3;" + strings.Repeat("a", 300) + "\r\nabc\r\n0\r\n\r\n",
		"many extensions":        "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n" + strings.Repeat("1;"+strings.Repeat("a", 200)+"\r\nx\r\n", 100) + "0\r\n\r\n",
		"chunk size of 0x":       "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
		"chunk size with a sign": "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n+3\r\nabc\r\n0\r\n\r\n",
		"chunk size and a space": "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n3 \r\nabc\r\n0\r\n\r\n",
		"a trailer with LF":      "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\n\r\n",
		"a coding with VT":       "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
		"two codings":            "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"a folded first field":   "GET / HTTP/1.1\r\n X: y\r\nHost: a.example\r\n\r\n",
		"two spaces":             "GET  / HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"a space at the end":     "GET / HTTP/1.1 \r\nHost: a.example\r\n\r\n",
		"HTTP/0.9":               "GET /\r\nHost: a.example\r\n\r\n",
		"HTTP/1.2":               "GET / HTTP/1.2\r\nHost: a.example\r\n\r\n",
		"a host with a user":     "GET / HTTP/1.1\r\nHost: evil@a.example\r\n\r\n",
		"a list of hosts":        "GET / HTTP/1.1\r\nHost: a.example, b.example\r\n\r\n",
		"a host with two ports":  "GET / HTTP/1.1\r\nHost: a.example:80:81\r\n\r\n",
		"a host with an escape":  "GET / HTTP/1.1\r\nHost: a.example%00\r\n\r\n",
		"a fragment":             "GET /#x HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"an escape cut short":    "GET /%2 HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"an escaped NUL":         "GET /a%00b HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"two authorizations":     "GET / HTTP/1.1\r\nHost: a.example\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
		"a header of 41k":        "GET / HTTP/1.1\r\nHost: a.example\r\n" + strings.Repeat("X: "+strings.Repeat("x", 4000)+"\r\n", 11) + "\r\n",
		"a line of 9k":           "GET / HTTP/1.1\r\nHost: a.example\r\nX: " + strings.Repeat("x", 9000) + "\r\n\r\n",
		"a target of 9k":         "GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"1001 fields":            "GET / HTTP/1.1\r\nHost: a.example\r\n" + strings.Repeat("X: y\r\n", 1001) + "\r\n",
		"CONNECT":                "CONNECT a.example:80 HTTP/1.1\r\nHost: a.example\r\n\r\n",
		"TRACE":                  "TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			seen.Store(0)
			c, err := net.Dial("tcp", r.http)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			fmt.Fprint(c, text+evil)
			rd := bufio.NewReader(c)
			resp, err := http.ReadResponse(rd, nil)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode < 400 || resp.StatusCode >= 600 || resp.StatusCode == 404 {
				t.Errorf("answered %d", resp.StatusCode)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			if rest, _ := io.ReadAll(rd); len(rest) > 0 {
				t.Errorf("a second answer: %q", rest)
			}
			if n := seen.Load(); n > 0 {
				t.Errorf("%d requests have reached the endpoint", n)
			}
		})
	}
	// The same body framing, streamed: what has begun must not become another request.
	resp := r.ask("POST / HTTP/1.1\r\nHost: s.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcX0\r\n\r\n" + evil)
	if resp.StatusCode != 400 {
		t.Errorf("a bad chunk in a body that streams: %d", resp.StatusCode)
	}
}

// TestAnswerSmuggling: an endpoint's answer that is no good HTTP is 502, and what comes behind an answer is not
// taken for the next one.
func TestAnswerSmuggling(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", loc(func(l *table.Location) { l.Retry.Tries = 1 }), "a.example / web")), nil)
	for name, c := range map[string]struct {
		text string
		want int
	}{
		"length and coding":     {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok", 502},
		"bare LF":               {"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", 502},
		"a header of 5k":        {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 5<<10) + "\r\n\r\n", 502},
		"an answer behind one":  {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", 200},
		"101 without a wish":    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 502},
		"a status of no number": {"HTTP/1.1 2xx OK\r\n\r\n", 502},
	} {
		r.backend("web", rawBackend(t, func(conn net.Conn) {
			for {
				if _, err := conn.Read(make([]byte, 4<<10)); err != nil {
					return
				}
				fmt.Fprint(conn, c.text)
			}
		}))
		for range 3 {
			resp, body := r.get("a.example", "/")
			if resp.StatusCode != c.want || c.want == 200 && body != "ok" {
				t.Errorf("%s: %d %q", name, resp.StatusCode, body)
			}
		}
	}
}

// TestHeaderInjection: no text of a filter becomes another field.
func TestHeaderInjection(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, heads))
	r.SetHooks(exchange.Hooks{
		Response: func(x *exchange.Exchange) {
			_ = x.Response.SetName("X-A", "a\r\nX-Evil: 1")
			_ = x.Response.SetName("X-B\r\nX-Evil", "1")
		},
	})
	resp, body := r.get("a.example", "/?%0d%0aX-Evil:%201", "X-Mine", "v")
	if resp.Header.Get("X-Evil") != "" || strings.Contains(body, "X-Evil:") {
		t.Errorf("%v %s", resp.Header, body)
	}
}

// TestFramingIsTheProxysOwn: whatever settings and filters say, one length is sent, and the right one.
func TestFramingIsTheProxysOwn(t *testing.T) {
	s := settings()
	text := func(v string) table.Text { return table.Text{Parts: []table.Part{{Literal: v}}} }
	s.SetHeaders = []table.ExpandedHeader{{Name: "Content-Length", Value: text("1")}, {Name: "Transfer-Encoding", Value: text("chunked")}}
	s.AddHeaders = []table.HeaderField{{Name: "Content-Length", Value: "1"}, {Name: "Transfer-Encoding", Value: "gzip"}}
	r := start(t, tableOf(s, ingress("a", nil, "a.example / web")), nil)
	got := make(chan string, 2)
	r.backend("web", rawBackend(t, func(c net.Conn) {
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		got <- string(b[:n])
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")
	}))
	r.SetHooks(exchange.Hooks{Access: func(_ context.Context, x *exchange.Exchange) *exchange.Answer {
		_ = x.Forward.SetName("Content-Length", "2")
		return nil
	}})
	resp := r.ask("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc")
	body, err := io.ReadAll(resp.Body)
	if err != nil || string(body) != "hello" || len(resp.TransferEncoding) != 0 || resp.ContentLength != 5 {
		t.Errorf("%v %q %v, length %d", resp.TransferEncoding, body, err, resp.ContentLength)
	}
	if head := <-got; strings.Count(head, "Content-Length:") != 1 || !strings.Contains(head, "Content-Length: 3\r\n") || strings.Contains(head, "Transfer-Encoding") {
		t.Errorf("the backend got %q", head)
	}
}

// TestSlowClients: a client that does not complete its header or its body is answered 408 and cut off.
func TestSlowClients(t *testing.T) {
	s := settings()
	s.HeaderTimeout, s.BodyTimeout = 300*time.Millisecond, 300*time.Millisecond
	r := start(t, tableOf(s, ingress("a", nil, "a.example / web"), ingress("s", loc(func(l *table.Location) { l.RequestBuffering = false }), "s.example / web")), nil)
	r.backend("web", serve(t, echo))
	for name, text := range map[string]string{
		"header": "GET / HTTP/1.1\r\nHost: a.example\r\nX: ",
		"body":   "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 10\r\n\r\nabc",
		"stream": "POST / HTTP/1.1\r\nHost: s.example\r\nContent-Length: 10\r\n\r\nabc",
	} {
		began := time.Now()
		resp := r.ask(text)
		if resp.StatusCode != 408 || time.Since(began) > 5*time.Second {
			t.Errorf("%s: %d after %v", name, resp.StatusCode, time.Since(began))
		}
	}
	// A header that comes a byte at a time is bounded as a whole.
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	for time.Since(began) < 5*time.Second {
		if _, err := io.WriteString(c, "G"); err != nil {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if time.Since(began) > 4*time.Second {
		t.Error("a header that comes a byte at a time was waited for")
	}
}

// TestFaults: a fault that one request brings to light ends its connection or stream alone.
func TestFaults(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, echo))
	r.SetHooks(exchange.Hooks{Choose: func(x *exchange.Exchange) {
		if x.Path == "/fault" {
			panic("a fault")
		}
	}})
	h2 := r.h2Client(nil)
	for range 3 {
		c, err := net.Dial("tcp", r.http)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprint(c, "GET /fault HTTP/1.1\r\nHost: a.example\r\n\r\n")
		if b, _ := io.ReadAll(c); len(b) > 0 {
			t.Errorf("%q", b)
		}
		if resp, err := h2.Get("https://a.example/fault"); err == nil {
			t.Errorf("HTTP/2: %v", resp.Status)
		}
		if resp, _ := r.get("a.example", "/"); resp.StatusCode != 200 {
			t.Errorf("the next request: %d", resp.StatusCode)
		}
		resp, err := h2.Get("https://a.example/")
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("the next request in HTTP/2: %v %v", resp, err)
		}
		_ = readAll(t, resp)
	}
}
