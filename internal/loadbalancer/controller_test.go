package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"minato/internal/loadbalancer/pool"
)

func TestServiceGetsAnAddress(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("web", func(s *corev1.Service) {
		s.Spec.Ports = append(s.Spec.Ports, corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP})
	}))
	w.wantAddress("web", "172.30.200.1")
	w.wantEvents("web", assigned("172.30.200.1")...)
	s := w.api.get(key("web"))
	if got := s.Annotations[pool.AnnotationAllocatedFrom]; got != "minato-default" {
		t.Errorf("annotation %q", got)
	}
	want := ingress(s, publishedBy(s))
	if len(want[0].Ports) != 2 || *want[0].IPMode != corev1.LoadBalancerIPModeVIP || !sameIngress(s.Status.LoadBalancer.Ingress, want) {
		t.Errorf("status %+v", s.Status.LoadBalancer)
	}
	writes := w.api.written()
	if len(writes) != 1 || writes[0].subresource != "status" {
		t.Fatalf("writes %+v; the Service is to get marks and status at once", writes)
	}
	if !hasMarks(writes[0].after) || len(writes[0].after.Status.LoadBalancer.Ingress) != 1 {
		t.Errorf("the write made %+v", writes[0].after)
	}
}

// An API server that takes no metadata with a status gets the marks by themselves.
func TestMarksBesideStatus(t *testing.T) {
	w := newWorld(t)
	w.api.bareStatus = true
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantAddress("web", "172.30.200.1")
	w.eventually("the marks", func() bool { return hasMarks(w.api.get(key("web"))) }, func() any { return w.api.written() })
	w.settled()
	writes := w.api.written()
	if len(writes) < 2 || hasMarks(writes[0].after) || writes[1].subresource != "" || writes[1].key != key("web") {
		t.Errorf("writes %+v", writes)
	}
}

// The Service and the ConfigMap are those of an article on MetalLB 0.7.
func TestConfigMapOfOldMetalLB(t *testing.T) {
	w := newWorld(t)
	w.configMap("address-pools:\n- name: default\n  protocol: layer2\n  addresses:\n  - 192.168.3.100-192.168.3.200\n")
	w.start()
	w.api.create(loadBalancer("sample-lb", requesting("192.168.3.100"), func(s *corev1.Service) {
		s.Spec.Ports = []corev1.ServicePort{{Name: "http-port", Protocol: corev1.ProtocolTCP, Port: 8080, NodePort: 30082}}
		s.Spec.LoadBalancerSourceRanges = []string{"192.168.3.0/8"}
	}))
	w.wantAddress("sample-lb", "192.168.3.100")
	w.wantEvents("sample-lb", assigned("192.168.3.100")...)
	w.api.create(loadBalancer("other"))
	w.wantAddress("other", "192.168.3.101")
}

func TestTypeChangeFreesAtOnce(t *testing.T) {
	w := newWorld(t, ipPool("one", "192.0.2.7/32"))
	w.start()
	w.api.create(loadBalancer("first"))
	w.wantAddress("first", "192.0.2.7")
	w.api.create(loadBalancer("waits"))
	w.eventually("an event of the pending Service", func() bool { return len(w.events.about("waits")) == 2 }, func() any { return w.events.about("waits") })
	failure := w.events.about("waits")[1]
	const prefix = `Warning/metallb-controller/AllocationFailed/Failed to allocate IP for "default/waits": no available IPs`
	if !strings.HasPrefix(failure, prefix) || len(failure) < len(prefix)+10 {
		t.Errorf("the event is %q; it is to begin with %q and to say what would help", failure, prefix)
	}
	w.api.change(t, key("first"), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	w.wantAddress("first", "")
	w.wantAddress("waits", "192.0.2.7")
	w.wantEvents("waits", append(slices.Clone(w.events.about("waits")[:2]), assigned("192.0.2.7")...)...)

	// Back again, it waits; and once more, it gets the address.
	w.api.change(t, key("first"), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer })
	w.eventually("the Service that came back to be told that it waits", func() bool {
		return slices.ContainsFunc(w.events.about("first"), func(e string) bool { return strings.Contains(e, "AllocationFailed") })
	}, func() any { return w.events.about("first") })
	w.api.change(t, key("waits"), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeNodePort })
	w.wantAddress("first", "192.0.2.7")
	w.wantAddress("waits", "")
}

