package loadbalancer

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
)

func TestPoolIsTakenAwayAndReplaced(t *testing.T) {
	w := newWorld(t, ipPool("first", "192.0.2.0/28"), ipPool("second", "198.51.100.0/28"))
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantEvents("web", assigned("192.0.2.0")...)
	w.events.forget()
	w.deleteObject(metallb.KindIPAddressPool, "first")
	w.wantAddress("web", "198.51.100.0")
	w.eventually("events", func() bool { return len(w.events.about("web")) == 4 }, func() any { return w.events.about("web") })
	const cleared = `Normal/metallb-controller/ClearAssignment/current IP for "default/web" not allowed by config, will attempt for new IP assignment: `
	if got := w.events.about("web"); !strings.HasPrefix(got[0], cleared) {
		t.Errorf("events %q", got)
	}
	// A pool that is for somebody else leaves the Service with nothing, and an event that says so.
	w.events.forget()
	reserved := ipPool("second", "198.51.100.0/28")
	_ = unstructured.SetNestedStringSlice(reserved.Object, []string{"elsewhere"}, "spec", "serviceAllocation", "namespaces")
	w.apply(reserved)
	w.wantAddress("web", "")
	w.eventually("events", func() bool { return len(w.events.about("web")) == 3 }, func() any { return w.events.about("web") })
	if got := w.events.about("web"); !strings.HasPrefix(got[0], cleared) || !strings.Contains(got[2], "/AllocationFailed/Failed to allocate IP for") {
		t.Errorf("events %q", got)
	}
	// Without any pool of the user's the cluster's own one is back.
	w.deleteObject(metallb.KindIPAddressPool, "second")
	w.wantAddress("web", "172.30.200.1")
}

// No address of the default pool is given while pools are there and were merely not read yet.
func TestNothingIsGivenBeforeEverythingIsRead(t *testing.T) {
	w := newWorld(t, ipPool("mine", "192.0.2.0/28"))
	release := make(chan struct{})
	w.dynamic.PrependReactor("list", "ipaddresspools", func(clienttesting.Action) (bool, runtime.Object, error) {
		select {
		case <-release:
			return false, nil, nil
		default:
			return true, nil, context.DeadlineExceeded
		}
	})
	w.api.create(loadBalancer("web"))
	w.start()
	w.eventually("all other kinds", func() bool {
		for name, k := range w.settings.kinds {
			if _, known := k.objects(); known == (name == metallb.KindIPAddressPool) {
				return false
			}
		}
		_, known := w.settings.configMap()
		return known
	}, func() any { return w.settings.kinds })
	if _, known := w.settings.Current(); known {
		t.Error("the configuration counts as read")
	}
	close(release)
	w.wantAddress("web", "192.0.2.0")
	for _, write := range w.api.written() {
		for _, i := range write.after.Status.LoadBalancer.Ingress {
			if i.IP != "192.0.2.0" {
				t.Errorf("the Service had %s", i.IP)
			}
		}
	}
}

// The definitions may come late, and go again.
func TestKindsThatTheAPIDoesNotHave(t *testing.T) {
	w := newWorld(t)
	for _, resource := range configKinds() {
		w.absent.Store(resource.Resource, true)
	}
	w.absent.Store("configurationstates", true)
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantAddress("web", "172.30.200.1")

	for _, resource := range configKinds() {
		w.absent.Delete(resource.Resource)
	}
	w.apply(ipPool("mine", "192.0.2.0/28"))
	w.eventually("the new pool", func() bool { c, _ := w.settings.Current(); return len(c.Pools) == 2 }, func() any { c, _ := w.settings.Current(); return c })
	w.wantAddress("web", "172.30.200.1") // it may keep it
	w.api.create(loadBalancer("new"))
	w.eventually("the pool's address", func() bool { return w.addresses("new") == "192.0.2.0" }, func() any { return w.addresses("new") })
}

