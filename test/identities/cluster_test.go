package identities

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"minato/internal/controlplane"
	"minato/internal/controlplane/access"
)

const deadline = 30 * time.Second

var (
	serviceCIDR = netip.MustParsePrefix("10.96.0.0/16")
	dnsAddress  = netip.MustParseAddr("10.96.0.10")
)

// eventually polls until ok returns true.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !ok(); {
		if time.Now().After(end) {
			t.Fatalf("%s: did not happen within %v", what, deadline)
		}
		time.Sleep(20 * time.Millisecond) // between polls
	}
}

// cluster is a control plane without nodes.
type cluster struct {
	*controlplane.ControlPlane
	url   string
	admin kubernetes.Interface

	mu      sync.Mutex
	refused []string // requests that were answered 403
}

// start runs a control plane until the test ends. What it refuses is written
// down from the first moment: parts connect before it is ready.
func start(t *testing.T) *cluster {
	t.Helper()
	dir, err := os.MkdirTemp("", "mt") // short, because etcd's socket is in it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &cluster{url: "https://" + l.Addr().String()}
	c.ControlPlane, err = controlplane.New(controlplane.Config{
		Name: "test", DataDir: filepath.Join(dir, "data"), RunDir: filepath.Join(dir, "run"), Ephemeral: true,
		Listeners:    []net.Listener{l},
		Addresses:    []netip.Addr{netip.MustParseAddr("192.0.2.10")},
		ServiceCIDRs: []netip.Prefix{serviceCIDR},
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		Logger:       slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	c.admin = c.client(t, "kubernetes-admin", access.GroupAdmins)
	return c
}

// client connects as user.
func (c *cluster) client(t *testing.T, user string, groups ...string) kubernetes.Interface {
	t.Helper()
	return clientFor(t, c.connection(user, groups...))
}

// connection is how user connects.
func (c *cluster) connection(user string, groups ...string) *rest.Config {
	cfg := c.RESTConfig(user, groups...)
	cfg.Wrap(func(next http.RoundTripper) http.RoundTripper { return watchful{c, user, next} })
	return cfg
}

func clientFor(t *testing.T, cfg *rest.Config) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// waitReady returns when the API can be used.
func (c *cluster) waitReady(t *testing.T) {
	t.Helper()
	select {
	case <-c.Ready():
	case <-time.After(time.Minute):
		t.Fatal("the control plane was not ready within a minute")
	}
}

// refusals returns the requests that were answered 403 since the last call.
func (c *cluster) refusals() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.refused
	c.refused = nil
	return out
}

// watchful writes down what is refused.
type watchful struct {
	cluster *cluster
	user    string
	next    http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (w watchful) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := w.next.RoundTrip(r)
	if err == nil && resp.StatusCode == http.StatusForbidden {
		w.cluster.mu.Lock()
		defer w.cluster.mu.Unlock()
		w.cluster.refused = append(w.cluster.refused, w.user+": "+r.Method+" "+r.URL.RequestURI())
	}
	return resp, err
}
