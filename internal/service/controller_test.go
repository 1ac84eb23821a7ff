package service

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"minato/internal/service/dataplane"
	"minato/internal/service/route"
)

var _ DataPlane = (*dataplane.DataPlane)(nil)

// fakeDataPlane keeps what it was told, in words.
type fakeDataPlane struct {
	mu       sync.Mutex
	services map[types.NamespacedName]string
	nodes    map[string]string
	swept    bool
	calls    int
	fail     func(call int, desired map[types.NamespacedName][]route.Frontend) error
	changed  chan struct{}
}

func newFakeDataPlane() *fakeDataPlane {
	return &fakeDataPlane{services: map[types.NamespacedName]string{}, nodes: map[string]string{}, changed: make(chan struct{}, 1000)}
}

func (f *fakeDataPlane) ApplyAll(_ context.Context, desired map[types.NamespacedName][]route.Frontend) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	if f.fail != nil {
		if err := f.fail(f.calls, desired); err != nil {
			return err
		}
	}
	for key, fs := range desired {
		delete(f.services, key)
		for i := range fs {
			if fs[i].Kind == route.ClusterIP || fs[i].Kind == route.HostPortKind && !fs[i].Addr.IsLoopback() {
				f.services[key] += fmt.Sprintf("%s:%d%v", fs[i].Addr, fs[i].Port, fs[i].Cluster)
			}
		}
	}
	f.changed <- struct{}{}
	return nil
}

func (f *fakeDataPlane) SetNodes(nodes []route.Node) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.nodes = map[string]string{}
	for _, n := range nodes {
		f.nodes[n.Name] = fmt.Sprint(n.Addrs)
	}
	f.changed <- struct{}{}
	return nil
}

func (f *fakeDataPlane) Sweep() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.swept = true
	return nil
}

func (f *fakeDataPlane) snapshot() (map[types.NamespacedName]string, map[string]string, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := map[types.NamespacedName]string{}
	for k, v := range f.services {
		out[k] = v
	}
	return out, f.nodes, f.swept
}

// wait waits until the services are as wanted.
func (f *fakeDataPlane) wait(t *testing.T, want map[types.NamespacedName]string) {
	t.Helper()
	deadline := time.After(5 * time.Second)
	for {
		got, _, _ := f.snapshot()
		diff := cmp.Diff(want, got)
		if diff == "" {
			return
		}
		select {
		case <-f.changed:
		case <-deadline:
			t.Fatalf("data plane (-want +got):\n%s", diff)
		}
	}
}

func key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: name}
}

func meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "default", Name: name}
}

func testService(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: meta(name), Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, ClusterIP: ip, ClusterIPs: []string{ip}, Ports: []corev1.ServicePort{{Port: 80}},
	}}
}

func testSlice(name, service string, ips ...string) *discoveryv1.EndpointSlice {
	port := int32(8080)
	s := &discoveryv1.EndpointSlice{ObjectMeta: meta(name), AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Port: &port}}}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	for _, ip := range ips {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{ip}})
	}
	return s
}

func testNode(name, ip string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
		Addresses: []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: ip}, {Type: corev1.NodeHostName, Address: name}},
	}}
}

func informed(t *testing.T, factory informers.SharedInformerFactory) *Informed {
	t.Helper()
	objects, err := NewInformed(factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices())
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// start runs a controller over a fake API with the objects of the test.
func start(t *testing.T, dp DataPlane, client *fake.Clientset) *Controller {
	t.Helper()
	return startWith(t, dp, client, nil)
}

func startWith(t *testing.T, dp DataPlane, client *fake.Clientset, log *slog.Logger) *Controller {
	t.Helper()
	factory := informers.NewSharedInformerFactory(client, 0)
	c, err := New(Config{
		NodeName: "n1", DataPlane: dp, Objects: informed(t, factory), Nodes: factory.Core().V1().Nodes(),
		HostPorts: NewInformedPods("n1", factory.Core().V1().Pods().Informer()), Logger: log,
		OwnPorts: []route.OwnPort{{Port: 10250, Protocol: corev1.ProtocolTCP}},
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
			t.Error(err)
		}
		factory.Shutdown()
	})
	factory.Core().V1().Nodes().Informer() // only those that somebody has asked for are started
	factory.Start(ctx.Done())
	select {
	case <-c.Synced():
	case <-time.After(5 * time.Second):
		t.Fatal("not synced")
	}
	return c
}