func TestDeletion(t *testing.T) {
	for _, test := range []struct {
		name string
		fail string // the write that is refused until the Service is deleted
	}{{"before it is marked", "patch/"}, {"before it has a status", "patch/status"}, {"afterwards", ""}} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, ipPool("one", "192.0.2.7/32"))
			w.api.bareStatus = test.fail == "patch/"
			attempts := 0
			w.api.failing(func(verb string, s *corev1.Service) error {
				if verb == test.fail && s.Name == "first" && s.DeletionTimestamp == nil {
					attempts++
					return apierrors.NewInternalError(errors.New("no leader"))
				}
				return nil
			})
			w.start()
			w.api.create(loadBalancer("first"))
			if test.fail == "" {
				w.wantAddress("first", "192.0.2.7")
			} else {
				w.eventually("a write that is refused", func() bool {
					w.api.mu.Lock()
					defer w.api.mu.Unlock()
					return attempts > 0
				}, func() any { return w.api.written() })
			}
			w.api.create(loadBalancer("next"))
			w.api.remove(t, key("first"))
			w.eventually("the end of the Service", func() bool { return w.api.get(key("first")) == nil }, func() any { return w.api.get(key("first")) })
			w.wantAddress("next", "192.0.2.7")
		})
	}
}

// A Service that somebody else's finalizer keeps loses its address all the same.
func TestDeletionWithAnotherFinalizer(t *testing.T) {
	w := newWorld(t, ipPool("one", "192.0.2.7/32"))
	w.start()
	w.api.create(loadBalancer("first", func(s *corev1.Service) { s.Finalizers = []string{"example.com/keep"} }))
	w.wantAddress("first", "192.0.2.7")
	w.api.create(loadBalancer("next"))
	w.api.remove(t, key("first"))
	w.wantAddress("next", "192.0.2.7")
	w.wantAddress("first", "")
	if got := w.api.get(key("first")).Finalizers; !slices.Equal(got, []string{"example.com/keep"}) {
		t.Errorf("finalizers %q", got)
	}
}

func TestClass(t *testing.T) {
	other, own := "example.com/other", Class
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("foreign", func(s *corev1.Service) {
		s.Spec.LoadBalancerClass = &other
		s.Finalizers = []string{Finalizer}
		s.Annotations = map[string]string{pool.AnnotationAllocatedFrom: "theirs"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{Hostname: "lb.example.com"}}
	}))
	w.api.create(loadBalancer("own", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &own }))
	w.wantAddress("own", "172.30.200.1")
	w.settled()
	w.api.remove(t, key("foreign"))
	// A Service that leaves for another class while nobody sees the type in between.
	w.api.hold()
	w.api.change(t, key("own"), func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeClusterIP })
	w.api.change(t, key("own"), func(s *corev1.Service) {
		s.Spec.Type, s.Spec.LoadBalancerClass = corev1.ServiceTypeLoadBalancer, &other
	})
	w.api.release()
	w.wantAddress("own", "")
	// What the other one writes afterwards is left alone.
	w.api.change(t, key("own"), func(s *corev1.Service) {
		s.Finalizers = []string{Finalizer}
		s.Annotations = map[string]string{pool.AnnotationAllocatedFrom: "theirs"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "198.51.100.1"}}
	})
	w.settled()
	if s := w.api.get(key("own")); !hasMarks(s) || w.addresses("own") != "198.51.100.1" {
		t.Errorf("a Service of another class was changed to %+v", s)
	}
	for _, write := range w.api.written() {
		if write.key == key("foreign") {
			t.Errorf("a Service of another class was written: %+v", write)
		}
	}
	if s := w.api.get(key("foreign")); s == nil || !hasMarks(s) {
		t.Errorf("a Service of another class lost its finalizer: %+v", s)
	}
	if got := w.events.about("foreign"); len(got) > 0 {
		t.Errorf("events of a Service of another class: %q", got)
	}
}

// Exclusive leaves Services without a class alone.
func TestExclusiveClass(t *testing.T) {
	class := "example.com/mine"
	w := newWorld(t)
	w.cfg = Config{Class: class, Exclusive: true}
	w.start()
	w.api.create(loadBalancer("none"))
	w.api.create(loadBalancer("mine", func(s *corev1.Service) { s.Spec.LoadBalancerClass = &class }))
	w.wantAddress("mine", "172.30.200.1")
	if len(w.Snapshot().Services) != 1 || w.addresses("none") != "" {
		t.Errorf("state %+v", w.Snapshot())
	}
}

func TestSharedAddress(t *testing.T) {
	w := newWorld(t)
	w.start()
	share := annotated(pool.AnnotationSharing, "dns")
	port := func(n int32, p corev1.Protocol) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.Ports = []corev1.ServicePort{{Port: n, Protocol: p}} }
	}
	w.api.create(loadBalancer("tcp", share, requesting("172.30.200.9"), port(53, corev1.ProtocolTCP)))
	w.api.create(loadBalancer("udp", share, requesting("172.30.200.9"), port(53, corev1.ProtocolUDP)))
	w.wantAddress("tcp", "172.30.200.9")
	w.wantAddress("udp", "172.30.200.9")
	w.api.create(loadBalancer("taken", share, requesting("172.30.200.9"), port(53, corev1.ProtocolTCP)))
	w.eventually("a refusal", func() bool {
		return slices.ContainsFunc(w.events.about("taken"), func(e string) bool { return strings.Contains(e, `port TCP/53 is already in use on "172.30.200.9"`) })
	}, func() any { return w.events.about("taken") })
	w.api.remove(t, key("tcp"))
	w.wantAddress("taken", "172.30.200.9")
	w.wantAddress("udp", "172.30.200.9")
}

