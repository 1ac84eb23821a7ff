package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"minato/internal/service/health"
	"minato/internal/service/metrics"
	"minato/internal/service/route"
)

var (
	_ HealthChecks = (*health.Server)(nil)
	_ Observer     = (*metrics.Server)(nil)
)

// witness is told everything and keeps it in words.
type witness struct {
	mu         sync.Mutex
	checks     map[types.NamespacedName]string
	applied    int
	programmed []time.Duration
}

func (w *witness) Set(service types.NamespacedName, check *route.HealthCheck) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.checks, service)
	if check != nil {
		w.checks[service] = fmt.Sprintf("%d:%d", check.Port, check.LocalEndpoints)
	}
}

func (w *witness) Applied(services int, _ time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.applied += services
}

func (w *witness) Programmed(after time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.programmed = append(w.programmed, after)
}

// wait looks until the witness has seen what is wanted.
func (w *witness) wait(t *testing.T, what string, seen func() bool) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		w.mu.Lock()
		ok := seen()
		w.mu.Unlock()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not seen; checks %v, %d applied, programmed after %v", what, w.checks, w.applied, w.programmed)
		}
		<-tick.C
	}
}

func balanced(name string) *corev1.Service {
	s := testService(name, "10.96.0.9")
	s.Spec.Type = corev1.ServiceTypeLoadBalancer
	s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
	s.Spec.HealthCheckNodePort = 30900
	return s
}

func TestControllerTellsWitnesses(t *testing.T) {
	w := &witness{checks: map[types.NamespacedName]string{}}
	dp := newFakeDataPlane()
	eps := testSlice("a-1", "a", "10.0.0.1")
	here := "n1"
	eps.Endpoints[0].NodeName = &here
	client := fake.NewClientset(balanced("a"), eps, testNode("n1", "172.30.0.11"))
	factory := informers.NewSharedInformerFactory(client, 0)
	c, err := New(Config{
		NodeName: "n1", DataPlane: dp, Health: w, Observer: w,
		Objects: informed(t, factory), Nodes: factory.Core().V1().Nodes(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if c.Healthy() {
		t.Error("healthy before anything was applied")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	factory.Core().V1().Nodes().Informer()
	factory.Start(ctx.Done())
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		factory.Shutdown()
	})
	a := key("a")
	w.wait(t, "the check", func() bool { return w.checks[a] == "30900:1" && w.applied > 0 })
	<-c.Synced()
	if !c.Healthy() {
		t.Error("unhealthy though all was applied")
	}
	why := c.Explain()
	if len(why) != 1 || why[0].Service != a || len(why[0].Why) != 1 || len(why[0].Frontends) == 0 || why[0].Why[0].Candidates[0].Local != route.Chosen {
		t.Errorf("explained: %+v", why)
	}

	// A change that says when it came about is timed, and the check follows.
	notReady := false
	eps = eps.DeepCopy()
	eps.Endpoints[0].Conditions.Ready = &notReady
	eps.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: time.Now().Format(time.RFC3339Nano)}
	if _, err := client.DiscoveryV1().EndpointSlices(eps.Namespace).Update(ctx, eps, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.wait(t, "the change", func() bool { return w.checks[a] == "30900:0" && len(w.programmed) == 1 })
	if after := w.programmed[0]; after < 0 || after > 5*time.Second {
		t.Errorf("programmed after %s", after)
	}
	if err := client.CoreV1().Services(a.Namespace).Delete(ctx, a.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.wait(t, "the end of the check", func() bool { return len(w.checks) == 0 })
}

func TestFailuresThatLastAreUnhealthy(t *testing.T) {
	dp := newFakeDataPlane()
	dp.fail = func(int, map[types.NamespacedName][]route.Frontend) error { return errors.New("table full") }
	c := start(t, dp, fake.NewClientset(testService("a", "10.96.0.9"), testNode("n1", "172.30.0.11")))
	if !c.Healthy() {
		t.Error("unhealthy at the first failure")
	}
	long := time.Now().Add(-2 * unhealthyAfter)
	r := newRetries()
	r.failed(key("a"), long)
	r.failed(key("b"), time.Now())
	r.due(long.Add(time.Hour))
	r.failed(key("a"), time.Now())
	if since := r.since(); since == nil || !since.Equal(long) {
		t.Errorf("fails since %v, want %v", since, long)
	}
	var failing Controller
	failing.synced = make(chan struct{})
	close(failing.synced)
	failing.failing.Store(r.since())
	if failing.Healthy() {
		t.Error("healthy after a long failure")
	}
}
