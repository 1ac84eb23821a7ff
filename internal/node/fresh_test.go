package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	nodev1 "k8s.io/api/node/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
	corelisters "k8s.io/client-go/listers/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"minato/internal/node/fakecri"
	"minato/internal/node/settings"
)

func TestCoalescedReadsBeginAfterTheCall(t *testing.T) {
	var mu sync.Mutex
	version, reads := 0, 0
	gate := make(chan struct{})
	c := coalesce[string, int]{read: func(context.Context, string) (int, error) {
		mu.Lock()
		v := version
		reads++
		mu.Unlock()
		<-gate
		return v, nil
	}}
	type answer struct{ want, got int }
	answers := make(chan answer, 100)
	const calls = 100
	for range calls {
		mu.Lock()
		version++
		want := version
		mu.Unlock()
		mine := c.join(t.Context(), "x") // what get waits for
		go func() {
			<-mine.done
			answers <- answer{want, mine.value}
		}()
	}
	close(gate)
	for range calls {
		if a := <-answers; a.got < a.want {
			t.Errorf("a call after change %d was answered with %d", a.want, a.got)
		}
	}
	c.wait()
	mu.Lock()
	defer mu.Unlock()
	if reads > 2 {
		t.Errorf("%d calls made %d reads", calls, reads)
	}
	if len(c.lanes) != 0 {
		t.Errorf("%d keys are remembered", len(c.lanes))
	}
}

func TestCoalescedReadFails(t *testing.T) {
	broken := errors.New("broken")
	c := coalesce[string, int]{read: func(context.Context, string) (int, error) { return 0, broken }}
	if _, err := c.get(t.Context(), t.Context(), "x"); !errors.Is(err, broken) {
		t.Errorf("err = %v", err)
	}
	c.read = func(context.Context, string) (int, error) { panic("broken") }
	if _, err := c.get(t.Context(), t.Context(), "x"); err == nil {
		t.Error("a panic is no error")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	hang := make(chan struct{})
	c.read = func(context.Context, string) (int, error) { <-hang; return 0, nil }
	if _, err := c.get(ctx, t.Context(), "x"); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	close(hang)
	c.wait()
}

// laggard is a watch of Services that has fallen behind for good.
func laggard(t *testing.T, services ...*v1.Service) *Config {
	t.Helper()
	store := cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{})
	for _, s := range services {
		if err := store.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	return &Config{
		Name: "node-1", Client: fake.NewClientset(),
		Services: corelisters.NewServiceLister(store), ServicesSynced: func() bool { return true },
		ServicesVersion: func() string { return "100" },
	}
}

func testService(namespace, name string) *v1.Service {
	return &v1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

func TestServiceThenPod(t *testing.T) {
	cfg := laggard(t, testService("default", "kubernetes"), testService("shop", "stale"))
	f := newFresh(t.Context(), cfg)
	for i := range 200 {
		name := fmt.Sprintf("s%d", i)
		if _, err := cfg.Client.CoreV1().Services("shop").Create(t.Context(), testService("shop", name), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}}
		services, err := f.servicesFor(t.Context(), pod, fmt.Sprint(101+i))
		if err != nil {
			t.Fatal(err)
		}
		have := map[string]bool{}
		for _, s := range services {
			have[s.Namespace+"/"+s.Name] = true
		}
		if !have["shop/"+name] || !have["default/kubernetes"] || have["shop/stale"] {
			t.Fatalf("Services for %s: %v", name, have)
		}
	}
}

func TestServicesAreOnlyListedWhenTheWatchIsBehind(t *testing.T) {
	cfg := laggard(t, testService("default", "kubernetes"))
	client := cfg.Client.(*fake.Clientset)
	f := newFresh(t.Context(), cfg)
	no := false
	for _, c := range []struct {
		name, since string
		links       *bool
		listed      bool
	}{
		{"older", "99", nil, false},
		{"as old", "100", nil, false},
		{"newer", "101", nil, true},
		{"newer by a digit", "1000", nil, true},
		{"no number", "abc", nil, true},
		{"any age", "", nil, false},
		{"without links", "101", &no, false},
	} {
		client.ClearActions()
		pod := &v1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: v1.PodSpec{EnableServiceLinks: c.links}}
		services, err := f.servicesFor(t.Context(), pod, c.since)
		if err != nil || len(services) != 1 {
			t.Errorf("%s: %v, %v", c.name, services, err)
		}
		if listed := len(client.Actions()) > 0; listed != c.listed {
			t.Errorf("%s: listed = %v", c.name, listed)
		}
	}
	cfg.ServicesVersion = nil
	if f.watched("1") {
		t.Error("a watch of which nothing is known counts as complete")
	}
}

