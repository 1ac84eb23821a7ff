package proxy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

func readAll(t testing.TB, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// wsBackend takes any upgrade and echoes what comes.
func wsBackend(c net.Conn) {
	rd := bufio.NewReader(c)
	req, err := http.ReadRequest(rd)
	if err != nil {
		return
	}
	if !strings.EqualFold(req.Header.Get("Connection"), "upgrade") || req.Header.Get("Upgrade") == "" {
		fmt.Fprint(c, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno")
		return
	}
	fmt.Fprintf(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: %s\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: x\r\n\r\nhello", req.Header.Get("Upgrade"))
	_, _ = io.Copy(c, rd)
}

// upgrade opens a tunnel through the proxy, and reads the endpoint's first bytes.
func (r *rig) upgrade(host string) (net.Conn, *bufio.Reader) {
	r.t.Helper()
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	fmt.Fprintf(c, "GET /ws HTTP/1.1\r\nHost: %s\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n", host)
	rd := bufio.NewReader(c)
	resp, err := http.ReadResponse(rd, nil)
	if err != nil || resp.StatusCode != 101 || !strings.EqualFold(resp.Header.Get("Upgrade"), "websocket") {
		r.t.Fatalf("upgrade: %v %v", resp, err)
	}
	first := make([]byte, 5)
	if _, err := io.ReadFull(rd, first); err != nil || string(first) != "hello" {
		r.t.Fatalf("%q %v", first, err)
	}
	return c, rd
}

func exchangeOn(t testing.TB, c net.Conn, rd *bufio.Reader, size int) {
	t.Helper()
	text := bytes.Repeat([]byte("abcdefgh"), size/8)
	go func() { _, _ = c.Write(text) }()
	got := make([]byte, len(text))
	if _, err := io.ReadFull(rd, got); err != nil || !bytes.Equal(got, text) {
		t.Fatalf("%d bytes through the tunnel: %v", size, err)
	}
}

func TestWebSocket(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / ws")), nil)
	r.backend("ws", rawBackend(t, wsBackend))
	c, rd := r.upgrade("a.example")
	for _, size := range []int{8, 4096, 8 << 20} {
		exchangeOn(t, c, rd, size)
	}
	_ = c.(*net.TCPConn).CloseWrite()
	if rest, err := io.ReadAll(rd); err != nil || len(rest) > 0 {
		t.Errorf("after the client's end: %q, %v", rest, err)
	}
	eventually(t, "the tunnel is told of", func() bool { return len(r.records.take()) == 1 })
}

// TestWebSocketOutlivesEdits: edits of its own route and of others, and of its endpoints, do not touch a tunnel.
func TestWebSocketOutlivesEdits(t *testing.T) {
	tab := func(other string) *table.Table {
		return tableOf(settings(), ingress("a", nil, "a.example / ws"), ingress("b", nil, "b.example /"+other+" ws"))
	}
	r := start(t, tab("x"), nil)
	address := rawBackend(t, wsBackend)
	r.backend("ws", address)
	c, rd := r.upgrade("a.example")
	for i := range 100 {
		r.SetTable(tab(strconv.Itoa(i)))
		exchangeOn(t, c, rd, 64)
	}
	r.backend("ws")
	r.SetTable(tableOf(settings()))
	exchangeOn(t, c, rd, 64)
}

// TestTunnelTimeout: a tunnel through which nothing comes for the read timeout ends; one that is used does not.
func TestTunnelTimeout(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", func(i *table.Ingress) { i.Options.Location.ReadTimeout = 600 * time.Millisecond }, "a.example / ws")), nil)
	r.backend("ws", rawBackend(t, wsBackend))
	c, rd := r.upgrade("a.example")
	for range 8 {
		exchangeOn(t, c, rd, 8)
		<-time.After(150 * time.Millisecond)
	}
	began := time.Now()
	if b, err := io.ReadAll(rd); len(b) > 0 || time.Since(began) < 300*time.Millisecond || time.Since(began) > 5*time.Second {
		t.Errorf("an idle tunnel ended after %v: %q %v", time.Since(began), b, err)
	}
}

// TestServerSentEvents: each piece of an answer arrives as it is sent.
func TestServerSentEvents(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	next := make(chan string)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		w.(http.Flusher).Flush()
		for s := range next {
			fmt.Fprint(w, s)
			w.(http.Flusher).Flush()
		}
	}))
	resp := r.ask("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	for i := range 5 {
		want := fmt.Sprintf("data: %d\n\n", i)
		next <- want
		got := make([]byte, len(want))
		if _, err := io.ReadFull(resp.Body, got); err != nil || string(got) != want {
			t.Fatalf("%q %v", got, err)
		}
	}
	close(next)
	if b, err := io.ReadAll(resp.Body); err != nil || len(b) > 0 {
		t.Errorf("%q %v", b, err)
	}
}

