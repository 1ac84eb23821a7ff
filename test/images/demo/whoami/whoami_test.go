package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func startWhoami(t *testing.T, s *server) (address string, stop func() error) {
	t.Helper()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.run(ctx, tcp, udp, 0) }()
	stop = func() error { cancel(); return <-done }
	return tcp.Addr().String(), stop
}

func TestAnswers(t *testing.T) {
	address, stop := startWhoami(t, &server{id: identity{pod: "web-1", node: "node-2"}})
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for url, want := range map[string]string{
		"/":        "pod web-1 on node node-2 (127.0.0.1)\n",
		"/a/b":     "pod web-1 on node node-2 (127.0.0.1)\n",
		"/healthz": "ok\n",
	} {
		if got, err := get(ctx, "http://"+address+url); got != want || err != nil {
			t.Errorf("%s: %q, %v", url, got, err)
		}
	}
	if got, err := datagram(ctx, address); got != "pod web-1 on node node-2\n" || err != nil {
		t.Errorf("udp: %q, %v", got, err)
	}
	if err := stop(); err != nil {
		t.Errorf("stop: %v", err)
	}
	if _, err := get(ctx, "http://"+address); err == nil {
		t.Error("it answers after it has stopped")
	}
}

func TestHealthFailsWhileStopping(t *testing.T) {
	s := &server{}
	s.stopping.Store(true)
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/healthz", nil))
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("status %d", w.Code)
	}
}

// A server that drains answers until the end, and at last tells clients that
// their connections end.
func TestDrain(t *testing.T) {
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	udp, err := net.ListenPacket("udp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- (&server{}).run(ctx, tcp, udp, 400*time.Millisecond) }()
	client := &http.Client{Transport: &http.Transport{}}
	begun := time.Now()
	cancel()
	for stayed := 0; ; stayed++ {
		resp, err := client.Get("http://" + tcp.Addr().String())
		if err != nil {
			t.Fatalf("after %s: %v", time.Since(begun), err)
		}
		resp.Body.Close()
		if resp.Close {
			if stayed == 0 || time.Since(begun) < 200*time.Millisecond {
				t.Errorf("the connection ended after %d answers and %s", stayed, time.Since(begun))
			}
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := <-done; err != nil {
		t.Errorf("stop: %v", err)
	}
}

func TestHeaders(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "http://example.com/headers?x=1", nil)
	r.Header.Set("X-Forwarded-For", "192.0.2.1")
	got := requestText(r)
	for _, want := range []string{"GET http://example.com/headers?x=1 HTTP/1.1\n", "Host: example.com\n", "X-Forwarded-For: 192.0.2.1\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %q", want, got)
		}
	}
}

func TestErrorStatusFails(t *testing.T) {
	web := httptest.NewServer(http.NotFoundHandler())
	defer web.Close()
	if _, err := get(context.Background(), web.URL); err == nil {
		t.Error("404 is no error")
	}
}

func TestUsage(t *testing.T) {
	for _, args := range [][]string{{"what"}, {"get"}, {"get", "a", "b"}, {"udp"}, {"load"}, {"load", "ftp=a:1"}} {
		if err := run(context.Background(), args); err == nil {
			t.Errorf("%v: no error", args)
		}
	}
}