func TestControllerFollowsTheCluster(t *testing.T) {
	headless := testService("headless", corev1.ClusterIPNone)
	external := &corev1.Service{ObjectMeta: meta("external"), Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.org"}}
	client := fake.NewClientset(testService("a", "10.96.0.1"), headless, external, testSlice("a-1", "a", "10.244.1.2"), testNode("n1", "172.30.0.11"))
	dp := newFakeDataPlane()
	start(t, dp, client)
	one := "10.96.0.1:80[{10.244.1.2:8080 false}]"
	dp.wait(t, map[types.NamespacedName]string{key("a"): one})
	if _, nodes, _ := dp.snapshot(); nodes["n1"] != "[172.30.0.11]" {
		t.Errorf("nodes: %v", nodes)
	}

	ctx := t.Context()
	slices := client.DiscoveryV1().EndpointSlices("default")
	services := client.CoreV1().Services("default")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(slices.Create(ctx, testSlice("a-2", "a", "10.244.2.2"), metav1.CreateOptions{}))
	dp.wait(t, map[types.NamespacedName]string{key("a"): "10.96.0.1:80[{10.244.1.2:8080 false} {10.244.2.2:8080 false}]"})

	// A slice moves to another Service, which appears later.
	must(slices.Update(ctx, testSlice("a-2", "b", "10.244.2.2"), metav1.UpdateOptions{}))
	dp.wait(t, map[types.NamespacedName]string{key("a"): one})
	must(services.Create(ctx, testService("b", "10.96.0.2"), metav1.CreateOptions{}))
	dp.wait(t, map[types.NamespacedName]string{key("a"): one, key("b"): "10.96.0.2:80[{10.244.2.2:8080 false}]"})

	must(nil, slices.Delete(ctx, "a-2", metav1.DeleteOptions{}))
	dp.wait(t, map[types.NamespacedName]string{key("a"): one, key("b"): "10.96.0.2:80[]"})
	must(nil, services.Delete(ctx, "b", metav1.DeleteOptions{}))
	must(services.Update(ctx, testService("a", corev1.ClusterIPNone), metav1.UpdateOptions{}))
	dp.wait(t, map[types.NamespacedName]string{})
}

// Endpoints on a node that is silent get nothing new, until it is heard again.
func TestControllerLeavesSilentNodes(t *testing.T) {
	on := func(name, service string, nodes ...string) *discoveryv1.EndpointSlice {
		s := testSlice(name, service)
		for i, node := range nodes {
			s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.%d.2", i+1)}, NodeName: &node})
		}
		return s
	}
	client := fake.NewClientset(testService("a", "10.96.0.1"), testService("b", "10.96.0.2"), on("a-1", "a", "n1", "n2"), on("b-1", "b", "n3"), testNode("n1", "172.30.0.11"))
	dp := newFakeDataPlane()
	c := start(t, dp, client)
	b := "10.96.0.2:80[{10.244.1.2:8080 false}]"
	all := map[types.NamespacedName]string{key("a"): "10.96.0.1:80[{10.244.1.2:8080 true} {10.244.2.2:8080 false}]", key("b"): b}
	dp.wait(t, all)
	c.SetSilent(map[string]bool{"n2": true})
	dp.wait(t, map[types.NamespacedName]string{key("a"): "10.96.0.1:80[{10.244.1.2:8080 true}]", key("b"): b})
	c.SetSilent(map[string]bool{"n3": true}) // where all of b are
	dp.wait(t, all)
	c.SetSilent(nil)
	dp.wait(t, all)
}

// A Service with topology keys follows the labels of nodes, and others don't.
func TestControllerFollowsTopologyKeys(t *testing.T) {
	keyed := testService("a", "10.96.0.1")
	keyed.Annotations = map[string]string{route.AnnotationTopologyKeys: "rack,*"}
	slice := testSlice("a-1", "a", "10.244.1.2", "10.244.2.2")
	one, two := "n1", "n2"
	slice.Endpoints[0].NodeName, slice.Endpoints[1].NodeName = &one, &two
	client := fake.NewClientset(keyed, slice, testNode("n1", "172.30.0.11"), testNode("n2", "172.30.0.12"))
	dp := newFakeDataPlane()
	start(t, dp, client)
	all := map[types.NamespacedName]string{key("a"): "10.96.0.1:80[{10.244.1.2:8080 true} {10.244.2.2:8080 false}]"}
	dp.wait(t, all)
	rack := func(name, ip, value string) {
		t.Helper()
		n := testNode(name, ip)
		if value != "" {
			n.Labels = map[string]string{"rack": value}
		}
		if _, err := client.CoreV1().Nodes().Update(t.Context(), n, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	rack("n1", "172.30.0.11", "a")
	dp.wait(t, map[types.NamespacedName]string{key("a"): "10.96.0.1:80[{10.244.1.2:8080 true}]"})
	rack("n2", "172.30.0.12", "a")
	dp.wait(t, all)
	if err := client.CoreV1().Nodes().Delete(t.Context(), "n2", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	dp.wait(t, map[types.NamespacedName]string{key("a"): "10.96.0.1:80[{10.244.1.2:8080 true}]"})
	rack("n1", "172.30.0.11", "")
	dp.wait(t, all)
	keyed.Annotations = map[string]string{route.AnnotationTopologyKeys: "zone"}
	if _, err := client.CoreV1().Services("default").Update(t.Context(), keyed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	dp.wait(t, map[types.NamespacedName]string{key("a"): "10.96.0.1:80[]"})
}

func testPod(name, node, ip string, hostPort int32) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: meta(name),
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Ports: []corev1.ContainerPort{{HostPort: hostPort, ContainerPort: 8080}},
		}}},
		Status: corev1.PodStatus{PodIP: ip},
	}
}

