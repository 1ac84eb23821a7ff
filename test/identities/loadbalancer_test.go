package identities

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"

	"minato/internal/controlplane/access"
	"minato/internal/loadbalancer"
	"minato/internal/loadbalancer/config"
)

// balanced is a Service of type LoadBalancer.
func balanced(name string) *corev1.Service {
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Type: corev1.ServiceTypeLoadBalancer, Ports: []corev1.ServicePort{{Port: 80}}},
	}
}

// testLoadBalancer runs the controller of load balancing as its own user. The API server's rules for status, finalizers
// and type changes are the real ones here.
func testLoadBalancer(ctx context.Context, t *testing.T, c *cluster) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	objects := c.dynamic(t, access.UserLoadBalancer)
	client := c.client(t, access.UserLoadBalancer)
	factory := informers.NewSharedInformerFactory(client, 0)
	settings, err := loadbalancer.NewSettings(loadbalancer.SettingsConfig{
		Client: client, Dynamic: objects,
		Default: []config.Range{{First: netip.MustParseAddr("172.30.200.1"), Last: netip.MustParseAddr("172.30.200.250")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	events, err := loadbalancer.NewRecorder(loadbalancer.RecorderConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	controller, err := loadbalancer.New(loadbalancer.Config{
		Client: client, Dynamic: objects, Services: factory.Core().V1().Services(), Namespaces: factory.Core().V1().Namespaces(),
		Settings: settings, Events: events,
	})
	if err != nil {
		t.Fatal(err)
	}
	factory.Core().V1().Services().Informer()
	factory.Core().V1().Namespaces().Informer()
	factory.Start(ctx.Done())
	defer factory.Shutdown()
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range []func(context.Context) error{settings.Run, events.Run, controller.Run} {
		g.Go(func() error { return run(ctx) })
	}
	c.waitReady(t)
	testAddress(ctx, t, c)
	testPool(ctx, t, c)
	testCrowd(ctx, t, c)
	cancel()
	if err := g.Wait(); err != nil {
		t.Error(err)
	}
	for _, r := range c.refusals() {
		t.Errorf("refused: %s", r)
	}
}

// testAddress takes a Service through its life: an address and a finalizer come and go together.
func testAddress(ctx context.Context, t *testing.T, c *cluster) {
	services := c.admin.CoreV1().Services("default")
	svc, err := services.Create(ctx, balanced("web"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	has := func(address string) func() bool {
		return func() bool {
			svc, err = services.Get(ctx, "web", metav1.GetOptions{})
			if err != nil || slices.Contains(svc.Finalizers, loadbalancer.Finalizer) != (address != "") {
				return false
			}
			in := svc.Status.LoadBalancer.Ingress
			return len(in) == 0 && address == "" || len(in) == 1 && in[0].IP == address && *in[0].IPMode == corev1.LoadBalancerIPModeVIP && len(in[0].Ports) == 1
		}
	}
	eventually(t, "address", has("172.30.200.1"))
	for range 2 {
		patchType(ctx, t, c, corev1.ServiceTypeClusterIP)
		eventually(t, "no address", has(""))
		patchType(ctx, t, c, corev1.ServiceTypeLoadBalancer)
		eventually(t, "address again", has("172.30.200.1"))
	}
	eventually(t, "events", func() bool {
		list, err := c.admin.CoreV1().Events("default").List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=web"})
		seen := map[string]bool{}
		for _, e := range list.Items {
			seen[e.Source.Component+"/"+e.Reason+"/"+e.Message] = e.Count == 3
		}
		return err == nil && seen["service-controller/EnsuringLoadBalancer/Ensuring load balancer"] &&
			seen["service-controller/EnsuredLoadBalancer/Ensured load balancer"] && seen[`metallb-controller/IPAllocated/Assigned IP ["172.30.200.1"]`]
	})
	if err := services.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "end of the Service", func() bool {
		_, err := services.Get(ctx, "web", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func patchType(ctx context.Context, t *testing.T, c *cluster, to corev1.ServiceType) {
	t.Helper()
	body := []byte(fmt.Sprintf(`{"spec":{"type":%q}}`, to))
	if _, err := c.admin.CoreV1().Services("default").Patch(ctx, "web", "application/merge-patch+json", body, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
}

// testPool makes a pool, whose status counts its addresses and says that it is used.
func testPool(ctx context.Context, t *testing.T, c *cluster) {
	group := schema.GroupVersion{Group: "metallb.io", Version: "v1beta1"}
	pools := c.dynamic(t, "kubernetes-admin", access.GroupAdmins).Resource(group.WithResource("ipaddresspools")).Namespace(config.Namespace)
	_, err := pools.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": group.String(), "kind": "IPAddressPool",
		"metadata": map[string]any{"name": "lan", "namespace": config.Namespace},
		"spec":     map[string]any{"addresses": []any{"192.168.0.0/20"}},
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "status of the pool", func() bool {
		u, err := pools.Get(ctx, "lan", metav1.GetOptions{})
		if err != nil {
			return false
		}
		available, _, _ := unstructured.NestedInt64(u.Object, "status", "availableIPv4")
		conditions, _, _ := unstructured.NestedSlice(u.Object, "status", "conditions")
		return available == 4096 && len(conditions) == 1
	})
	states := c.dynamic(t, "kubernetes-admin", access.GroupAdmins).Resource(group.WithResource("configurationstates")).Namespace(config.Namespace)
	eventually(t, "state of the configuration", func() bool {
		u, err := states.Get(ctx, loadbalancer.StateName, metav1.GetOptions{})
		if err != nil {
			return false
		}
		result, _, _ := unstructured.NestedString(u.Object, "status", "result")
		return result == "Valid"
	})
}

// testCrowd has many Services come at once, and tells how long it takes.
func testCrowd(ctx context.Context, t *testing.T, c *cluster) {
	const n = 200
	services := c.admin.CoreV1().Services("default")
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	began := time.Now()
	for i := range n {
		g.Go(func() error {
			_, err := services.Create(gctx, balanced(fmt.Sprintf("crowd-%d", i)), metav1.CreateOptions{})
			return err
		})
	}
	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
	created := time.Since(began)
	eventually(t, "an address for each", func() bool {
		list, err := services.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false
		}
		seen := map[string]bool{}
		for _, s := range list.Items {
			for _, in := range s.Status.LoadBalancer.Ingress {
				seen[in.IP] = true
			}
		}
		return len(seen) == n
	})
	t.Logf("%d Services were created within %v and had addresses after %v", n, created, time.Since(began))
}

// dynamic connects as user.
func (c *cluster) dynamic(t *testing.T, user string, groups ...string) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(c.connection(user, groups...))
	if err != nil {
		t.Fatal(err)
	}
	return client
}