// TestLargeAnswer goes by splice(2).
func TestLargeAnswer(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 1<<20)
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/chunked" {
			w.(http.Flusher).Flush()
		} else {
			w.Header().Set("Content-Length", strconv.Itoa(len(text)))
		}
		_, _ = w.Write(text)
	}))
	for _, path := range []string{"/", "/chunked"} {
		for range 2 {
			if resp, body := r.get("a.example", path); resp.StatusCode != 200 || body != string(text) {
				t.Errorf("%s: %d, %d bytes", path, resp.StatusCode, len(body))
			}
		}
	}
	resp := r.ask("GET /chunked HTTP/1.0\r\nHost: a.example\r\n\r\n")
	if body := readAll(t, resp); body != string(text) || len(resp.TransferEncoding) > 0 {
		t.Errorf("HTTP/1.0: %d bytes, %v", len(body), resp.TransferEncoding)
	}
}

func TestTrailers(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", func(i *table.Ingress) { i.Options.Location.RequestBuffering = false }, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "a.example"))
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		_, _ = io.Copy(io.Discard, q.Body)
		w.Header().Set("Trailer", "X-Sum")
		fmt.Fprint(w, "body")
		w.(http.Flusher).Flush()
		w.Header().Set("X-Sum", "got "+q.Trailer.Get("X-Up"))
	}))
	resp := r.ask("POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n3\r\nabc\r\n0\r\nX-Up: 7\r\n\r\n")
	if b := readAll(t, resp); b != "body" || resp.Trailer.Get("X-Sum") == "" {
		t.Errorf("%q, trailer %v", b, resp.Trailer)
	}
	resp2, err := r.h2Client(nil).Get("https://a.example/")
	if err != nil {
		t.Fatal(err)
	}
	if b := readAll(t, resp2); b != "body" || resp2.Trailer.Get("X-Sum") == "" {
		t.Errorf("HTTP/2: %q, trailer %v", b, resp2.Trailer)
	}
}

func TestExpectContinue(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", func(i *table.Ingress) { i.Options.Location.BodySize = 10 }, "a.example / web")), nil)
	r.backend("web", serve(t, echo))
	c, err := net.Dial("tcp", r.http)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	rd := bufio.NewReader(c)
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
	line, err := rd.ReadString('\n')
	if err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	_, _ = rd.ReadString('\n')
	fmt.Fprint(c, "12345")
	resp, err := http.ReadResponse(rd, nil)
	if err != nil || resp.StatusCode != 200 || !strings.Contains(readAll(t, resp), "body 5, length 5") {
		t.Errorf("%v %v", resp, err)
	}
	// What is refused is refused before the body is sent.
	fmt.Fprint(c, "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 50\r\nExpect: 100-continue\r\n\r\n")
	if resp, err = http.ReadResponse(rd, nil); err != nil || resp.StatusCode != 413 {
		t.Errorf("%v %v", resp, err)
	}
}

