package loadbalancer

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/informers"
	clienttesting "k8s.io/client-go/testing"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/config/metallb"
	"minato/internal/loadbalancer/pool"
)

// deadline bounds every wait in these tests.
const deadline = 30 * time.Second

// world is a cluster with a Controller.
type world struct {
	t       testing.TB
	api     *fakeAPI
	dynamic *dynamicfake.FakeDynamicClient
	absent  sync.Map // resources that the API doesn't have
	events  *fakeEvents
	cfg     Config
	factory informers.SharedInformerFactory

	*Controller
	settings *Settings
	stop     func()
}

// newWorld makes a cluster with the default pool 172.30.200.1 to .250 and the namespaces default and metallb-system.
func newWorld(t testing.TB, objects ...*unstructured.Unstructured) *world {
	w := &world{t: t, events: &fakeEvents{}}
	w.api = newFakeAPI(namespace("default", nil), namespace(config.Namespace, nil))
	scheme := runtime.NewScheme()
	kinds := map[schema.GroupVersionResource]string{
		{Group: metallb.Group, Version: "v1beta1", Resource: "configurationstates"}: "ConfigurationStateList",
	}
	for name, resource := range configKinds() {
		kinds[resource] = name + "List"
	}
	w.dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(scheme, kinds)
	w.dynamic.PrependReactor("*", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if _, is := w.absent.Load(a.GetResource().Resource); is {
			return true, nil, apierrors.NewNotFound(a.GetResource().GroupResource(), "")
		}
		return false, nil, nil
	})
	for _, o := range objects {
		w.apply(o)
	}
	return w
}

func namespace(name string, labels map[string]string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
}

// start runs Settings and a Controller until the test ends or stop is called.
func (w *world) start() {
	w.t.Helper()
	if w.factory == nil {
		w.factory = informers.NewSharedInformerFactory(w.api, 0)
	}
	log := slog.New(slog.NewTextHandler(testWriter{w.t}, &slog.HandlerOptions{Level: slog.LevelWarn}))
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	w.settings, err = NewSettings(SettingsConfig{
		Client: w.api, Dynamic: w.dynamic, Logger: log,
		Default: []config.Range{{First: netip.MustParseAddr("172.30.200.1"), Last: netip.MustParseAddr("172.30.200.250")}},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	cfg := w.cfg
	cfg.Client, cfg.Dynamic, cfg.Settings, cfg.Events, cfg.Logger = w.api, w.dynamic, w.settings, w.events, log
	cfg.Services, cfg.Namespaces = w.factory.Core().V1().Services(), w.factory.Core().V1().Namespaces()
	if w.Controller, err = New(cfg); err != nil {
		w.t.Fatal(err)
	}
	cfg.Services.Informer()
	cfg.Namespaces.Informer()
	w.factory.Start(ctx.Done())
	var done sync.WaitGroup
	for _, run := range []func(context.Context) error{w.settings.Run, w.Controller.Run} {
		done.Go(func() {
			if err := run(ctx); err != nil {
				w.t.Errorf("Run: %v", err)
			}
		})
	}
	w.stop = sync.OnceFunc(func() {
		cancel()
		ended := make(chan struct{})
		go func() { done.Wait(); w.factory.Shutdown(); close(ended) }()
		select {
		case <-ended:
		case <-time.After(deadline):
			w.t.Error("Run did not return")
		}
		w.factory = nil
	})
	w.t.Cleanup(w.stop)
}

type testWriter struct{ t testing.TB }

func (w testWriter) Write(p []byte) (int, error) { return len(p), nil }

// apply creates or replaces an object of metallb.io.
func (w *world) apply(o *unstructured.Unstructured) {
	w.t.Helper()
	client := w.dynamic.Resource(configKinds()[o.GetKind()]).Namespace(o.GetNamespace())
	_, err := client.Create(context.Background(), o, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.Update(context.Background(), o, metav1.UpdateOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) deleteObject(kind, name string) {
	w.t.Helper()
	err := w.dynamic.Resource(configKinds()[kind]).Namespace(config.Namespace).Delete(context.Background(), name, metav1.DeleteOptions{})
	if err != nil {
		w.t.Fatal(err)
	}
}

// object returns an object of metallb.io by its resource, nil if there is none.
func (w *world) object(resource, name string) *unstructured.Unstructured {
	gvr := schema.GroupVersionResource{Group: metallb.Group, Version: "v1beta1", Resource: resource}
	u, err := w.dynamic.Resource(gvr).Namespace(config.Namespace).Get(context.Background(), name, metav1.GetOptions{})
	if err != nil {
		return nil
	}
	return u
}

// ipPool makes an IPAddressPool.
func ipPool(name string, addresses ...string) *unstructured.Unstructured {
	var list []any
	for _, a := range addresses {
		list = append(list, a)
	}
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "metallb.io/v1beta1", "kind": metallb.KindIPAddressPool,
		"metadata": map[string]any{"name": name, "namespace": config.Namespace, "uid": "uid-of-" + name},
		"spec":     map[string]any{"addresses": list},
	}}
}

// loadBalancer makes a Service of type LoadBalancer with port 80.
func loadBalancer(name string, edits ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
		},
	}
	for _, edit := range edits {
		edit(s)
	}
	return s
}

