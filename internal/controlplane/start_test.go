package controlplane

import (
	"context"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// running is a control plane under test.
type running struct {
	*ControlPlane
	URL    string
	stages map[string]time.Duration
	cancel context.CancelFunc
	done   chan error
	failed <-chan string // parts, of launchMortal
	mu     sync.Mutex
}

// shortDir is a temporary directory whose path leaves room for a socket name.
func shortDir(tb testing.TB) string {
	tb.Helper()
	dir, err := os.MkdirTemp("", "mt")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// testOutput is where MINATO_TEST_LOG says logs go. It stays open: klog's
// output outlives a single test.
var testOutput = sync.OnceValue(func() io.Writer {
	path := os.Getenv("MINATO_TEST_LOG")
	if path == "" {
		return io.Discard
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	return f
})

func testLogger() *slog.Logger {
	return slog.New(slog.NewTextHandler(testOutput(), &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// launch starts a control plane in dir on two loopback listeners.
func launch(tb testing.TB, dir string, change func(*Config)) *running {
	tb.Helper()
	var listeners []net.Listener
	for range 2 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			tb.Fatal(err)
		}
		listeners = append(listeners, l)
	}
	r := &running{
		URL:    "https://" + listeners[1].Addr().String(),
		stages: map[string]time.Duration{},
		done:   make(chan error, 1),
	}
	cfg := Config{
		Name:         "test",
		DataDir:      filepath.Join(dir, "data"),
		RunDir:       filepath.Join(dir, "run"),
		Listeners:    listeners,
		Addresses:    []netip.Addr{netip.MustParseAddr("192.0.2.10")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		Stage: func(name string, took time.Duration) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.stages[name] = took
		},
		PartFailed: func(part string, err error) { tb.Errorf("%s failed: %v", part, err) },
		Logger:     testLogger(),
	}
	if change != nil {
		change(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	r.ControlPlane = c
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		err := c.Run(ctx)
		if ctx.Err() == nil {
			tb.Errorf("Run ended by itself: %v", err)
		}
		r.done <- err
	}()
	select {
	case <-c.Ready():
	case err := <-r.done:
		tb.Fatalf("Run returned %v before the control plane was ready", err)
	case <-time.After(60 * time.Second):
		buf := make([]byte, 1<<20)
		tb.Fatalf("the control plane wasn't ready within a minute\n%s", buf[:runtime.Stack(buf, true)])
	}
	return r
}

// stop ends the control plane and returns how long that took.
func (r *running) stop(tb testing.TB) time.Duration {
	tb.Helper()
	begin := time.Now()
	r.cancel()
	select {
	case err := <-r.done:
		if err != nil {
			tb.Errorf("Run: %v", err)
		}
	case <-time.After(30 * time.Second):
		buf := make([]byte, 1<<20)
		tb.Fatalf("the control plane didn't stop within 30 seconds\n%s", buf[:runtime.Stack(buf, true)])
	}
	return time.Since(begin)
}

// BenchmarkStart measures a start on empty data and one on existing data.
//
//	go test -run=NONE -bench=Start -benchtime=3x ./internal/controlplane
func BenchmarkStart(b *testing.B) {
	for _, kind := range []string{"new", "existing"} {
		b.Run(kind, func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				dir := shortDir(b)
				if kind == "existing" {
					launch(b, dir, nil).stop(b)
				}
				b.StartTimer()
				begin := time.Now()
				r := launch(b, dir, nil)
				took := time.Since(begin)
				b.StopTimer()
				r.mu.Lock()
				for name, d := range r.stages {
					b.ReportMetric(float64(d.Milliseconds()), strings.ReplaceAll(name, " ", "-")+"-ms")
				}
				r.mu.Unlock()
				b.Logf("%s: ready after %v, stages %v, stop took %v", kind, took, r.stages, r.stop(b))
				b.StartTimer()
			}
		})
	}
}
