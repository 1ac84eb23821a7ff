package proxy

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"minato/internal/ingress/table"
)

// lines keeps log lines.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) Line(p []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, string(p))
}

func (l *lines) take() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.all...)
}

func echoTCP(c net.Conn) { _, _ = io.Copy(c, c) }

// stream runs a TCP stream and returns its address.
func (r *rig) tcp(st table.Stream, log StreamLog) string {
	r.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.ServeTCP(ctx, l, st, log) }()
	r.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestTCPStream(t *testing.T) {
	r := start(t, tableOf(settings()), nil)
	r.backend("echo", refusing(t), rawBackend(t, echoTCP))
	r.backend("proxied", rawBackend(t, func(c net.Conn) {
		rd := bufio.NewReader(c)
		line, _ := rd.ReadString('\n')
		fmt.Fprintf(c, "<%s>", strings.TrimSpace(line))
		_, _ = io.Copy(c, rd)
	}))
	var log lines
	plain := r.tcp(table.Stream{Port: 9000, Backend: refOf("echo")}, &log)
	both := r.tcp(table.Stream{Port: 9001, Backend: refOf("proxied"), DecodeProxy: true, EncodeProxy: true}, &log)
	none := r.tcp(table.Stream{Port: 9002, Backend: refOf("nothing")}, &log)
	for range 3 {
		c, err := net.Dial("tcp", plain)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		text := bytes.Repeat([]byte("x"), 2<<20)
		go func() { _, _ = c.Write(text); _ = c.(*net.TCPConn).CloseWrite() }()
		if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, text) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
	}
	c, err := net.Dial("tcp", both)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	fmt.Fprint(c, "PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\nhello")
	_ = c.(*net.TCPConn).CloseWrite()
	if got, _ := io.ReadAll(c); string(got) != "<PROXY TCP4 192.0.2.1 198.51.100.2 12345 443>hello" {
		t.Errorf("%q", got)
	}
	if c, err = net.Dial("tcp", none); err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("a stream without endpoints has answered")
	}
	want := regexp.MustCompile(`^\[127\.0\.0\.1\] \[[^]]+\] TCP 200 2097152 2097152 \d+\.\d{3}$`)
	eventually(t, "five lines", func() bool { return len(log.take()) == 5 })
	if !want.MatchString(log.take()[0]) {
		t.Errorf("%q", log.take())
	}
}

func TestUDPStream(t *testing.T) {
	s := settings()
	s.StreamTimeout = 300 * time.Millisecond
	r := start(t, tableOf(s), nil)
	back, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	go func() {
		buf := make([]byte, 2048)
		for {
			n, from, err := back.ReadFrom(buf)
			if err != nil {
				return
			}
			_, _ = back.WriteTo([]byte(fmt.Sprintf("%s for %s", buf[:n], from)), from)
		}
	}()
	r.backend("udp", back.LocalAddr().String())
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var log lines
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.ServeUDP(ctx, front, table.Stream{Port: 53, UDP: true, Backend: refOf("udp")}, &log) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	sources := map[string]bool{}
	for range 2 {
		c, err := net.Dial("udp", front.LocalAddr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		first := ""
		for range 3 {
			fmt.Fprint(c, "q")
			buf := make([]byte, 2048)
			n, err := c.Read(buf)
			if err != nil || !strings.HasPrefix(string(buf[:n]), "q for ") {
				t.Fatalf("%q %v", buf[:n], err)
			}
			if first == "" {
				first = string(buf[:n])
			}
			if string(buf[:n]) != first {
				t.Errorf("another session: %q, then %q", first, buf[:n])
			}
		}
		sources[first] = true
	}
	if len(sources) != 2 {
		t.Errorf("two clients share a session: %v", sources)
	}
	eventually(t, "idle sessions end", func() bool { return len(log.take()) == 2 })
	if !strings.Contains(log.take()[0], "UDP 200 ") {
		t.Errorf("%q", log.take())
	}
}

// TestUDPStreamEndpoints: a client that stays at its port goes on to another endpoint when its own is taken from the backend, or
// has ceased to listen.
func TestUDPStreamEndpoints(t *testing.T) {
	r := start(t, tableOf(settings()), nil)
	backs := map[string]net.PacketConn{}
	var addresses []string
	for range 2 {
		back, err := net.ListenPacket("udp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer back.Close()
		backs[back.LocalAddr().String()] = back
		addresses = append(addresses, back.LocalAddr().String())
		go func() {
			buf := make([]byte, 2048)
			for {
				_, from, err := back.ReadFrom(buf)
				if err != nil {
					return
				}
				_, _ = back.WriteTo([]byte(back.LocalAddr().String()), from)
			}
		}()
	}
	r.backend("udp", addresses...)
	front, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() {
		done <- r.ServeUDP(ctx, front, table.Stream{Port: 53, UDP: true, Backend: refOf("udp")}, nil)
	}()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	c, err := net.Dial("udp", front.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ask := func() string {
		buf := make([]byte, 2048)
		fmt.Fprint(c, "q")
		_ = c.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
		n, err := c.Read(buf)
		if err != nil {
			return ""
		}
		return string(buf[:n])
	}
	var first string
	eventually(t, "an endpoint answers", func() bool { first = ask(); return first != "" })
	other := addresses[0]
	if other == first {
		other = addresses[1]
	}
	r.backend("udp", other)
	eventually(t, "the other one answers", func() bool { return ask() == other })
	r.backend("udp", addresses...)
	_ = backs[other].Close()
	eventually(t, "the first one answers for the one that does not listen", func() bool { return ask() == first })
}

// TestPassthrough: the TLS of a host with ssl-passthrough is its endpoints'; that of others is the proxy's.
func TestPassthrough(t *testing.T) {
	s := settings()
	s.Passthrough = true
	r := start(t, tableOf(s,
		ingress("p", func(i *table.Ingress) { i.Options.Host.Passthrough = true }, "p.example / tls"),
		ingress("a", nil, "a.example / web")), nil)
	r.SetDefaultCertificate(selfSigned(t, "default.example"))
	back := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	back.TLS = &tls.Config{Certificates: []tls.Certificate{*selfSigned(t, "endpoint.example")}}
	back.StartTLS()
	t.Cleanup(back.Close)
	r.backend("tls", back.Listener.Addr().String())
	r.backend("web", serve(t, echo))
	for sni, want := range map[string]string{"p.example": "endpoint.example", "a.example": "default.example", "": "default.example", "x.example": "default.example"} {
		got, c, err := r.shown(sni, nil)
		if err != nil || got != want {
			t.Errorf("%q: %q %v, want %q", sni, got, err, want)
			continue
		}
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", sni)
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%q: %v", sni, err)
			continue
		}
		body := readAll(t, resp)
		if strings.Contains(body, "X-Forwarded-For") != (sni == "a.example") {
			t.Errorf("%q: %s", sni, body)
		}
	}
}
