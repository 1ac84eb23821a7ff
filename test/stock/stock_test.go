package stock

import (
	"context"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// One control plane does what its users count on: requests are answered, defaults and addresses are given, the
// controllers asked for run, and nothing of it is left.
func TestCluster(t *testing.T) {
	c, err := Start(t.Context(), t.TempDir(), Options{ServiceCIDR: "10.97.0.0/16", Controllers: []string{"endpointslice-controller"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, client := t.Context(), c.Client()

	node, err := c.Node(ctx, "one", []netip.Addr{netip.MustParseAddr("172.31.0.11")}, netip.MustParsePrefix("10.245.1.0/24"), map[string]string{corev1.LabelTopologyZone: "a"})
	if err != nil {
		t.Fatal(err)
	}
	if node.Labels[corev1.LabelTopologyZone] != "a" || node.Spec.PodCIDRs[0] != "10.245.1.0/24" || node.Status.Addresses[1].Address != "172.31.0.11" {
		t.Errorf("node %+v", node)
	}
	service, err := client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if ip, err := netip.ParseAddr(service.Spec.ClusterIP); err != nil || !netip.MustParsePrefix("10.97.0.0/16").Contains(ip) {
		t.Errorf("cluster IP %q is not of the Service range", service.Spec.ClusterIP)
	}
	slices := client.DiscoveryV1().EndpointSlices("default")
	eventually(t, "the controller makes an EndpointSlice", func(ctx context.Context) bool {
		list, err := slices.List(ctx, metav1.ListOptions{LabelSelector: discoveryv1.LabelServiceName + "=web"})
		return err == nil && len(list.Items) == 1
	})

	pids := make([]int, 0, len(c.processes))
	for _, p := range c.processes {
		pids = append(pids, p.cmd.Process.Pid)
	}
	address, scratch := c.Address(), c.scratch
	c.Close()
	if len(pids) != 2 {
		t.Errorf("%d processes ran, want 2", len(pids))
	}
	for _, pid := range pids {
		if p, err := os.FindProcess(pid); err == nil && p.Signal(syscall.Signal(0)) == nil {
			t.Errorf("process %d is still there", pid)
		}
	}
	if conn, err := net.Dial("tcp", address); err == nil {
		conn.Close()
		t.Errorf("%s still answers", address)
	}
	if _, err := os.Stat(scratch); !os.IsNotExist(err) {
		t.Errorf("%s is still there: %v", scratch, err)
	}
}

func TestWrongFlagIsTold(t *testing.T) {
	if c, err := Start(t.Context(), t.TempDir(), Options{APIServerArgs: []string{"--no-such-flag"}}); err == nil {
		c.Close()
		t.Error("a control plane with a wrong flag started")
	}
}

func eventually(t *testing.T, what string, is func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for !is(ctx) {
		if ctx.Err() != nil {
			t.Fatalf("not within 30s: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
