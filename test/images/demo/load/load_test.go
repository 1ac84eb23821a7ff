package load

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// run sends requests until done says so, for at most ten seconds.
func run(t *testing.T, cfg Config, done func() bool) (Report, string) {
	t.Helper()
	var failures bytes.Buffer
	cfg.Name, cfg.Rate, cfg.Failures = "test", 500, &failures
	g, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	reports := make(chan Report, 1)
	go func() { reports <- g.Run(ctx) }()
	for !done() && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Error("what was waited for did not happen")
	}
	cancel()
	return <-reports, failures.String()
}

// echo answers datagrams, after change has had a say about each.
func echo(t *testing.T, change func(n int, from net.Addr) (answer bool)) (address string) {
	t.Helper()
	c, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	go func() {
		buf := make([]byte, 512)
		for n := 1; ; n++ {
			_, from, err := c.ReadFrom(buf)
			if err != nil {
				return
			}
			if change(n, from) {
				c.WriteTo([]byte("pod a\n"), from)
			}
		}
	}()
	return c.LocalAddr().String()
}

func TestEveryKindIsAnswered(t *testing.T) {
	var asked atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if n := asked.Add(1); n%7 == 0 {
			w.Header().Set("Connection", "close")
		}
	}))
	defer web.Close()
	datagrams := echo(t, func(int, net.Addr) bool { asked.Add(1); return true })
	var targets []Target
	for _, kind := range Kinds() {
		address := web.Listener.Addr().String()
		if strings.HasPrefix(kind, "udp") {
			address = datagrams
		}
		target, err := ParseTarget(kind + "=" + address)
		if err != nil {
			t.Fatal(err)
		}
		targets = append(targets, target)
	}
	r, failures := run(t, Config{Targets: targets}, func() bool { return asked.Load() > 200 })
	if r.Failed() != 0 || failures != "" {
		t.Errorf("failures:\n%s", failures)
	}
	for _, one := range r.Results {
		if one.Requests < 5 {
			t.Errorf("%s: %d requests", one.Target, one.Requests)
		}
		if renewed := one.Renewed > 0; renewed != (one.Target.Kind == "keepalive") {
			t.Errorf("%s: %d connections renewed", one.Target, one.Renewed)
		}
	}
	if text := r.String(); !strings.HasPrefix(text, "test: ") || strings.Count(text, ", 0 failed") != 6 {
		t.Errorf("report:\n%s", text)
	}
}

func TestConnectionThatEndsWithoutNoticeFails(t *testing.T) {
	var asked atomic.Int64
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked.Add(1) == 5 {
			panic(http.ErrAbortHandler)
		}
	}))
	defer web.Close()
	target := Target{Kind: "keepalive", Address: web.Listener.Addr().String()}
	r, failures := run(t, Config{Targets: []Target{target}}, func() bool { return asked.Load() > 10 })
	if r.Failed() != 1 || !strings.Contains(failures, " test "+target.String()+" after ") || !strings.Contains(failures, "EOF") {
		t.Errorf("%d failed:\n%s", r.Failed(), failures)
	}
}

func TestLostDatagramFailsOnce(t *testing.T) {
	for _, kind := range []string{"udp", "udp-connected"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int64
			address := echo(t, func(n int, _ net.Addr) bool { asked.Store(int64(n)); return n != 5 })
			r, failures := run(t, Config{Targets: []Target{{Kind: kind, Address: address}}}, func() bool { return asked.Load() > 10 })
			if r.Failed() != 1 || !strings.Contains(failures, "pod a answered last: receive: ") {
				t.Errorf("%d failed:\n%s", r.Failed(), failures)
			}
		})
	}
}

// endedConn is a socket that the kernel disconnects after some writes.
type endedConn struct {
	net.Conn
	left int
}

func (c *endedConn) Write(b []byte) (int, error) {
	if c.left--; c.left < 0 {
		return 0, &net.OpError{Op: "write", Err: syscall.EDESTADDRREQ}
	}
	return c.Conn.Write(b)
}

func TestDisconnectedSocketIsMadeAnew(t *testing.T) {
	var asked atomic.Int64
	address := echo(t, func(int, net.Addr) bool { asked.Add(1); return true })
	dial := func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		return &endedConn{Conn: c, left: 5}, err
	}
	r, failures := run(t, Config{Targets: []Target{{Kind: "udp-connected", Address: address}}, Network: Network{Dial: dial}},
		func() bool { return asked.Load() > 20 })
	if r.Failed() != 0 || r.Results[0].Renewed < 3 {
		t.Errorf("%d renewed, %d failed:\n%s", r.Results[0].Renewed, r.Failed(), failures)
	}
}

func TestBadTargetsAndRates(t *testing.T) {
	for _, text := range []string{"", "http", "http=nowhere", "ftp=127.0.0.1:21"} {
		if target, err := ParseTarget(text); err == nil {
			t.Errorf("%q: %v", text, target)
		}
	}
	good := []Target{{Kind: "http", Address: "127.0.0.1:80"}}
	for _, cfg := range []Config{{Rate: 1}, {Targets: good}, {Targets: good, Rate: 5000}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v: no error", cfg)
		}
	}
}
