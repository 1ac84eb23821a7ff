package cluster

import (
	"context"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"minato/internal/host"
	balancing "minato/internal/loadbalancer/config"
)

func TestDefaultPool(t *testing.T) {
	for lan, want := range map[string]string{
		"172.30.0.0/16":        "172.30.200.1-172.30.200.250",
		"10.0.0.0/8":           "10.0.200.1-10.0.200.250",
		"192.168.0.0/20":       "192.168.15.1-192.168.15.250",
		"192.168.7.0/24":       "192.168.7.211-192.168.7.250",
		"fd00:172:30::/64":     "fd00:172:30::c801-fd00:172:30::c8fa",
		"fd00:172:30::700/120": "fd00:172:30::7d3-fd00:172:30::7fa",
	} {
		p := netip.MustParsePrefix(lan)
		got := defaultPool(p)
		if text := got.First.String() + "-" + got.Last.String(); text != want {
			t.Errorf("pool of %s = %s, want %s", lan, text, want)
		}
		nodes := Ranges{p}.nth(firstNodeLAN + maxNodes)[0]
		if !nodes.Less(got.First) || !p.Contains(got.Last) {
			t.Errorf("pool of %s = %s: it has addresses of nodes, which end at %s, or ones that are not on the LAN", lan, want, nodes)
		}
	}
}

// poolSettings are what the pools are.
type poolSettings struct{ balancing.Config }

func (s poolSettings) Current() (balancing.Config, bool) { return s.Config, true }
func (s poolSettings) Follow(func()) func()              { return func() {} }

func TestAddressRoutes(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root")
	}
	ns, err := host.CreateNetns("mt-routes")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.DeleteNetns(ns); err != nil {
			t.Error(err)
		}
	})
	net, err := host.OpenNet(ns)
	if err != nil {
		t.Fatal(err)
	}
	defer net.Close()
	if err := net.EnsureBridge("lan", 1500, netip.MustParsePrefix("172.30.0.1/16"), netip.MustParsePrefix("192.0.2.1/32")); err != nil {
		t.Fatal(err)
	}
	other := "example.com/other"
	service := func(name string, class *string, ip string) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
			Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, LoadBalancerClass: class},
			Status:     corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: ip}, {Hostname: "a.example"}}}},
		}
	}
	client := fake.NewClientset(service("lan", nil, "172.30.200.1"), service("far", nil, "192.0.2.7"), service("own", nil, "192.0.2.1"),
		service("other", &other, "192.0.2.8"), service("written", nil, "198.51.100.1"))
	factory := informers.NewSharedInformerFactory(client, 0)
	pool := balancing.Pool{Name: "p", Ranges: []balancing.Range{
		{First: netip.MustParseAddr("192.0.2.0"), Last: netip.MustParseAddr("192.0.2.255")},
		{First: netip.MustParseAddr("172.30.200.1"), Last: netip.MustParseAddr("172.30.200.9")},
	}}
	r := &addressRoutes{
		netns: ns, link: "lan", lan: Ranges{netip.MustParsePrefix("172.30.0.0/16")}, sources: []netip.Addr{netip.MustParseAddr("172.30.0.1")},
		services: factory.Core().V1().Services().Informer(), serves: func(class *string) bool { return class == nil },
		settings: poolSettings{balancing.Config{Pools: []balancing.Pool{pool}}}, log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	factory.Start(ctx.Done())
	go func() { done <- r.run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	routes := func() (out []string) {
		used, err := net.UsedRanges()
		if err != nil {
			t.Fatal(err)
		}
		for _, u := range used {
			if u.Prefix.Addr().Is4() && u.Prefix.IsSingleIP() && u.Prefix.Addr() != netip.MustParseAddr("192.0.2.1") && !slices.Contains(out, u.Prefix.String()) &&
				!r.lan[0].Contains(u.Prefix.Addr()) && u.Link == "lan" {
				out = append(out, u.Prefix.String())
			}
		}
		return out
	}
	await := func(what string, want ...string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for !slices.Equal(routes(), want) {
			if time.Now().After(deadline) {
				t.Fatalf("%s: the routes are %v, want %v", what, routes(), want)
			}
			time.Sleep(10 * time.Millisecond) // poll
		}
	}
	// An address of the LAN needs none; the machine's own, one of another balancer and one of no pool get none.
	await("at first", "192.0.2.7/32")
	if err := client.CoreV1().Services("default").Delete(ctx, "far", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	await("after the Service is gone")
}
