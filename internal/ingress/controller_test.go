package ingress

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	kubetesting "k8s.io/client-go/testing"

	"minato/internal/ingress/table"
)

// heard keeps events.
type heard struct {
	mu  sync.Mutex
	all []string
}

func (h *heard) Event(source string, about corev1.ObjectReference, eventType, reason, message string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, fmt.Sprintf("%s %s %s %s", about.Name, eventType, reason, message))
}

func (h *heard) count(text string) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, e := range h.all {
		if strings.Contains(e, text) {
			n++
		}
	}
	return n
}

// controller runs a Controller until the test ends.
func (w *world) controller(own bool) (*Controller, *heard) {
	w.t.Helper()
	return w.controllerWith(own, nil)
}

// controllerWith has the Controller's configuration changed before.
func (w *world) controllerWith(own bool, change func(*ControllerConfig)) (*Controller, *heard) {
	w.t.Helper()
	// The fake API takes a patch of the status for one of the whole object, and no version for none.
	w.client.PrependReactor("patch", "ingresses", func(a kubetesting.Action) (bool, runtime.Object, error) {
		p := a.(kubetesting.PatchAction)
		o, err := w.client.Tracker().Get(a.GetResource(), p.GetNamespace(), p.GetName())
		if err != nil {
			return true, nil, err
		}
		var change struct {
			Status networkingv1.IngressStatus `json:"status"`
		}
		if err := json.Unmarshal(p.GetPatch(), &change); err != nil || p.GetSubresource() != "status" {
			return true, nil, fmt.Errorf("patch %s of %q: %v", p.GetPatch(), p.GetSubresource(), err)
		}
		ing := o.(*networkingv1.Ingress).DeepCopy()
		ing.Status = change.Status
		ing.ResourceVersion += "0"
		ing.ManagedFields = []metav1.ManagedFieldsEntry{{
			Manager: fieldManager, Subresource: "status", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "networking.k8s.io/v1",
			FieldsType: "FieldsV1", FieldsV1: &metav1.FieldsV1{Raw: []byte(`{"f:status":{"f:loadBalancer":{"f:ingress":{}}}}`)},
		}}
		return true, ing, w.client.Tracker().Update(a.GetResource(), ing, p.GetNamespace())
	})
	f := informers.NewSharedInformerFactory(w.client, 0)
	events := &heard{}
	objects, err := NewObjects(ObjectsConfig{ // which has the index
		Client: w.client, Ingresses: f.Networking().V1().Ingresses(), Classes: f.Networking().V1().IngressClasses(),
		Services: f.Core().V1().Services(), Slices: f.Discovery().V1().EndpointSlices(), Options: DefaultOptions(),
	})
	if err != nil || objects == nil {
		w.t.Fatal(err)
	}
	cfg := ControllerConfig{
		Client: w.client, Ingresses: f.Networking().V1().Ingresses(), Classes: f.Networking().V1().IngressClasses(),
		Services: f.Core().V1().Services(), Slices: f.Discovery().V1().EndpointSlices(), Options: DefaultOptions(),
		Publish: types.NamespacedName{Namespace: Namespace, Name: Name}, Own: own, Events: events, Logger: testLogger(w.t),
	}
	if change != nil {
		change(&cfg)
	}
	c, err := NewController(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	f.Start(w.t.Context().Done())
	running(w.t, c.Run)
	return c, events
}

func (w *world) address(name string) string {
	ing, err := w.client.NetworkingV1().Ingresses("default").Get(w.t.Context(), name, metav1.GetOptions{})
	if err != nil || len(ing.Status.LoadBalancer.Ingress) == 0 {
		return ""
	}
	return ing.Status.LoadBalancer.Ingress[0].IP
}

// serves has the Service of the ingress with an address, and one node of which the proxy is ready or not.
func (w *world) serves(ready bool) {
	w.t.Helper()
	s := slice("ingress", netip.MustParseAddrPort("172.30.0.11:10080"))
	s.Namespace, s.Name, s.Labels["kubernetes.io/service-name"] = Namespace, sliceName("node-1", false), Name
	s.Endpoints[0].Conditions.Ready = &ready
	slices := w.client.DiscoveryV1().EndpointSlices(Namespace)
	if _, err := slices.Update(w.t.Context(), s, metav1.UpdateOptions{}); err != nil {
		w.must(slices.Create(w.t.Context(), s, metav1.CreateOptions{}))
	}
}

func TestControllerWritesAndTells(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, events := w.controller(true)
	ing := ingressOf("a", "a.test", "one")
	w.ingress(ing)
	services := w.client.CoreV1().Services(Namespace)
	var s *corev1.Service
	until(t, "the Service is made", func() (err error) {
		s, err = services.Get(t.Context(), Name, metav1.GetOptions{})
		return err
	})
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal || s.Spec.Selector != nil || len(s.Spec.Ports) != 2 {
		t.Errorf("the Service is %+v", s.Spec)
	}
	s = s.DeepCopy()
	s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
	s.Spec.Ports[0].NodePort = 30080 // a user's, which stays
	s.ResourceVersion = "77"
	w.must(services.Update(t.Context(), s, metav1.UpdateOptions{}))
	until(t, "it is told that the Ingress was taken up", func() error {
		if n := events.count("a Normal Sync Scheduled for sync"); n != 1 {
			return fmt.Errorf("%d times", n)
		}
		return nil
	})
	if a := w.address("a"); a != "" {
		t.Errorf("the Ingress has the address %s, where nobody serves", a)
	}
	has := func(want string) func() error {
		return func() error {
			if a := w.address("a"); a != want {
				return fmt.Errorf("the address is %q, want %q", a, want)
			}
			return nil
		}
	}
	w.serves(true)
	until(t, "the address is written", has("192.0.2.1"))
	w.serves(false)
	until(t, "the address is taken away", has(""))
	w.serves(true)
	until(t, "the address is written", has("192.0.2.1"))

	// What is found is told once, by whichever node.
	found := []Findings{{Ingress: types.NamespacedName{Namespace: "default", Name: "a"}, UID: ing.UID, List: []table.Finding{{Reason: "PathTaken", Field: "spec", Message: "another has it", Warning: true}}}}
	c.Found(found)
	c.Found(found)
	c.Found([]Findings{{Ingress: found[0].Ingress, UID: "another", List: []table.Finding{{Reason: "Other", Message: "of another of the name"}}}})
	until(t, "the finding is told", func() error {
		if events.count("a Warning PathTaken another has it") != 1 {
			return fmt.Errorf("events %v", events.all)
		}
		return nil
	})
	// An Ingress that becomes another controller's loses the address. What is that one's own stays.
	now, err := w.client.NetworkingV1().Ingresses("default").Get(t.Context(), "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	now = now.DeepCopy()
	now.Spec.IngressClassName = new("traefik")
	w.change(now)
	until(t, "the address is taken away", has(""))
	theirs := ingressOf("theirs", "b.test", "one")
	theirs.Spec.IngressClassName = new("traefik")
	theirs.Status.LoadBalancer.Ingress = []networkingv1.IngressLoadBalancerIngress{{IP: "198.51.100.1"}}
	w.ingress(theirs)
	w.ingress(ingressOf("c", "c.test", "one"))
	until(t, "a later one has the address", func() error {
		if a := w.address("c"); a != "192.0.2.1" {
			return fmt.Errorf("the address is %q", a)
		}
		return nil
	})
	if a := w.address("theirs"); a != "198.51.100.1" {
		t.Errorf("the address that another controller wrote is %q", a)
	}
	if n := events.count("PathTaken") + events.count("Other"); n != 1 {
		t.Errorf("events: %v", events.all)
	}
	if s, err := services.Get(t.Context(), Name, metav1.GetOptions{}); err != nil || s.Spec.Ports[0].NodePort != 30080 {
		t.Errorf("the Service is %v, %v", s, err)
	}
}

// TestControllerWaitsForProxies: an Ingress has its address when the proxies serve it, so that who has seen the address is
// answered.
func TestControllerWaitsForProxies(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var asked, serve atomic.Bool
	c, _ := w.controllerWith(true, func(cfg *ControllerConfig) {
		cfg.Serves = func(n types.NamespacedName, uid types.UID) bool {
			asked.Store(n.Name == "a")
			return serve.Load()
		}
		cfg.Addresses = []networkingv1.IngressLoadBalancerIngress{{IP: "192.0.2.1"}}
	})
	w.ingress(ingressOf("a", "a.test", "one"))
	until(t, "the proxies are asked about", func() error {
		if !asked.Load() {
			return fmt.Errorf("they are not")
		}
		return nil
	})
	if a := w.address("a"); a != "" {
		t.Errorf("the address is %s before any proxy serves the Ingress", a)
	}
	serve.Store(true)
	c.Served([]types.NamespacedName{{Namespace: "default", Name: "a"}})
	until(t, "the address is written", func() error {
		if a := w.address("a"); a != "192.0.2.1" {
			return fmt.Errorf("it is %q", a)
		}
		return nil
	})
}

// TestControllerTellsOfSettings: what is wrong with a ConfigMap of settings is told once, whichever node finds it.
func TestControllerTellsOfSettings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c, events := w.controller(true)
	found := []Findings{{Kind: KindConfigMap, Ingress: types.NamespacedName{Namespace: Namespace, Name: Name}, List: []table.Finding{{Reason: "SettingInvalid", Field: "keep-alive", Message: "keep-alive: \"x\" is no number", Warning: true}}}}
	c.Found(found)
	c.Found(found)
	w.ingress(ingressOf("a", "a.test", "one"))
	until(t, "later news are told", func() error {
		if events.count("a Normal Sync") != 1 {
			return fmt.Errorf("events: %v", events.all)
		}
		return nil
	})
	if n := events.count("minato-ingress Warning SettingInvalid keep-alive"); n != 1 {
		t.Errorf("it was told %d times: %v", n, events.all)
	}
}

// Classes are made once; what was deleted stays away.
func TestControllerMakesClassesOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	classes := w.client.NetworkingV1().IngressClasses()
	w.must(nil, classes.Delete(t.Context(), ClassNginx, metav1.DeleteOptions{}))
	w.must(nil, classes.Delete(t.Context(), ClassMinato, metav1.DeleteOptions{}))
	w.controller(true)
	for _, name := range []string{ClassMinato, ClassNginx} {
		until(t, name+" is made", func() error { _, err := classes.Get(t.Context(), name, metav1.GetOptions{}); return err })
	}
	until(t, "it is remembered", func() error {
		_, err := w.client.CoreV1().ConfigMaps(Namespace).Get(t.Context(), madeName, metav1.GetOptions{})
		return err
	})
	w.must(nil, classes.Delete(t.Context(), ClassNginx, metav1.DeleteOptions{}))
	c, err := NewController(ControllerConfig{
		Client: w.client, Ingresses: informers.NewSharedInformerFactory(w.client, 0).Networking().V1().Ingresses(),
		Classes:  informers.NewSharedInformerFactory(w.client, 0).Networking().V1().IngressClasses(),
		Services: informers.NewSharedInformerFactory(w.client, 0).Core().V1().Services(),
		Slices:   informers.NewSharedInformerFactory(w.client, 0).Discovery().V1().EndpointSlices(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.makeClassesNow(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := classes.Get(t.Context(), ClassNginx, metav1.GetOptions{}); err == nil {
		t.Error("a class that was deleted is there again")
	}
}