func TestControllerServesHostPorts(t *testing.T) {
	client := fake.NewClientset(testService("web", "10.96.0.1"), testNode("n1", "172.30.0.11"), testPod("web", "n1", "10.244.1.2", 80),
		testPod("elsewhere", "n2", "10.244.2.2", 80), testPod("plain", "n1", "10.244.1.4", 0), testPod("thief", "n1", "10.244.1.5", 10250))
	dp := newFakeDataPlane()
	c := start(t, dp, client)
	service, pod := "10.96.0.1:80[]", "172.30.0.11:80[{10.244.1.2:8080 true}]"
	dp.wait(t, map[types.NamespacedName]string{key("web"): service, key("pod/web"): pod})
	ctx, pods := t.Context(), client.CoreV1().Pods("default")
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	// A Pod gets its address some time after it was placed.
	must(pods.Create(ctx, testPod("new", "n1", "", 81), metav1.CreateOptions{}))
	must(pods.UpdateStatus(ctx, testPod("new", "n1", "10.244.1.3", 81), metav1.UpdateOptions{}))
	second := "172.30.0.11:81[{10.244.1.3:8080 true}]"
	dp.wait(t, map[types.NamespacedName]string{key("web"): service, key("pod/web"): pod, key("pod/new"): second})
	var explained []string
	for _, e := range c.Explain() {
		explained = append(explained, e.Service.String())
	}
	if diff := cmp.Diff([]string{"default/pod/new", "default/pod/thief", "default/pod/web", "default/web"}, explained); diff != "" {
		t.Errorf("explained (-want +got):\n%s", diff)
	}
	// The node's address changes, a Pod ends and another is deleted.
	must(client.CoreV1().Nodes().Update(ctx, testNode("n1", "172.30.0.99"), metav1.UpdateOptions{}))
	dp.wait(t, map[types.NamespacedName]string{key("web"): service,
		key("pod/web"): "172.30.0.99:80[{10.244.1.2:8080 true}]", key("pod/new"): "172.30.0.99:81[{10.244.1.3:8080 true}]"})
	over := testPod("new", "n1", "10.244.1.3", 81)
	over.Status.Phase = corev1.PodSucceeded
	must(pods.UpdateStatus(ctx, over, metav1.UpdateOptions{}))
	must(nil, pods.Delete(ctx, "web", metav1.DeleteOptions{}))
	dp.wait(t, map[types.NamespacedName]string{key("web"): service})
}

// lateHostPorts are those of Pods that are known late.
type lateHostPorts struct{ known alwaysDone }

func (l lateHostPorts) Follow(func(types.NamespacedName)) (cache.DoneChecker, func(), error) {
	return l.known, func() {}, nil
}

func (lateHostPorts) Pod(types.NamespacedName) []route.HostPort { return nil }

func (lateHostPorts) Names() []types.NamespacedName { return nil }

// TestServicesDontWaitForPods: what an earlier process left for a Pod's hostPort may be swept only once Pods are known,
// and Services are served before that.
func TestServicesDontWaitForPods(t *testing.T) {
	factory := informers.NewSharedInformerFactory(fake.NewClientset(testService("a", "10.96.0.1"), testNode("n1", "172.30.0.11")), 0)
	dp, late := newFakeDataPlane(), lateHostPorts{known: make(chan struct{})}
	c, err := New(Config{NodeName: "n1", DataPlane: dp, Objects: informed(t, factory), Nodes: factory.Core().V1().Nodes(), HostPorts: late})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	defer running.Wait()
	defer cancel()
	factory.Core().V1().Nodes().Informer()
	factory.Start(ctx.Done())
	dp.wait(t, map[types.NamespacedName]string{key("a"): "10.96.0.1:80[]"})
	<-c.Synced()
	if _, _, swept := dp.snapshot(); swept {
		t.Error("swept before Pods are known")
	}
	close(late.known)
	deadline := time.Now().Add(5 * time.Second)
	for _, _, swept := dp.snapshot(); !swept; _, _, swept = dp.snapshot() {
		if time.Now().After(deadline) {
			t.Fatal("never swept")
		}
	}
}

