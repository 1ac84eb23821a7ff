package controllers

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"

	"minato/internal/controlplane/pki"
)

func testConfig(t *testing.T) Config {
	t.Helper()
	authority, err := pki.Open(pki.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return Config{
		ClusterName: "test", PKI: authority, NodeCIDRMaskIPv4: 24, NodeCIDRMaskIPv6: 64, VolumePluginDir: "plugins",
		Connect:      func(user string, groups ...string) *rest.Config { return &rest.Config{Username: user} },
		PodCIDRs:     []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		ServiceCIDRs: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/16")},
	}
}

func TestComponentConfig(t *testing.T) {
	c, err := componentConfig(testConfig(t))
	if err != nil {
		t.Fatal(err)
	}
	if c.KubeCloudShared.ClusterCIDR != "10.244.0.0/16" || c.NodeIPAMController.ServiceCIDR != "10.96.0.0/16" || c.NodeIPAMController.NodeCIDRMaskSize != 24 {
		t.Errorf("ranges: %+v %+v", c.KubeCloudShared, c.NodeIPAMController)
	}
	// These have defaults only as flags; at zero nodes would never be drained.
	if n := c.NodeLifecycleController; n.NodeEvictionRate == 0 || n.SecondaryNodeEvictionRate == 0 || n.UnhealthyZoneThreshold == 0 || n.LargeClusterSizeThreshold == 0 {
		t.Errorf("node lifecycle: %+v", n)
	}
	if dir := c.PersistentVolumeBinderController.VolumeConfiguration.FlexVolumePluginDir; dir != "plugins" {
		t.Errorf("volume plugins are looked for in %s", dir)
	}
}

var (
	pods4, pods6         = netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/56")
	services4, services6 = netip.MustParsePrefix("10.96.0.0/16"), netip.MustParsePrefix("fd00:10:96::/112")
)

func TestFamilies(t *testing.T) {
	for _, test := range []struct {
		pods, services             []netip.Prefix
		clusterCIDR, first, second string
		single, forIPv4, forIPv6   int32
	}{
		{[]netip.Prefix{pods4}, []netip.Prefix{services4}, "10.244.0.0/16", "10.96.0.0/16", "", 24, 0, 0},
		{[]netip.Prefix{pods6}, []netip.Prefix{services6}, "fd00:10:244::/56", "fd00:10:96::/112", "", 64, 0, 0},
		{[]netip.Prefix{pods4, pods6}, []netip.Prefix{services4, services6}, "10.244.0.0/16,fd00:10:244::/56", "10.96.0.0/16", "fd00:10:96::/112", 0, 24, 64},
	} {
		cfg := testConfig(t)
		cfg.PodCIDRs, cfg.ServiceCIDRs = test.pods, test.services
		c, err := componentConfig(cfg)
		if err != nil {
			t.Fatal(err)
		}
		n := c.NodeIPAMController
		if c.KubeCloudShared.ClusterCIDR != test.clusterCIDR || n.ServiceCIDR != test.first || n.SecondaryServiceCIDR != test.second {
			t.Errorf("%v: ranges of Pods %s, of Services %s and %s", test.pods, c.KubeCloudShared.ClusterCIDR, n.ServiceCIDR, n.SecondaryServiceCIDR)
		}
		if n.NodeCIDRMaskSize != test.single || n.NodeCIDRMaskSizeIPv4 != test.forIPv4 || n.NodeCIDRMaskSizeIPv6 != test.forIPv6 {
			t.Errorf("%v: masks %d, %d, %d", test.pods, n.NodeCIDRMaskSize, n.NodeCIDRMaskSizeIPv4, n.NodeCIDRMaskSizeIPv6)
		}
	}
}

func TestNodeMaskErrors(t *testing.T) {
	for _, test := range []struct {
		pods         netip.Prefix
		mask4, mask6 int
		want         string
	}{
		{pods4, 8, 64, "NodeCIDRMaskIPv4"}, {pods4, 16, 64, "NodeCIDRMaskIPv4"}, {pods4, 31, 64, "NodeCIDRMaskIPv4"},
		{pods6, 24, 56, "NodeCIDRMaskIPv6"}, {pods6, 24, 127, "NodeCIDRMaskIPv6"},
	} {
		cfg := testConfig(t)
		cfg.PodCIDRs, cfg.NodeCIDRMaskIPv4, cfg.NodeCIDRMaskIPv6 = []netip.Prefix{test.pods}, test.mask4, test.mask6
		if _, err := componentConfig(cfg); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("masks %d and %d of %s: got %v, want an error about %s", test.mask4, test.mask6, test.pods, err, test.want)
		}
	}
}

func TestConfigErrors(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
	cfg := testConfig(t)
	cfg.PodCIDRs = nil
	if _, err := New(cfg); err == nil || !strings.Contains(err.Error(), "PodCIDRs") {
		t.Errorf("without Pod ranges: %v", err)
	}
}

func TestWatch(t *testing.T) {
	ctx, ended := context.WithCancelCause(context.Background())
	watch(loop{"steady", func(context.Context) {}}, func(err error) {
		if !errors.Is(err, errEnded) || !strings.Contains(err.Error(), "steady") {
			t.Errorf("a controller that ended by itself is told as %v", err)
		}
		ended(err)
	}).Run(ctx)
	if ctx.Err() == nil {
		t.Fatal("a controller that ended by itself was not told")
	}
	watch(loop{"told", func(context.Context) {}}, func(err error) { t.Errorf("after the end: %v", err) }).Run(ctx)
}

func TestIdentities(t *testing.T) {
	var user string
	var groups []string
	c := clients{func(u string, g ...string) *rest.Config {
		user, groups = u, g
		return &rest.Config{}
	}}
	if _, err := c.Config("deployment-controller"); err != nil {
		t.Fatal(err)
	}
	if user != "system:serviceaccount:kube-system:deployment-controller" || !slices.Contains(groups, "system:serviceaccounts:kube-system") {
		t.Errorf("the controller is %s in %v", user, groups)
	}
}

func TestPodInformersAreSeparate(t *testing.T) {
	pod := func(name string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}}
	}
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}}
	shared := informers.NewSharedInformerFactory(fake.NewClientset(pod("finished"), node), 0)
	own := informers.NewSharedInformerFactory(fake.NewClientset(pod("waiting")), 0)
	f := withOwnPods(shared, own)
	pods, nodes := f.Core().V1().Pods().Lister(), f.Core().V1().Nodes().Lister()

	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	f.Start(ctx.Done())
	for kind, synced := range f.WaitForCacheSync(ctx.Done()) {
		if !synced {
			t.Errorf("%v didn't sync", kind)
		}
	}
	if _, err := pods.Pods("default").Get("waiting"); err != nil {
		t.Errorf("the scheduler's Pods: %v", err)
	}
	if _, err := pods.Pods("default").Get("finished"); err == nil {
		t.Error("the scheduler sees the shared Pods")
	}
	if _, err := nodes.Get("node-1"); err != nil {
		t.Errorf("the shared Nodes: %v", err)
	}
}
