package loadbalancer

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"minato/internal/loadbalancer/pool"
)

// Somebody changes the Service right before each of the Controller's writes.
func TestConflicts(t *testing.T) {
	w := newWorld(t)
	left := 5
	w.api.failing(func(_ string, s *corev1.Service) error {
		if left == 0 {
			return nil
		}
		left--
		s = s.DeepCopy()
		s.Labels = map[string]string{"edit": fmt.Sprint(left)}
		w.api.commit(s, "MODIFIED")
		return apierrors.NewConflict(servicesResource, s.Name, errors.New("the object has been modified"))
	})
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantAddress("web", "172.30.200.1")
	w.wantEvents("web", assigned("172.30.200.1")...)
	if got := w.api.get(key("web")).Labels["edit"]; got != "0" {
		t.Errorf("the other one's change was lost: label %q", got)
	}
}

func TestErrorsOfTheAPI(t *testing.T) {
	w := newWorld(t)
	left := 6
	w.api.failing(func(string, *corev1.Service) error {
		if left--; left >= 0 {
			return apierrors.NewInternalError(errors.New("no leader"))
		}
		return nil
	})
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantAddress("web", "172.30.200.1")
	w.eventually("the last event", func() bool { return len(w.events.about("web")) == 4 }, func() any { return w.events.about("web") })
	if got := w.events.about("web"); !strings.HasPrefix(got[1], "Warning/service-controller/SyncLoadBalancerFailed/Error syncing load balancer: ") {
		t.Errorf("events %q", got)
	}
}

// What was written itself counts until the informer shows something newer.
func TestOlderStateChangesNothing(t *testing.T) {
	state := func(version string, edits ...func(*corev1.Service)) *corev1.Service {
		s := loadBalancer("web", edits...)
		s.UID, s.ResourceVersion = "u", version
		return s
	}
	published := func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.30.200.1"}}
	}
	c := &Controller{cfg: Config{Class: Class}}
	b := newBook(c.ours, c.servesClass)
	b.set(key("web"), state("99"), nil)
	b.set(key("web"), state("101", published), nil)
	if b.set(key("web"), state("100", requesting("172.30.200.9")), nil) {
		t.Error("an older state has addresses decided anew")
	}
	if e := b.entries[key("web")]; e.service.ResourceVersion != "101" || len(e.published) != 1 || len(b.holders) != 1 {
		t.Errorf("an older state was taken in: %+v", e)
	}
	if !b.set(key("web"), state("102", requesting("172.30.200.9")), nil) {
		t.Error("a newer state was not taken in")
	}
	if !b.set(key("web"), nil, nil) || len(b.entries) != 0 || len(b.holders) != 0 {
		t.Errorf("a Service that was deleted left %+v", b)
	}
}

// The API says that a Service is gone before the informer does.
func TestServiceIsGoneBeforeTheInformerShowsIt(t *testing.T) {
	w := newWorld(t, ipPool("one", "192.0.2.7/32"))
	w.api.failing(func(_ string, s *corev1.Service) error {
		if s.Name == "first" {
			return apierrors.NewInternalError(errors.New("no leader"))
		}
		return nil
	})
	w.start()
	w.api.create(loadBalancer("first"))
	w.api.create(loadBalancer("next"))
	w.eventually("both decisions", func() bool { return len(w.Snapshot().Services) == 2 }, func() any { return w.Snapshot() })
	w.api.hold()
	w.api.remove(t, key("first"))
	w.api.failing(nil)
	w.wantAddress("next", "192.0.2.7")
	w.api.release()
	w.settled()
	w.wantAddress("next", "192.0.2.7")
}

// A restart keeps all addresses, however Services are ordered, writes nothing and tells nothing.
func TestRestart(t *testing.T) {
	w := newWorld(t)
	w.start()
	for i := range 20 {
		w.api.create(loadBalancer(fmt.Sprintf("s%d", i)))
	}
	for i := range 20 {
		w.eventually("an address", func() bool { return w.addresses(fmt.Sprintf("s%d", i)) != "" }, func() any { return i })
	}
	for _, i := range []int{3, 7, 11} {
		w.api.remove(t, key(fmt.Sprintf("s%d", i)))
	}
	w.settled()
	before := map[string]string{}
	for i := range 20 {
		name := fmt.Sprintf("s%d", i)
		before[name] = w.addresses(name)
	}
	w.stop()
	w.events.forget()
	writes := len(w.api.written())
	for range 3 {
		w.start()
		w.eventually("the decisions", func() bool { return len(w.Snapshot().Services) == 17 }, func() any { return w.Snapshot() })
		w.stop()
	}
	for name, address := range before {
		if got := w.addresses(name); got != address {
			t.Errorf("%s had %s and has %s", name, address, got)
		}
		if got := w.events.about(name); len(got) > 0 {
			t.Errorf("events of %s: %q", name, got)
		}
	}
	if got := len(w.api.written()); got != writes {
		t.Errorf("%d writes at restarts", got-writes)
	}
}