func requesting(address string) func(*corev1.Service) {
	return func(s *corev1.Service) { s.Spec.LoadBalancerIP = address }
}

func annotated(key, value string) func(*corev1.Service) {
	return func(s *corev1.Service) {
		if s.Annotations == nil {
			s.Annotations = map[string]string{}
		}
		s.Annotations[key] = value
	}
}

func key(name string) types.NamespacedName {
	return types.NamespacedName{Namespace: "default", Name: name}
}

// eventually waits until a condition holds; tell says what is instead.
func (w *world) eventually(what string, holds func() bool, tell func() any) {
	w.t.Helper()
	for end := time.Now().Add(deadline); ; {
		if holds() {
			return
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s did not come about; there is %v", what, tell())
		}
		pause(context.Background(), 2*time.Millisecond)
	}
}

// addresses are what a Service's status lists, joined.
func (w *world) addresses(name string) string {
	s := w.api.get(key(name))
	if s == nil {
		return "no such Service"
	}
	var all []string
	for _, i := range s.Status.LoadBalancer.Ingress {
		all = append(all, i.IP)
	}
	return strings.Join(all, ",")
}

// wantAddress waits until a Service's status lists exactly this, and is marked accordingly.
func (w *world) wantAddress(name, want string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("address %q of Service %s", want, name), func() bool {
		s := w.api.get(key(name))
		return s != nil && w.addresses(name) == want && hasMarks(s) == (want != "")
	}, func() any { return fmt.Sprintf("%q, events %v", w.addresses(name), w.events.about(name)) })
}

// wantEvents waits until exactly these events of a Service were sent, as source/reason/message.
func (w *world) wantEvents(name string, want ...string) {
	w.t.Helper()
	w.eventually(fmt.Sprintf("events %q of %s", want, name), func() bool { return slices.Equal(w.events.about(name), want) },
		func() any { return fmt.Sprintf("%q", w.events.about(name)) })
}

// settled waits until the Controller has taken in everything, and has nothing to write.
func (w *world) settled() {
	w.t.Helper()
	// A Service that is created last is served last.
	name := fmt.Sprintf("probe-%d", time.Now().UnixNano())
	w.api.create(loadBalancer(name))
	w.eventually("the end of all work", func() bool {
		found := false
		for _, s := range w.Snapshot().Services {
			if s.Waiting != "" {
				return false
			}
			found = found || s.Name == name
		}
		return found
	}, func() any { return w.Snapshot() })
	w.api.remove(w.t, key(name))
	w.eventually("the end of the probe", func() bool { return w.api.get(key(name)) == nil }, func() any { return w.api.get(key(name)) })
}

// fakeEvents notes events.
type fakeEvents struct {
	mu  sync.Mutex
	all map[string][]string
}

func (f *fakeEvents) Event(source string, about corev1.ObjectReference, eventType, reason, message string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.all == nil {
		f.all = map[string][]string{}
	}
	f.all[about.Name] = append(f.all[about.Name], strings.Join([]string{eventType, source, reason, message}, "/"))
}

func (f *fakeEvents) about(name string) []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.all[name])
}

func (f *fakeEvents) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.all = nil
}

// assigned are the events of a Service that gets an address.
func assigned(address string) []string {
	return []string{
		"Normal/service-controller/EnsuringLoadBalancer/Ensuring load balancer",
		fmt.Sprintf("Normal/metallb-controller/%s/Assigned IP [%q]", pool.Allocated, address),
		"Normal/service-controller/EnsuredLoadBalancer/Ensured load balancer",
	}
}

// configMap creates or replaces the ConfigMap of MetalLB 0.7 to 0.12.
func (w *world) configMap(text string) {
	w.t.Helper()
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: ConfigMapName},
		Data:       map[string]string{ConfigMapKey: text},
	}
	client := w.api.CoreV1().ConfigMaps(config.Namespace)
	_, err := client.Create(context.Background(), m, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = client.Update(context.Background(), m, metav1.UpdateOptions{})
	}
	if err != nil {
		w.t.Fatal(err)
	}
}