// Every change of ports is in the status, and no event tells of it.
func TestPortsFollow(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantAddress("web", "172.30.200.1")
	w.api.change(t, key("web"), func(s *corev1.Service) { s.Spec.Ports[0].Port = 8080 })
	w.eventually("the new port", func() bool {
		return w.api.get(key("web")).Status.LoadBalancer.Ingress[0].Ports[0].Port == 8080
	}, func() any { return w.api.get(key("web")).Status })
	w.settled()
	w.wantEvents("web", assigned("172.30.200.1")...)
}

func TestRequestChanges(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantEvents("web", assigned("172.30.200.1")...)
	w.events.forget()
	w.api.change(t, key("web"), requesting("172.30.200.77"))
	w.wantAddress("web", "172.30.200.77")
	w.eventually("events", func() bool { return len(w.events.about("web")) == 4 }, func() any { return w.events.about("web") })
	if got := w.events.about("web"); !strings.Contains(got[0], "/ClearAssignment/") || !slices.Equal(got[1:], assigned("172.30.200.77")) {
		t.Errorf("events %q", got)
	}
	// An address that can't be had costs the one that the Service has, as it was asked to leave it.
	w.api.change(t, key("web"), requesting("203.0.113.1"))
	w.wantAddress("web", "")
	w.api.change(t, key("web"), requesting("172.30.200.78"))
	w.wantAddress("web", "172.30.200.78")
}

func TestDeprecatedAnnotationIsToldOnce(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("web", annotated("metallb.universe.tf/loadBalancerIPs", "172.30.200.5")))
	w.wantAddress("web", "172.30.200.5")
	w.api.change(t, key("web"), func(s *corev1.Service) { s.Spec.Ports[0].Port = 81 })
	w.settled()
	w.wantEvents("web", append([]string{
		"Warning/metallb-controller/deprecatedAnnotation/Service uses deprecated annotation metallb.universe.tf/loadBalancerIPs",
	}, assigned("172.30.200.5")...)...)
}

func TestInvalidConfig(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a Controller without clients was made")
	}
	if _, err := NewSettings(SettingsConfig{}); err == nil {
		t.Error("Settings without clients were made")
	}
	if _, err := NewRecorder(RecorderConfig{}); err == nil {
		t.Error("a Recorder without a client was made")
	}
}

// A second family comes later, when the pool has it, and the first address stays.
func TestSecondFamilyComesLater(t *testing.T) {
	w := newWorld(t, ipPool("mixed", "192.0.2.0/30"))
	w.start()
	prefer := corev1.IPFamilyPolicyPreferDualStack
	w.api.create(loadBalancer("web", func(s *corev1.Service) {
		s.Spec.IPFamilyPolicy = &prefer
		s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv6Protocol, corev1.IPv4Protocol}
	}))
	w.wantAddress("web", "192.0.2.0")
	w.eventually("a word on the second family", func() bool {
		return slices.ContainsFunc(w.events.about("web"), func(e string) bool { return strings.Contains(e, "/AdditionalAssignFailed/") })
	}, func() any { return w.events.about("web") })
	w.settled()
	w.events.forget()
	w.apply(ipPool("mixed", "192.0.2.0/30", "2001:db8::10-2001:db8::20"))
	w.wantAddress("web", "192.0.2.0,2001:db8::10")
	w.settled()
	if got := w.events.about("web"); len(got) != 3 || !strings.Contains(got[1], "2001:db8::10") || strings.Contains(got[1], "192.0.2.0") {
		t.Errorf("events %q", got)
	}
}

// Run may be called again after it has returned, as leaders come and go. It then begins with what the API says.
func TestRunAgain(t *testing.T) {
	w := newWorld(t)
	w.start()
	w.api.create(loadBalancer("a"))
	w.wantEvents("a", assigned("172.30.200.1")...)
	w.settled()
	c, err := New(w.Controller.cfg)
	if err != nil {
		t.Fatal(err)
	}
	run := func(meanwhile func()) {
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { done <- c.Run(ctx) }()
		meanwhile()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	w.Controller = c // beside the first, for a moment: two leaders come to the same decisions
	for i, want := range []string{"172.30.200.2", "172.30.200.3"} {
		run(func() {
			name := fmt.Sprintf("s%d", i)
			w.api.create(loadBalancer(name))
			w.wantAddress(name, want)
			w.eventually("the decision", func() bool { return len(c.Snapshot().Services) == i+2 }, func() any { return c.Snapshot() })
		})
	}
	w.wantAddress("a", "172.30.200.1")
	w.noneTwice()
}
