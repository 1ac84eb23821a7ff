package controlplane

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// What the API server and the controllers give out in a cluster with IPv6:
// addresses of Services, the endpoint of the API server, and the Pod ranges of
// a node that has none of its own.
func TestFamilies(t *testing.T) {
	services4, pods4 := netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("10.244.0.0/16")
	for name, test := range map[string]struct {
		change   func(*Config)
		families []corev1.IPFamily // of a Service that prefers both
		endpoint string
		podCIDRs []string
	}{
		"dual": {func(c *Config) {
			c.Addresses = []netip.Addr{netip.MustParseAddr("192.0.2.10"), netip.MustParseAddr("2001:db8::10")}
			c.ServiceCIDRs, c.PodCIDRs = []netip.Prefix{services4, services6}, []netip.Prefix{pods4, pods6}
		}, []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, "192.0.2.10", []string{"10.244.", "fd00:10:244:"}},
		"ipv6": {func(c *Config) {
			c.Addresses = []netip.Addr{netip.MustParseAddr("2001:db8::10")}
			c.ServiceCIDRs, c.PodCIDRs = []netip.Prefix{services6}, []netip.Prefix{pods6}
		}, []corev1.IPFamily{corev1.IPv6Protocol}, "2001:db8::10", []string{"fd00:10:244:"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := launch(t, shortDir(t), test.change)
			ctx, core := context.Background(), clientFor(t, r.RESTConfig("test-root", "system:masters")).CoreV1()

			prefer := corev1.IPFamilyPolicyPreferDualStack
			svc, err := core.Services("default").Create(ctx, &corev1.Service{
				ObjectMeta: metav1.ObjectMeta{Name: "web"},
				Spec:       corev1.ServiceSpec{IPFamilyPolicy: &prefer, Ports: []corev1.ServicePort{{Port: 80}}},
			}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(svc.Spec.IPFamilies, test.families) || len(svc.Spec.ClusterIPs) != len(test.families) {
				t.Errorf("Service has %v of %v, want %v", svc.Spec.ClusterIPs, svc.Spec.IPFamilies, test.families)
			}
			kubernetes, err := core.Services("default").Get(ctx, "kubernetes", metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if ips := kubernetes.Spec.ClusterIPs; len(ips) != 1 || kubernetes.Spec.IPFamilies[0] != test.families[0] {
				t.Errorf("the kubernetes Service has %v, want one address of %s", ips, test.families[0])
			}
			eventually(t, "endpoint of the API server", func() bool {
				e, err := core.Endpoints("default").Get(ctx, "kubernetes", metav1.GetOptions{})
				return err == nil && len(e.Subsets) == 1 && e.Subsets[0].Addresses[0].IP == test.endpoint
			})

			_, err = core.Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "bare"}}, metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			eventually(t, "Pod ranges of the node", func() bool {
				n, err := core.Nodes().Get(ctx, "bare", metav1.GetOptions{})
				if err != nil || len(n.Spec.PodCIDRs) != len(test.podCIDRs) {
					return false
				}
				for i, want := range test.podCIDRs {
					if got := n.Spec.PodCIDRs[i]; !strings.HasPrefix(got, want) || !strings.HasSuffix(got, "/24") && !strings.HasSuffix(got, "/64") {
						t.Fatalf("Pod ranges %v, want them to begin with %v", n.Spec.PodCIDRs, test.podCIDRs)
					}
				}
				return true
			})
			r.stop(t)
		})
	}
}