func TestServicesAreWaitedFor(t *testing.T) {
	cfg := laggard(t)
	cfg.ServicesSynced = func() bool { return false }
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := newFresh(t.Context(), cfg).servicesFor(ctx, &v1.Pod{}, ""); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("err = %v", err)
	}
}

func TestRuntimeClassHandler(t *testing.T) {
	cfg := laggard(t)
	cfg.Client = fake.NewClientset(&nodev1.RuntimeClass{ObjectMeta: metav1.ObjectMeta{Name: "sandboxed"}, Handler: "kata"})
	f := newFresh(t.Context(), cfg)
	if h, err := f.runtimeClass(t.Context(), "sandboxed"); err != nil || h != "kata" {
		t.Errorf("handler = %q, %v", h, err)
	}
	if _, err := f.runtimeClass(t.Context(), "absent"); err == nil {
		t.Error("a RuntimeClass that is not there has a handler")
	}
}

// The whole agent: what is changed in the API before a Pod is bound counts for it.
func TestLabelThenBind(t *testing.T) {
	b := start(t, fake.NewClientset(), fakecri.New(clock.RealClock{}), t.TempDir())
	eventually(t, "the node is registered", func() bool {
		select {
		case <-b.agent.Ready():
			return true
		default:
			return false
		}
	})
	nodes := b.client.CoreV1().Nodes()
	for i := range 50 {
		key := fmt.Sprintf("l%d", i)
		patch := []byte(fmt.Sprintf(`{"metadata":{"labels":{%q:"yes"}}}`, key))
		if _, err := nodes.Patch(t.Context(), "node-1", "application/merge-patch+json", patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		p := testPod(key)
		p.Spec.NodeSelector = map[string]string{key: "yes"}
		if _, err := b.client.CoreV1().Pods("default").Create(t.Context(), p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		name := fmt.Sprintf("l%d", i)
		eventually(t, name+" runs", func() bool {
			p := b.pod(t, name)
			if p != nil && p.Status.Phase == v1.PodFailed {
				t.Fatalf("%s: %s: %s", name, p.Status.Reason, p.Status.Message)
			}
			return p != nil && p.Status.Phase == v1.PodRunning
		})
	}
}

func TestExtendedResourcesOfTheNodeStay(t *testing.T) {
	b := start(t, fake.NewClientset(), fakecri.New(clock.RealClock{}), t.TempDir())
	eventually(t, "the node is registered", func() bool {
		select {
		case <-b.agent.Ready():
			return true
		default:
			return false
		}
	})
	patch := []byte(`{"status":{"capacity":{"example.com/gpu":"4"}}}`)
	if _, err := b.client.CoreV1().Nodes().Patch(t.Context(), "node-1", "application/merge-patch+json", patch, metav1.PatchOptions{}, "status"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := b.agent.node.refresh(t.Context(), true); err != nil {
			t.Fatal(err)
		}
	}
	n, err := b.client.CoreV1().Nodes().Get(t.Context(), "node-1", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if q := n.Status.Allocatable["example.com/gpu"]; q.Value() != 4 {
		t.Errorf("allocatable = %v", n.Status.Allocatable)
	}
	if n.Status.Capacity.Cpu().Value() != 2 {
		t.Errorf("capacity = %v", n.Status.Capacity)
	}
}

// Somebody else may have made the Node, and the agent may not have reported yet.
func TestResourcesOfANodeThatWasNeverReported(t *testing.T) {
	client := fake.NewClientset(&v1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1"}, Status: v1.NodeStatus{
		Capacity: v1.ResourceList{"example.com/gpu": resource.MustParse("4")},
	}})
	f := newFresh(t.Context(), &Config{Name: "node-1", Client: client, Settings: settings.Values{MaxPods: 7}, Capacity: v1.ResourceList{v1.ResourceCPU: resource.MustParse("2")}})
	n, err := f.node(t.Context())
	f.wait()
	if err != nil {
		t.Fatal(err)
	}
	has := n.Status.Allocatable
	if gpus := has["example.com/gpu"]; gpus.Value() != 4 || has.Cpu().Value() != 2 || has.Pods().Value() != 7 {
		t.Errorf("allocatable: %v", has)
	}
}