func TestControllerTriesAgain(t *testing.T) {
	client := fake.NewClientset(testService("a", "10.96.0.1"), testService("b", "10.96.0.2"), testService("c", "10.96.0.3"))
	dp := newFakeDataPlane()
	// b is refused four times, alone or in company.
	refusals := 4
	dp.fail = func(_ int, desired map[types.NamespacedName][]route.Frontend) error {
		if _, has := desired[key("b")]; has && refusals > 0 {
			refusals--
			return errors.New("refused")
		}
		return nil
	}
	start(t, dp, client)
	dp.wait(t, map[types.NamespacedName]string{key("a"): "10.96.0.1:80[]", key("b"): "10.96.0.2:80[]", key("c"): "10.96.0.3:80[]"})
	deadline := time.Now().Add(5 * time.Second)
	for _, _, swept := dp.snapshot(); !swept; _, _, swept = dp.snapshot() {
		if time.Now().After(deadline) {
			t.Fatal("never swept")
		}
	}
}

// fullError is what a data plane says whose table is full.
type fullError struct{}

func (fullError) Error() string { return "table slots is full; make room" }

func (fullError) FullTable() string { return "slots" }

// TestAFullTableIsToldOnce: Services that fit are served, the others are tried again, and the log says once which table is
// full and what to do.
func TestAFullTableIsToldOnce(t *testing.T) {
	client := fake.NewClientset(testService("fits", "10.96.0.1"), testService("big", "10.96.0.2"), testService("huge", "10.96.0.3"))
	dp := newFakeDataPlane()
	tries := map[types.NamespacedName]int{}
	dp.fail = func(_ int, desired map[types.NamespacedName][]route.Frontend) error {
		for _, name := range []string{"big", "huge"} {
			if _, has := desired[key(name)]; has && tries[key(name)] < 6 {
				tries[key(name)]++
				return fmt.Errorf("apply Service: %w", fullError{})
			}
		}
		return nil
	}
	var log lockedBuffer
	startWith(t, dp, client, slog.New(slog.NewTextHandler(&log, nil)))
	dp.wait(t, map[types.NamespacedName]string{key("fits"): "10.96.0.1:80[]", key("big"): "10.96.0.2:80[]", key("huge"): "10.96.0.3:80[]"})
	if n := strings.Count(log.String(), "level=ERROR"); n != 1 || strings.Count(log.String(), "table=slots") != 1 || !strings.Contains(log.String(), "make room") {
		t.Errorf("%d errors in the log:\n%s", n, log.String())
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func TestControllerReactsAtOnce(t *testing.T) {
	client := fake.NewClientset(testService("a", "10.96.0.1"))
	dp := newFakeDataPlane()
	start(t, dp, client)
	dp.wait(t, map[types.NamespacedName]string{key("a"): "10.96.0.1:80[]"})
	slices := client.DiscoveryV1().EndpointSlices("default")
	if _, err := slices.Create(t.Context(), testSlice("a-1", "a"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	<-dp.changed
	var worst time.Duration
	for i := range 200 {
		for len(dp.changed) > 0 {
			<-dp.changed
		}
		start := time.Now()
		if _, err := slices.Update(t.Context(), testSlice("a-1", "a", fmt.Sprintf("10.244.1.%d", i+1)), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		<-dp.changed
		worst = max(worst, time.Since(start))
	}
	t.Logf("slowest of 200: %s", worst)
	if worst > 500*time.Millisecond {
		t.Errorf("slowest reaction took %s", worst)
	}
}

func TestRetriesBackOff(t *testing.T) {
	r, now := newRetries(), time.Unix(0, 0)
	a := key("a")
	r.failed(a, now)
	if due := r.due(now); len(due) != 0 {
		t.Errorf("due at once: %v", due)
	}
	var waited []time.Duration
	for range 12 {
		at := r.wait[a].at
		waited = append(waited, at.Sub(now))
		now = at
		if due := r.due(now); len(due) != 1 {
			t.Fatalf("at %s due: %v", now, due)
		}
		if due := r.due(now); len(due) != 0 {
			t.Fatalf("handed out twice: %v", due)
		}
		r.failed(a, now)
	}
	if waited[0] != firstRetry || waited[1] != 2*firstRetry || waited[11] != lastRetry {
		t.Errorf("waited %v", waited)
	}
	r.succeeded(a)
	if !r.empty() {
		t.Error("not empty after success")
	}
}

func TestNewWantsEverything(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("no error for an empty Config")
	}
	if _, err := New(Config{NodeName: "n1"}); err == nil {
		t.Error("no error without objects")
	}
}
