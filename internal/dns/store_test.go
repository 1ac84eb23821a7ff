package dns

import (
	"context"
	"net/netip"
	slicesort "slices"
	"testing"
	"time"

	"github.com/miekg/dns"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"

	"minato/internal/dns/zone"
)

func TestStoreFollowsTheAPI(t *testing.T) {
	web := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: "10.96.1.1"}}
	client, watches := watchedClient(web)
	factory := informers.NewSharedInformerFactory(client, 0)
	store, err := NewStore(StoreConfig{
		Zone:           zone.Config{Domain: "cluster.local", NameServers: []netip.Addr{netip.MustParseAddr("10.96.0.10")}},
		Services:       factory.Core().V1().Services(),
		EndpointSlices: factory.Discovery().V1().EndpointSlices(),
		Namespaces:     factory.Core().V1().Namespaces(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if store.Snapshot() != nil || store.Synced() {
		t.Fatal("a store that has read nothing has a snapshot")
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	factory.Start(ctx.Done()) // before Run: the Store asked for its informers when it was made
	go func() { done <- store.Run(ctx) }()
	waitFor(t, func() bool {
		return store.Synced() && watches.Load() == 3
	})
	<-store.Ready()
	rcode := func(name string) int {
		a, _ := store.Snapshot().Lookup(zone.Question{Name: name, Type: dns.TypeA})
		return a.Rcode
	}
	if rcode("web.default.svc.cluster.local.") != dns.RcodeSuccess {
		t.Error("the first snapshot is not complete")
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err = client.DiscoveryV1().EndpointSlices("default").Create(ctx, manyEndpoints("pods", 3), metav1.CreateOptions{})
	must(err)
	_, err = client.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "pods"}, Spec: corev1.ServiceSpec{ClusterIP: "None"},
	}, metav1.CreateOptions{})
	must(err)
	waitFor(t, func() bool { return rcode("10-244-0-2.pods.default.svc.cluster.local.") == dns.RcodeSuccess })
	must(client.DiscoveryV1().EndpointSlices("default").Delete(ctx, "pods-1", metav1.DeleteOptions{}))
	waitFor(t, func() bool { return rcode("pods.default.svc.cluster.local.") == dns.RcodeNameError })
	must(client.CoreV1().Services("default").Delete(ctx, "web", metav1.DeleteOptions{}))
	waitFor(t, func() bool { return rcode("web.default.svc.cluster.local.") == dns.RcodeNameError })
	_, err = client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "blank"}}, metav1.CreateOptions{})
	must(err)
	waitFor(t, func() bool { return rcode("blank.svc.cluster.local.") == dns.RcodeSuccess })
	must(client.CoreV1().Namespaces().Delete(ctx, "blank", metav1.DeleteOptions{}))
	waitFor(t, func() bool { return rcode("blank.svc.cluster.local.") == dns.RcodeNameError })
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(deadline):
		t.Error("Run did not return")
	}
}

// TestChangesShowAtOnce: the way from the API's event to the answer, at most 50 ms
// on all but a machine that is busy with something else.
func TestChangesShowAtOnce(t *testing.T) {
	client, watches := watchedClient(&corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}, Spec: corev1.ServiceSpec{ClusterIP: "None"}})
	store := startStore(t, client)
	waitFor(t, func() bool { return watches.Load() == 3 })
	slices := client.DiscoveryV1().EndpointSlices("default")
	if _, err := slices.Create(t.Context(), manyEndpoints("web", 1), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	var took []time.Duration
	for n := 2; n < 22; n++ {
		began := time.Now()
		if _, err := slices.Update(t.Context(), manyEndpoints("web", n), metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool {
			a, _ := store.Snapshot().Lookup(zone.Question{Name: "web.default.svc.cluster.local.", Type: dns.TypeA})
			return len(a.Answer) == n
		})
		took = append(took, time.Since(began))
	}
	slicesort.Sort(took)
	if median := took[len(took)/2]; median > 50*time.Millisecond {
		t.Errorf("changes showed after %s", took)
	}
}
