package controlplane

import (
	"context"
	"net"
	"net/netip"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// TestCancelDuringStart stops control planes that are still starting, at many
// moments. Upstream's hooks end the process when they fail, and they fail when
// they are interrupted: that mustn't reach ours.
func TestCancelDuringStart(t *testing.T) {
	for _, after := range []string{"", "etcd", "apiserver-config", "apiserver-chain", "apiserver-prepare", "apiserver-informers", "bootstrap-namespaces", "bootstrap-service"} {
		dir := shortDir(t)
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		c, err := New(Config{
			Name: "test", DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Ephemeral: true,
			Listeners:    []net.Listener{l},
			Addresses:    []netip.Addr{netip.MustParseAddr("192.0.2.10")},
			ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
			PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
			Logger:       testLogger(),
			Stage: func(name string, _ time.Duration) {
				if name == after {
					cancel()
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if after == "" {
			cancel()
		}
		done, begin := make(chan error, 1), time.Now()
		go func() { done <- c.Run(ctx) }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("stopped after %q: Run returned %v", after, err)
			}
		case <-time.After(deadline):
			buf := make([]byte, 4<<20)
			t.Fatalf("stopped after %q: Run goes on\n%s", after, buf[:runtime.Stack(buf, true)])
		}
		cancel()
		t.Logf("stopped after %q: took %v in all", after, time.Since(begin))
		if _, err := net.Dial("tcp", l.Addr().String()); err == nil {
			t.Errorf("stopped after %q: the listener is still open", after)
		}
	}
}
