package packed

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/tools/cache"

	"minato/internal/service"
	"minato/internal/service/route"
)

// follower reads a Service whenever it is told of it, as a controller does.
type follower struct {
	mu       sync.Mutex
	told     map[types.NamespacedName]int
	triggers []time.Time
}

func (f *follower) changed(key types.NamespacedName, triggered time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.told[key]++
	if !triggered.IsZero() {
		f.triggers = append(f.triggers, triggered)
	}
}

// words tells what objects there are of all that was told of.
func (f *follower) words(objects service.Objects) string {
	f.mu.Lock()
	keys := slices.Collect(maps.Keys(f.told))
	f.mu.Unlock()
	var out []string
	for _, key := range keys {
		s, eps := objects.Service(key)
		if s == nil && len(eps) == 0 {
			continue
		}
		words := key.Name + ":"
		if s != nil {
			for _, ip := range s.Spec.ClusterIPs {
				words += " " + ip
			}
		}
		slices.SortFunc(eps, func(a, b *discoveryv1.EndpointSlice) int { return strings.Compare(a.Name, b.Name) })
		for _, e := range eps {
			words += " " + e.Name + "="
			for _, one := range e.Endpoints {
				words += one.Addresses[0]
			}
		}
		out = append(out, words)
	}
	slices.Sort(out)
	return fmt.Sprint(out)
}

func (f *follower) wait(t *testing.T, objects service.Objects, want string) {
	t.Helper()
	await(t, want, func() string { return f.words(objects) })
}

func await(t *testing.T, want string, is func() string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		got := is()
		if got == want {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("it is %s, want %s", got, want)
		}
		time.Sleep(time.Millisecond)
	}
}

func testService(name, ip string) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name}, Spec: corev1.ServiceSpec{ClusterIPs: []string{ip}}}
}

func testSlice(name, of, ip string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: name},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip}}},
	}
	if of != "" {
		s.Labels = map[string]string{discoveryv1.LabelServiceName: of}
	}
	return s
}

func triggered(s *discoveryv1.EndpointSlice, at string) *discoveryv1.EndpointSlice {
	s.Annotations = map[string]string{corev1.EndpointsLastChangeTriggerTime: at}
	return s
}

// TestObjects is for all that a controller may be given.
func TestObjects(t *testing.T) {
	for name, start := range map[string]func(*testing.T, context.Context, *fake.Clientset) service.Objects{"packed": startStore, "informed": startInformed} {
		t.Run(name, func(t *testing.T) { testObjects(t, start) })
	}
}

func startStore(t *testing.T, ctx context.Context, client *fake.Clientset) service.Objects {
	s := New(client)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

func startInformed(t *testing.T, ctx context.Context, client *fake.Clientset) service.Objects {
	factory := informers.NewSharedInformerFactory(client, 0)
	objects, err := service.NewInformed(factory.Core().V1().Services(), factory.Discovery().V1().EndpointSlices())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(ctx)
	factory.Start(ctx.Done())
	t.Cleanup(func() { cancel(); factory.Shutdown() })
	return objects
}

func testObjects(t *testing.T, start func(*testing.T, context.Context, *fake.Clientset) service.Objects) {
	ctx := t.Context()
	headless := testSlice("a-headless", "a", "10.244.9.8")
	headless.Labels[corev1.IsHeadlessService] = ""
	client := fake.NewClientset(testService("a", "10.96.0.1"), testSlice("a-1", "a", "10.244.1.1"), testSlice("alone", "", "10.244.9.9"), headless)
	objects := start(t, ctx, client)
	f := &follower{told: map[types.NamespacedName]int{}}
	synced, stop, err := objects.Follow(f.changed)
	if err != nil {
		t.Fatal(err)
	}
	if !cache.WaitFor(ctx, "", synced...) {
		t.Fatal("never synced")
	}
	f.wait(t, objects, "[a: 10.96.0.1 a-1=10.244.1.1]")
	if names := objects.Names(); len(names) != 1 || names[0].Name != "a" {
		t.Errorf("names %v", names)
	}
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	services, eps := client.CoreV1().Services("default"), client.DiscoveryV1().EndpointSlices("default")
	// A label takes a slice out of service, and gives it back when it goes.
	for _, label := range []string{corev1.IsHeadlessService, route.LabelProxyName} {
		out := testSlice("a-1", "a", "10.244.1.1")
		out.Labels[label] = ""
		must(eps.Update(ctx, out, metav1.UpdateOptions{}))
		f.wait(t, objects, "[a: 10.96.0.1]")
		out = testSlice("a-0", "a", "10.244.1.9")
		out.Labels[label] = "x"
		must(eps.Create(ctx, out, metav1.CreateOptions{}))
		must(nil, eps.Delete(ctx, "a-0", metav1.DeleteOptions{}))
		must(eps.Update(ctx, testSlice("a-1", "a", "10.244.1.1"), metav1.UpdateOptions{}))
		f.wait(t, objects, "[a: 10.96.0.1 a-1=10.244.1.1]")
	}
	// A second slice, whose change is timed, and then an update of it that is the same change still.
	must(eps.Create(ctx, triggered(testSlice("a-2", "a", "10.244.1.2"), "2026-01-02T03:04:05Z"), metav1.CreateOptions{}))
	f.wait(t, objects, "[a: 10.96.0.1 a-1=10.244.1.1 a-2=10.244.1.2]")
	must(eps.Update(ctx, triggered(testSlice("a-2", "a", "10.244.1.3"), "2026-01-02T03:04:05Z"), metav1.UpdateOptions{}))
	f.wait(t, objects, "[a: 10.96.0.1 a-1=10.244.1.1 a-2=10.244.1.3]")
	must(eps.Update(ctx, triggered(testSlice("a-2", "a", "10.244.1.4"), "2026-01-02T03:04:06Z"), metav1.UpdateOptions{}))
	f.wait(t, objects, "[a: 10.96.0.1 a-1=10.244.1.1 a-2=10.244.1.4]")
	// It moves to a Service that comes later.
	must(eps.Update(ctx, triggered(testSlice("a-2", "b", "10.244.1.4"), "2026-01-02T03:04:07Z"), metav1.UpdateOptions{}))
	f.wait(t, objects, "[a: 10.96.0.1 a-1=10.244.1.1 b: a-2=10.244.1.4]")
	must(services.Create(ctx, testService("b", "10.96.0.2"), metav1.CreateOptions{}))
	f.wait(t, objects, "[a: 10.96.0.1 a-1=10.244.1.1 b: 10.96.0.2 a-2=10.244.1.4]")
	await(t, "3 changes", func() string {
		f.mu.Lock()
		defer f.mu.Unlock()
		return fmt.Sprintf("%d changes", len(f.triggers))
	})
	// It names none any more, and the other is deleted.
	must(eps.Update(ctx, testSlice("a-2", "", "10.244.1.4"), metav1.UpdateOptions{}))
	must(nil, eps.Delete(ctx, "a-1", metav1.DeleteOptions{}))
	f.wait(t, objects, "[a: 10.96.0.1 b: 10.96.0.2]")
	must(nil, services.Delete(ctx, "a", metav1.DeleteOptions{}))
	must(services.Update(ctx, testService("b", "10.96.0.3"), metav1.UpdateOptions{}))
	f.wait(t, objects, "[b: 10.96.0.3]")
	stop()
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range []string{"a", "b"} {
		if f.told[types.NamespacedName{Namespace: "default", Name: name}] == 0 {
			t.Errorf("nothing was told of %s", name)
		}
	}
}
