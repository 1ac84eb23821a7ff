package member

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"minato/internal/runtime/image"
	"minato/internal/supervise"
)

func config() Config {
	return Config{
		Name: "node-1", Addresses: []netip.Addr{netip.MustParseAddr("172.30.0.11")}, PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24")},
		DataDir: "/data", RunDir: "/run", PinDir: "/pins", CRISocket: "/run/cri/node-1.sock", CNISocket: "/run/cni/node-1.sock", BGPSocket: "/run/bgp/node-1.sock", IngressSocket: "/run/ingress/node-1.sock", IngressLog: "/log/node-1.log",
		Connect: func(string, ...string) *rest.Config { return &rest.Config{} }, Connected: make(chan struct{}), Watch: &Watch{},
		Images:       &image.Store{},
		Certificates: func() (tls.Certificate, *x509.CertPool, error) { return tls.Certificate{}, nil, nil },
	}
}

func TestConfigNamesWhatIsMissing(t *testing.T) {
	c := config()
	if err := c.complete(); err != nil {
		t.Fatalf("a whole configuration: %v", err)
	}
	for want, change := range map[string]func(*Config){
		"Name":          func(c *Config) { c.Name = "" },
		"Addresses":     func(c *Config) { c.Addresses = nil },
		"PodCIDRs":      func(c *Config) { c.PodCIDRs = append(c.PodCIDRs, c.PodCIDRs[0]) },
		"RunDir":        func(c *Config) { c.RunDir = "run" },
		"BGPSocket":     func(c *Config) { c.BGPSocket = "" },
		"IngressSocket": func(c *Config) { c.IngressSocket = "" },
		"IngressLog":    func(c *Config) { c.IngressLog = "node-1.log" },
		"Connect":       func(c *Config) { c.Connect = nil },
		"Watch":         func(c *Config) { c.Watch = nil },
		"Images":        func(c *Config) { c.Images = nil },
		"Certificates":  func(c *Config) { c.Certificates = nil },
	} {
		c := config()
		change(&c)
		if err := c.complete(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without %s: %v", want, err)
		}
	}
}

// A part that fails shows in the Node's conditions where Kubernetes has one, and
// no longer once it runs again.
func TestTroubleOfParts(t *testing.T) {
	for name, want := range map[string]struct{ runtime, network string }{
		partRuntime:   {runtime: "container runtime is not ready: broken"},
		partRoutes:    {network: "routes: broken"},
		partServices:  {network: "services: broken"},
		"dns-metrics": {},
	} {
		m := &Member{parts: supervise.New(supervise.Config{})}
		ctx, cancel := context.WithCancel(t.Context())
		again := make(chan struct{})
		done := make(chan struct{})
		failed := false
		go func() {
			defer close(done)
			m.parts.Run(ctx, supervise.Part{Name: name, Run: func(ctx context.Context) error {
				if !failed {
					failed = true
					return errors.New("broken")
				}
				close(again)
				<-ctx.Done()
				return nil
			}})
		}()
		poll(t, func() bool { s := m.States(); return len(s) == 1 && s[0].Phase == supervise.Failed })
		if got := m.trouble(); got.Runtime != want.runtime || got.Network != want.network {
			t.Errorf("%s failed: %+v, want %+v", name, got, want)
		}
		<-again
		poll(t, func() bool { return m.States()[0].Phase == supervise.Running })
		if got := m.trouble(); got.Runtime != "" || got.Network != "" {
			t.Errorf("%s runs again: %+v", name, got)
		}
		cancel()
		<-done
	}
}

func poll(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatal("not within 5 s")
		}
		time.Sleep(time.Millisecond)
	}
}