// What happened while no Controller ran is made good.
func TestChangesWhileStopped(t *testing.T) {
	w := newWorld(t, ipPool("three", "192.0.2.1-192.0.2.3"))
	w.start()
	for _, name := range []string{"deleted", "retyped", "kept"} {
		w.api.create(loadBalancer(name))
		w.eventually("an address", func() bool { return w.addresses(name) != "" }, func() any { return w.events.about(name) })
	}
	w.settled()
	w.stop()
	w.api.remove(t, key("deleted"))
	w.api.change(t, key("retyped"), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	w.api.create(loadBalancer("new"))
	w.api.create(loadBalancer("newer"))
	w.start()
	w.wantAddress("new", "192.0.2.1")
	w.wantAddress("newer", "192.0.2.2")
	w.wantAddress("kept", "192.0.2.3")
	w.wantAddress("retyped", "")
	w.eventually("the end of the Service", func() bool { return w.api.get(key("deleted")) == nil }, func() any { return w.api.get(key("deleted")) })
}

func TestForeignStatusIsCorrected(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantAddress("web", "172.30.200.1")
	w.settled()
	foreign := func(s *corev1.Service) {
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "172.30.200.99"}}
	}
	w.api.change(t, key("web"), foreign)
	w.wantAddress("web", "172.30.200.1")
	w.api.change(t, key("web"), func(s *corev1.Service) { s.Finalizers, s.Annotations = nil, nil })
	w.wantAddress("web", "172.30.200.1")
	w.settled()
	w.wantEvents("web", assigned("172.30.200.1")...)

	// Whoever goes on and on is not answered each time.
	const told = "StatusOverwritten"
	for range 20 {
		w.api.change(t, key("web"), foreign)
		w.eventually("a correction, or that it is put off", func() bool {
			return w.addresses("web") == "172.30.200.1" || strings.Contains(fmt.Sprint(w.events.about("web")), told)
		}, func() any { return w.events.about("web") })
	}
	got := w.events.about("web")
	if n := len(slices.DeleteFunc(slices.Clone(got), func(e string) bool { return !strings.Contains(e, told) })); n != 1 {
		t.Errorf("%d events tell of it: %q", n, got)
	}
	if n := w.metrics.writes.Load(); n > 20 {
		t.Errorf("%d writes", n)
	}
	w.wantAddress("web", "172.30.200.1") // in the end it is corrected
}

// An API server that leaves out fields which it doesn't know is not written to for ever.
func TestFieldsThatTheAPIServerDrops(t *testing.T) {
	w := newWorld(t)
	w.api.drop = func(s *corev1.Service) {
		for i := range s.Status.LoadBalancer.Ingress {
			s.Status.LoadBalancer.Ingress[i].IPMode, s.Status.LoadBalancer.Ingress[i].Ports = nil, nil
		}
	}
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantEvents("web", assigned("172.30.200.1")...)
	w.settled()
	writes := 0
	for _, write := range w.api.written() {
		if write.key == key("web") {
			writes++
		}
	}
	if writes != 1 {
		t.Errorf("%d writes, want 1", writes)
	}
}

// Two Services exchange their addresses: at no moment do both have one.
func TestExchange(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("a", requesting("172.30.200.5")))
	w.api.create(loadBalancer("b", requesting("172.30.200.6")))
	w.wantAddress("a", "172.30.200.5")
	w.wantAddress("b", "172.30.200.6")
	w.settled()
	w.api.hold()
	w.api.change(t, key("a"), requesting("172.30.200.6"))
	w.api.change(t, key("b"), requesting("172.30.200.5"))
	w.api.release()
	w.wantAddress("a", "172.30.200.6")
	w.wantAddress("b", "172.30.200.5")
	w.noneTwice()
}

// noneTwice checks that at no moment two Services had one address.
func (w *world) noneTwice() {
	w.t.Helper()
	w.api.mu.Lock()
	defer w.api.mu.Unlock()
	owner := map[string]string{}
	has := map[string][]string{}
	for _, e := range w.api.history {
		s := e.event.Object.(*corev1.Service)
		for _, a := range has[s.Name] {
			delete(owner, a)
		}
		has[s.Name] = nil
		if e.event.Type == "DELETED" {
			continue
		}
		for _, i := range s.Status.LoadBalancer.Ingress {
			if o := owner[i.IP]; o != "" {
				w.t.Fatalf("%s and %s both have %s", o, s.Name, i.IP)
			}
			owner[i.IP] = s.Name
			has[s.Name] = append(has[s.Name], i.IP)
		}
	}
}

// A write that hangs holds up nobody else.
func TestSlowWriteHoldsUpNobody(t *testing.T) {
	w := newWorld(t)
	var blocked atomic.Bool
	w.api.failing(func(_ string, s *corev1.Service) error {
		if s.Name == "slow" {
			blocked.Store(true)
			return apierrors.NewTooManyRequests("later", 1)
		}
		return nil
	})
	w.start()
	w.api.create(loadBalancer("slow"))
	w.api.create(loadBalancer("fast"))
	w.wantAddress("fast", "172.30.200.2")
	w.eventually("a write of the other Service", blocked.Load, func() any { return w.Snapshot() })
	w.api.failing(nil)
	w.wantAddress("slow", "172.30.200.1")
}

// A Service of the same name is another Service.
func TestRecreatedService(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("web", requesting("172.30.200.8")))
	w.wantAddress("web", "172.30.200.8")
	w.settled()
	w.api.hold()
	w.api.remove(t, key("web"))
	w.api.change(t, key("web"), func(s *corev1.Service) { s.Finalizers = nil })
	w.api.create(loadBalancer("web"))
	w.api.release()
	w.wantAddress("web", "172.30.200.1")
	w.settled()
	if got := w.Snapshot().Services; len(got) == 0 || got[0].Decision.Reason == pool.Failed {
		t.Errorf("state %+v", got)
	}
}