func TestBodySize(t *testing.T) {
	for _, buffering := range []bool{true, false} {
		r := start(t, tableOf(settings(), ingress("a", func(i *table.Ingress) {
			i.Options.Location.BodySize, i.Options.Location.RequestBuffering = 1000, buffering
		}, "a.example / web")), nil)
		r.SetDefaultCertificate(selfSigned(t, "a.example"))
		r.backend("web", serve(t, echo))
		for size, want := range map[int]int{1000: 200, 1001: 413, 300_000: 413} {
			for _, chunked := range []bool{false, true} {
				var body io.Reader = bytes.NewReader(make([]byte, size))
				if chunked {
					body = struct{ io.Reader }{body}
				}
				resp, _ := r.do("POST", "a.example", "/", body)
				if want == 413 && !resp.Close {
					t.Errorf("buffering %v, %d bytes, chunked %v: the connection is to be used again, with the body in it", buffering, size, chunked)
				}
				if resp.StatusCode != want {
					t.Errorf("buffering %v, %d bytes, chunked %v: %d, want %d", buffering, size, chunked, resp.StatusCode, want)
				}
				req, _ := http.NewRequest("POST", "https://a.example/", struct{ io.Reader }{bytes.NewReader(make([]byte, size))})
				if !chunked {
					req.ContentLength = int64(size)
				}
				resp, err := r.h2Client(nil).Do(req)
				if err != nil {
					t.Errorf("HTTP/2: %v", err)
					continue
				}
				resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("HTTP/2, buffering %v, %d bytes, chunked %v: %d, want %d", buffering, size, chunked, resp.StatusCode, want)
				}
			}
		}
	}
}

// TestResponseBuffering: with proxy-buffering, an endpoint is rid of its answer although the client does not read.
func TestResponseBuffering(t *testing.T) {
	text := bytes.Repeat([]byte("0123456789abcdef"), 4<<20) // more than sockets hold
	r := start(t, tableOf(settings(),
		ingress("a", loc(func(l *table.Location) {
			l.Buffering = table.Buffering{Enabled: true, HeaderSize: 4 << 10, Buffers: 4, MaxTempFile: 1 << 30}
		}), "a.example / web"),
		ingress("b", nil, "b.example / web"),
	), nil)
	sent := make(chan struct{}, 10)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path == "/events" {
			w.Header().Set("X-Accel-Buffering", "no")
		}
		_, _ = w.Write(text)
		sent <- struct{}{}
	}))
	resp := r.ask("GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
	select {
	case <-sent:
	case <-time.After(15 * time.Second):
		t.Fatal("the endpoint still sends")
	}
	if body := readAll(t, resp); body != string(text) {
		t.Errorf("%d bytes", len(body))
	}
	for _, c := range []string{"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n", "GET /events HTTP/1.1\r\nHost: a.example\r\n\r\n"} {
		resp = r.ask(c)
		select {
		case <-sent:
			t.Errorf("%q: the answer was held back", c)
		case <-time.After(300 * time.Millisecond):
		}
		if body := readAll(t, resp); body != string(text) || resp.Header.Get("X-Accel-Buffering") != "" {
			t.Errorf("%d bytes, %v", len(body), resp.Header)
		}
		<-sent
	}
}

// TestPace: limit-rate and limit-rate-after.
func TestPace(t *testing.T) {
	r := start(t, tableOf(settings(), ingress("a", nil, "a.example / web")), nil)
	r.backend("web", serve(t, func(w http.ResponseWriter, q *http.Request) { _, _ = w.Write(make([]byte, 300<<10)) }))
	r.SetHooks(exchange.Hooks{Choose: func(x *exchange.Exchange) { x.Pace = table.Pace{Rate: 200 << 10, After: 100 << 10} }})
	began := time.Now()
	if _, body := r.get("a.example", "/"); len(body) != 300<<10 {
		t.Errorf("%d bytes", len(body))
	}
	if d := time.Since(began); d < 800*time.Millisecond || d > 5*time.Second {
		t.Errorf("200 KiB at 200 KiB a second took %v", d)
	}
}