// A Service is not given an address by the labels of a namespace that is not known yet.
func TestNamespaceIsSeenAfterItsServices(t *testing.T) {
	team := ipPool("team", "192.0.2.0/28")
	_ = unstructured.SetNestedSlice(team.Object, []any{map[string]any{"matchLabels": map[string]any{"team": "a"}}}, "spec", "serviceAllocation", "namespaceSelectors")
	w := newWorld(t, team, ipPool("all", "198.51.100.0/28"))
	w.start()
	w.settled()
	s := loadBalancer("web")
	s.Namespace = "late"
	w.api.create(s)
	w.settled() // what came after it is served
	if got := w.api.get(keyOf(s)); len(got.Status.LoadBalancer.Ingress) > 0 {
		t.Fatalf("the Service has %v", got.Status)
	}
	if _, err := w.api.CoreV1().Namespaces().Create(context.Background(), namespace("late", map[string]string{"team": "a"}), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	w.eventually("the team's address", func() bool {
		got := publishedBy(w.api.get(keyOf(s)))
		return len(got) == 1 && got[0].String() == "192.0.2.0"
	}, func() any { return w.api.get(keyOf(s)).Status })
}

func TestStatusOfObjects(t *testing.T) {
	w := newWorld(t, ipPool("good", "192.0.2.0/28"), ipPool("bad", "192.0.2.9-192.0.2.1"))
	w.start()
	w.api.create(loadBalancer("web"))
	w.api.create(loadBalancer("web2"))
	w.wantAddress("web2", "192.0.2.1")
	status := func(resource, name string) map[string]any {
		u := w.object(resource, name)
		if u == nil {
			return nil
		}
		s, _, _ := unstructured.NestedMap(u.Object, "status")
		return s
	}
	accepted := func(s map[string]any, want metav1.ConditionStatus, part string) bool {
		var c struct{ Conditions []metav1.Condition }
		return convert(s, &c) == nil && len(c.Conditions) == 1 && c.Conditions[0].Status == want && strings.Contains(c.Conditions[0].Message, part) &&
			!c.Conditions[0].LastTransitionTime.IsZero()
	}
	w.eventually("the numbers of the pool", func() bool {
		s := status("ipaddresspools", "good")
		return s["assignedIPv4"] == int64(2) && s["availableIPv4"] == int64(14) && s["assignedIPv6"] == int64(0) && accepted(s, metav1.ConditionTrue, "")
	}, func() any { return status("ipaddresspools", "good") })
	w.eventually("the problem of the other pool", func() bool {
		return accepted(status("ipaddresspools", "bad"), metav1.ConditionFalse, "192.0.2.9-192.0.2.1")
	}, func() any { return status("ipaddresspools", "bad") })
	w.eventually("the state of the configuration", func() bool {
		s := status("configurationstates", "controller")
		summary, _ := s["errorSummary"].(string)
		return s["result"] == "Invalid" && strings.Contains(summary, "IPAddressPool bad: spec.addresses[0]: ")
	}, func() any { return status("configurationstates", "controller") })
	if u := w.object("configurationstates", "controller"); u.GetLabels()[metallb.LabelComponentType] != "controller" {
		t.Errorf("labels %v", u.GetLabels())
	}
	if got := w.events.about("bad"); len(got) != 1 || !strings.HasPrefix(got[0], "Warning/metallb-controller/ConfigurationError/spec.addresses[0]: ") {
		t.Errorf("events %q", got)
	}

	w.apply(ipPool("bad", "198.51.100.1/32"))
	w.eventually("the problem's end", func() bool {
		return status("configurationstates", "controller")["result"] == "Valid" && accepted(status("ipaddresspools", "bad"), metav1.ConditionTrue, "") &&
			status("ipaddresspools", "bad")["availableIPv4"] == int64(1)
	}, func() any { return status("configurationstates", "controller") })
	if s := status("configurationstates", "controller"); s["errorSummary"] != "" {
		t.Errorf("state %v", s)
	}
}

// A mistake in the ConfigMap costs what it is about, and is told in an event.
func TestProblemsOfTheConfigMap(t *testing.T) {
	w := newWorld(t)
	w.configMap("address-pools:\n- name: default\n  protocol: layer2\n  addresses:\n  - 192.168.3.100-192.168.3.200\n- name: broken\n  protocol: layer2\n  addresses: [nonsense]\n")
	w.start()
	w.api.create(loadBalancer("web"))
	w.wantAddress("web", "192.168.3.100")
	w.eventually("an event", func() bool { return len(w.events.about(ConfigMapName)) == 1 }, func() any { return w.events.about(ConfigMapName) })
	if got := w.events.about(ConfigMapName)[0]; !strings.Contains(got, "nonsense") {
		t.Errorf("event %q", got)
	}
}

// Only the one ConfigMap is asked for, never the namespace's others, and no Secret.
func TestSettingsReadNothingElse(t *testing.T) {
	w := newWorld(t)
	w.start()
	<-w.settings.Synced()
	for _, a := range w.api.Actions() {
		if a.GetResource().Resource == "services" || a.GetResource().Resource == "namespaces" {
			continue
		}
		list, ok := a.(clienttesting.ListAction)
		if !ok {
			if watch, isWatch := a.(clienttesting.WatchAction); isWatch && watch.GetWatchRestrictions().Fields.String() == "metadata.name=config" {
				continue
			}
			t.Errorf("%s %s", a.GetVerb(), a.GetResource().Resource)
			continue
		}
		if a.GetResource().Resource != "configmaps" || a.GetNamespace() != config.Namespace || list.GetListRestrictions().Fields.String() != "metadata.name=config" {
			t.Errorf("list of %s in %q by %v", a.GetResource().Resource, a.GetNamespace(), list.GetListRestrictions())
		}
	}
}

func TestSettingsTellOfChanges(t *testing.T) {
	w := newWorld(t)
	w.start()
	<-w.settings.Synced()
	told := make(chan struct{}, 100)
	stop := w.settings.Follow(func() { told <- struct{}{} })
	w.apply(ipPool("mine", "192.0.2.0/28"))
	for end := time.After(deadline); ; {
		select {
		case <-told:
			if c, _ := w.settings.Current(); len(c.Pools) == 2 {
				stop()
				return
			}
		case <-end:
			t.Fatal("nobody was told of the new pool")
		}
	}
}

func TestRecorderCountsWhatWasToldBefore(t *testing.T) {
	w := newWorld(t)
	r, err := NewRecorder(RecorderConfig{Client: w.api})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}()
	about := reference(loadBalancer("web"))
	tell := func() {
		r.Event(SourceController, about, corev1.EventTypeWarning, "AllocationFailed", "no available IPs")
	}
	events := func() []corev1.Event {
		list, err := w.api.CoreV1().Events("default").List(context.Background(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return list.Items
	}
	tell()
	w.eventually("an event", func() bool { return len(events()) == 1 }, func() any { return events() })
	e := events()[0]
	if e.Source.Component != "metallb-controller" || e.InvolvedObject.Kind != "Service" || e.Type != "Warning" || e.Count != 1 || e.FirstTimestamp.IsZero() {
		t.Errorf("event %+v", e)
	}
	tell()
	w.eventually("its count", func() bool { all := events(); return len(all) == 1 && all[0].Count == 2 }, func() any { return events() })
	r.Event(SourceService, about, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	w.eventually("another event", func() bool { return len(events()) == 2 }, func() any { return events() })
}
