package dns

import (
	"context"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
)

func startRegistration(t *testing.T, client kubernetes.Interface, change func(*RegistrationConfig)) (stop func()) {
	t.Helper()
	cfg := RegistrationConfig{
		Client:     client,
		NodeName:   "node-1",
		NodeIPs:    []netip.Addr{netip.MustParseAddr("172.30.0.11")},
		Port:       53,
		ServiceIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
	}
	if change != nil {
		change(&cfg)
	}
	r, err := NewRegistration(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("Run: %v", err)
			}
		case <-time.After(deadline):
			t.Error("Run did not return")
		}
	}
	t.Cleanup(stop)
	return stop
}

func getSlice(client kubernetes.Interface, name string) *discoveryv1.EndpointSlice {
	s, err := client.DiscoveryV1().EndpointSlices(ServiceNamespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return s
}

func getService(client kubernetes.Interface) *corev1.Service {
	s, err := client.CoreV1().Services(ServiceNamespace).Get(context.Background(), ServiceName, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return s
}

func TestRegisters(t *testing.T) {
	client := fake.NewClientset()
	stop := startRegistration(t, client, nil)
	waitFor(t, func() bool { return getSlice(client, "kube-dns-node-1") != nil })
	svc := getService(client)
	if svc.Spec.ClusterIP != "10.96.0.10" || svc.Spec.Selector != nil || *svc.Spec.InternalTrafficPolicy != corev1.ServiceInternalTrafficPolicyLocal {
		t.Errorf("Service spec %+v", svc.Spec)
	}
	wantLabels := map[string]string{"k8s-app": "kube-dns", "kubernetes.io/cluster-service": "true", "kubernetes.io/name": "Minato-DNS"}
	if d := cmp.Diff(wantLabels, svc.Labels); d != "" {
		t.Error(d)
	}
	type portOf struct {
		name  string
		proto corev1.Protocol
		port  int32
	}
	var svcPorts, slicePorts []portOf
	for _, p := range svc.Spec.Ports {
		svcPorts = append(svcPorts, portOf{p.Name, p.Protocol, p.Port})
	}
	slice := getSlice(client, "kube-dns-node-1")
	for _, p := range slice.Ports {
		slicePorts = append(slicePorts, portOf{*p.Name, *p.Protocol, *p.Port})
	}
	want := []portOf{{"dns", "UDP", 53}, {"dns-tcp", "TCP", 53}}
	for _, got := range [][]portOf{svcPorts, slicePorts} {
		if d := cmp.Diff(want, got, cmp.AllowUnexported(portOf{})); d != "" {
			t.Error(d)
		}
	}
	ep := slice.Endpoints[0]
	if ep.Addresses[0] != "172.30.0.11" || *ep.NodeName != "node-1" || !*ep.Conditions.Ready {
		t.Errorf("endpoint %+v", ep)
	}
	if slice.Labels[discoveryv1.LabelServiceName] != "kube-dns" || slice.Labels[discoveryv1.LabelManagedBy] != ManagedBy {
		t.Errorf("labels %v", slice.Labels)
	}
	stop()
	if getSlice(client, "kube-dns-node-1") != nil {
		t.Error("the node is still listed after it stopped")
	}
	if getService(client) == nil {
		t.Error("the Service went with one node; the others need it")
	}
}

// watchedClient counts the watches that are open. The fake API forgets what
// happens between a list and the watch that follows it, so a test that wants a
// change to be noticed has to make it after that.
func watchedClient(objects ...runtime.Object) (*fake.Clientset, *atomic.Int32) {
	client := fake.NewClientset(objects...)
	var open atomic.Int32
	client.PrependWatchReactor("*", func(a clienttesting.Action) (bool, watch.Interface, error) {
		w, err := client.Tracker().Watch(a.GetResource(), a.GetNamespace())
		open.Add(1)
		return true, w, err
	})
	return client, &open
}

func TestRegistrationRepairs(t *testing.T) {
	client, watches := watchedClient()
	startRegistration(t, client, nil)
	waitFor(t, func() bool { return watches.Load() == 2 && getSlice(client, "kube-dns-node-1") != nil })
	ctx := context.Background()
	// Both objects are changed, so that the watches have seen them before they are deleted.
	slice := getSlice(client, "kube-dns-node-1")
	slice.Annotations = map[string]string{"touched": "yes"}
	if _, err := client.DiscoveryV1().EndpointSlices(ServiceNamespace).Update(ctx, slice, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	service := getService(client)
	service.Annotations = map[string]string{"touched": "yes"}
	if _, err := client.CoreV1().Services(ServiceNamespace).Update(ctx, service, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := client.DiscoveryV1().EndpointSlices(ServiceNamespace).Delete(ctx, "kube-dns-node-1", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return getSlice(client, "kube-dns-node-1") != nil })
	if err := client.CoreV1().Services(ServiceNamespace).Delete(ctx, ServiceName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return getService(client) != nil })
	svc := getService(client)
	svc.Annotations = map[string]string{"mine": "stays"}
	svc.Spec.Selector = map[string]string{"app": "other"}
	svc.Spec.Ports = svc.Spec.Ports[:1]
	svc.Spec.InternalTrafficPolicy = nil
	if _, err := client.CoreV1().Services(ServiceNamespace).Update(ctx, svc, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool {
		s := getService(client)
		return len(s.Spec.Ports) == 2 && s.Spec.Selector == nil && s.Spec.InternalTrafficPolicy != nil
	})
	if getService(client).Annotations["mine"] != "stays" {
		t.Error("somebody's annotation was lost")
	}
}

func TestThreeNodesShareTheService(t *testing.T) {
	client := fake.NewClientset()
	for _, n := range []string{"node-1", "node-2", "node-3"} {
		startRegistration(t, client, func(c *RegistrationConfig) { c.NodeName = n })
	}
	for _, n := range []string{"node-1", "node-2", "node-3"} {
		waitFor(t, func() bool { return getSlice(client, "kube-dns-"+n) != nil })
	}
}

func TestNodeIsListedWhenReady(t *testing.T) {
	client := fake.NewClientset()
	ready := make(chan struct{})
	startRegistration(t, client, func(c *RegistrationConfig) { c.Ready = ready })
	waitFor(t, func() bool { return getService(client) != nil })
	if getSlice(client, "kube-dns-node-1") != nil {
		t.Error("listed before it can answer")
	}
	close(ready)
	waitFor(t, func() bool { return getSlice(client, "kube-dns-node-1") != nil })
}

func TestDualStackNode(t *testing.T) {
	client := fake.NewClientset()
	stop := startRegistration(t, client, func(c *RegistrationConfig) {
		c.NodeIPs = append(c.NodeIPs, netip.MustParseAddr("fd00:172::11"))
		c.MetricsPort = 9153
	})
	waitFor(t, func() bool {
		s := getSlice(client, "kube-dns-node-1-ipv6")
		return s != nil && s.AddressType == discoveryv1.AddressTypeIPv6 && len(s.Ports) == 3
	})
	stop()
	if getSlice(client, "kube-dns-node-1-ipv6") != nil {
		t.Error("the IPv6 slice stayed")
	}
}

func TestWrongClusterIPIsAnError(t *testing.T) {
	client := fake.NewClientset(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ServiceNamespace, Name: ServiceName},
		Spec:       corev1.ServiceSpec{ClusterIP: "10.96.0.99"},
	})
	r, err := NewRegistration(RegistrationConfig{
		Client: client, NodeName: "node-1", Port: 53,
		NodeIPs: []netip.Addr{netip.MustParseAddr("172.30.0.11")}, ServiceIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.ensure(context.Background(), true); err == nil {
		t.Error("no error")
	}
	if getService(client).Spec.ClusterIP != "10.96.0.99" {
		t.Error("the Service was changed")
	}
}

func TestUnregisterTwice(t *testing.T) {
	client := fake.NewClientset()
	for range 2 {
		if err := Unregister(context.Background(), client, "node-9"); err != nil && !apierrors.IsNotFound(err) {
			t.Error(err)
		}
	}
}

func TestNewRegistrationRefuses(t *testing.T) {
	good := RegistrationConfig{Client: fake.NewClientset(), NodeName: "n", Port: 53,
		NodeIPs: []netip.Addr{netip.MustParseAddr("172.30.0.11")}, ServiceIPs: []netip.Addr{netip.MustParseAddr("10.96.0.10")}}
	if _, err := NewRegistration(good); err != nil {
		t.Fatal(err)
	}
	for what, spoil := range map[string]func(*RegistrationConfig){
		"client": func(c *RegistrationConfig) { c.Client = nil },
		"name":   func(c *RegistrationConfig) { c.NodeName = "" },
		"ips":    func(c *RegistrationConfig) { c.NodeIPs = nil },
		"port":   func(c *RegistrationConfig) { c.Port = 0 },
		"dns":    func(c *RegistrationConfig) { c.ServiceIPs = nil },
	} {
		cfg := good
		spoil(&cfg)
		if _, err := NewRegistration(cfg); err == nil {
			t.Errorf("without %s: no error", what)
		}
	}
}
