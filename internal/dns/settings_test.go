package dns

import (
	"context"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"

	"minato/internal/dns/zone"
)

func configMap(name, key, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: ServiceNamespace, Name: name}, Data: map[string]string{key: text}}
}

// runUntilEnd runs fn until the test ends.
func runUntilEnd(t testing.TB, fn func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- fn(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		case <-time.After(deadline):
			t.Error("Run did not return")
		}
	})
}

func startSettings(t testing.TB, client kubernetes.Interface, z Configurable) *Settings {
	t.Helper()
	s, err := NewSettings(SettingsConfig{Client: client, Domain: "cluster.local", Zone: z})
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, s.Run)
	waitFor(t, s.Loaded)
	return s
}

func hasWarning(client kubernetes.Interface, reason, text string) bool {
	events, err := client.CoreV1().Events(ServiceNamespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		return false
	}
	for _, e := range events.Items {
		if e.Type == corev1.EventTypeWarning && e.Reason == reason && strings.Contains(e.Message, text) {
			return true
		}
	}
	return false
}

func TestSettingsFollowTheConfigMaps(t *testing.T) {
	client, watches := watchedClient(configMap(CorefileMapName, CorefileKey, ". {\n hosts {\n 192.0.2.1 a.example\n }\n template x\n}"))
	s := startSettings(t, client, nil)
	waitFor(t, func() bool { return watches.Load() == 2 })
	has := func(name string) func() bool {
		return func() bool {
			_, known := s.policy().fixed(dns.Question{Name: name, Qtype: dns.TypeA})
			return known
		}
	}
	waitFor(t, has("a.example."))
	waitFor(t, func() bool { return hasWarning(client, "NotUnderstood", "template") })
	maps := client.CoreV1().ConfigMaps(ServiceNamespace)
	apply := func(m *corev1.ConfigMap) {
		t.Helper()
		if _, err := maps.Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	own := configMap(ConfigMapName, ConfigMapKey, "hosts: [{ip: 192.0.2.2, names: [b.example]}]")
	if _, err := maps.Create(t.Context(), own, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, has("b.example."))
	if has("a.example.")() {
		t.Error("the Corefile still counts beside a configuration of our own")
	}
	apply(configMap(ConfigMapName, ConfigMapKey, "ttl: soon"))
	waitFor(t, func() bool { return hasWarning(client, "InvalidConfiguration", "ttl") })
	apply(configMap(ConfigMapName, "config", "ttl: 5"))
	waitFor(t, func() bool { return hasWarning(client, "InvalidConfiguration", "no key config.yaml") })
	if !has("b.example.")() {
		t.Error("a wrong configuration took the place of the one in force")
	}
	if err := maps.Delete(t.Context(), ConfigMapName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, has("a.example."))
	if err := maps.Delete(t.Context(), CorefileMapName, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	waitFor(t, func() bool { return !has("a.example.")() })
}

func TestReloadLosesNoQuestion(t *testing.T) {
	settings, err := NewSettings(SettingsConfig{Domain: "cluster.local"})
	if err != nil {
		t.Fatal(err)
	}
	addr := startServer(t, ServerConfig{Source: fixedSource{testZone(t)}, Settings: settings})
	var stop atomic.Bool
	var answered atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for !stop.Load() {
				in, _, err := (&dns.Client{Timeout: deadline}).Exchange(question("web.default.svc.cluster.local.", dns.TypeA), addr)
				if err != nil || len(in.Answer) != 1 {
					t.Errorf("lost: %v %v", in, err)
					return
				}
				answered.Add(1)
			}
		})
	}
	for i := range 200 {
		text := "hosts: [{ip: 192.0.2.2, names: [b.example]}]"
		if i%2 == 0 {
			text = "log: none"
		}
		settings.mu.Lock()
		settings.maps[ConfigMapName] = configMap(ConfigMapName, ConfigMapKey, text)
		settings.mu.Unlock()
		settings.reload(t.Context())
		before := answered.Load()
		waitFor(t, func() bool { return answered.Load() > before || t.Failed() })
	}
	stop.Store(true)
	wg.Wait()
}

// startStore runs a Store over a client until the test ends.
func startStore(t testing.TB, client kubernetes.Interface) *Store {
	t.Helper()
	factory := informers.NewSharedInformerFactory(client, 0)
	store, err := NewStore(StoreConfig{
		Zone:     zone.Config{Domain: "cluster.local"},
		Services: factory.Core().V1().Services(), EndpointSlices: factory.Discovery().V1().EndpointSlices(), Namespaces: factory.Core().V1().Namespaces(),
		Client: client,
	})
	if err != nil {
		t.Fatal(err)
	}
	runUntilEnd(t, func(ctx context.Context) error {
		factory.Start(ctx.Done())
		defer factory.Shutdown()
		return store.Run(ctx)
	})
	waitFor(t, store.Synced)
	return store
}

func TestPodsAreWatchedWhenNeeded(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Status: corev1.PodStatus{PodIPs: []corev1.PodIP{{IP: "10.244.1.7"}}}}
	client := fake.NewClientset(pod, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	store := startStore(t, client)
	rcode := func(name string) int {
		a, _ := store.Snapshot().Lookup(zone.Question{Name: name + ".default.pod.cluster.local.", Type: dns.TypeA})
		return a.Rcode
	}
	if rcode("10-244-9-9") != dns.RcodeSuccess {
		t.Error("Pods are insecure unless configured otherwise")
	}
	store.Configure(7, zone.PodsVerified, false)
	waitFor(t, func() bool { return rcode("10-244-9-9") == dns.RcodeNameError })
	if rcode("10-244-1-7") != dns.RcodeSuccess {
		t.Error("a Pod that is there has no name")
	}
	store.Configure(7, zone.PodsInsecure, false)
	waitFor(t, func() bool { return rcode("10-244-9-9") == dns.RcodeSuccess })
	if got := store.Snapshot().Namespaces(netip.MustParseAddr("10.244.1.7")); len(got) != 0 {
		t.Errorf("Pods are still kept: %v", got)
	}
}
