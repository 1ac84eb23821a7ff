package usage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/metrics/pkg/apis/metrics"

	"minato/internal/controlplane/pki"
)

const user = "system:minato:usage"

// kubelet is a node's API, which counts a core-second a second for the node and a
// quarter of that for each container.
type kubelet struct {
	*httptest.Server
	clock jumpingClock
	asked atomic.Int32
	users chan string
}

func newKubelet(t *testing.T, authority *pki.Authority, clock jumpingClock) *kubelet {
	t.Helper()
	pair, err := authority.NodeServing("node-1", netip.MustParseAddr("127.0.0.1"))
	if err != nil {
		t.Fatal(err)
	}
	cert, err := tls.X509KeyPair(pair.Cert, pair.Key)
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(authority.CABundle())
	k := &kubelet{clock: clock, users: make(chan string, 100)}
	k.Server = httptest.NewUnstartedServer(http.HandlerFunc(k.serve))
	k.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientCAs: clients, ClientAuth: tls.RequireAndVerifyClientCert}
	k.StartTLS()
	t.Cleanup(k.Close)
	return k
}

func (k *kubelet) serve(w http.ResponseWriter, r *http.Request) {
	k.asked.Add(1)
	k.users <- r.TLS.PeerCertificates[0].Subject.CommonName
	if r.URL.Path != "/metrics/resource" {
		http.NotFound(w, r)
		return
	}
	now := k.clock.Now()
	seconds := now.Sub(epoch).Seconds()
	fmt.Fprintf(w, "node_cpu_usage_seconds_total %f %d\nnode_memory_working_set_bytes 1048576 %[2]d\n", seconds, now.UnixMilli())
	for _, c := range []string{"main", "side"} {
		labels := fmt.Sprintf(`{container="%s",namespace="default",pod="web"}`, c)
		fmt.Fprintf(w, "container_cpu_usage_seconds_total%s %f %d\ncontainer_memory_working_set_bytes%[1]s 2048 %[3]d\n", labels, seconds/4, now.UnixMilli())
	}
}

func (k *kubelet) node(name string) *corev1.Node {
	addr := k.Listener.Addr().(*net.TCPAddr)
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"zone": name}}}
	n.Status.Addresses = []corev1.NodeAddress{{Type: corev1.NodeHostName, Address: "nowhere.invalid"}, {Type: corev1.NodeInternalIP, Address: addr.IP.String()}}
	n.Status.DaemonEndpoints.KubeletEndpoint.Port = int32(addr.Port)
	return n
}

func pod(name, node string, phase corev1.PodPhase) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": name}},
		Spec:       corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase},
	}
}

func newServer(t *testing.T) (*Server, *kubelet) {
	t.Helper()
	authority, err := pki.Open(pki.Config{Dir: t.TempDir(), DNSNames: []string{"kubernetes"}})
	if err != nil {
		t.Fatal(err)
	}
	clock := newClock()
	clock.Step(10 * time.Second)
	k := newKubelet(t, authority, clock)
	lost := k.node("node-2")
	lost.Status.DaemonEndpoints.KubeletEndpoint.Port = 1 // nobody listens there
	s, err := New(Config{
		Client: fake.NewClientset(k.node("node-1"), lost, pod("web", "node-1", corev1.PodRunning), pod("silent", "node-1", corev1.PodRunning),
			pod("lost", "node-2", corev1.PodRunning), pod("done", "node-1", corev1.PodSucceeded), pod("waiting", "", corev1.PodPending)),
		Certificate: func() ([]byte, []byte, error) {
			p, err := authority.PartClient(user)
			return p.Cert, p.Key, err
		},
		Roots: authority.CABundle, Clock: clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, k
}

func TestNodes(t *testing.T) {
	s, k := newServer(t)
	storage := &nodeStorage{server: s}
	list, err := storage.List(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	items := list.(*metrics.NodeMetricsList).Items
	if len(items) != 1 || items[0].Name != "node-1" || items[0].Labels["zone"] != "node-1" {
		t.Fatalf("nodes %v", items)
	}
	if n := items[0]; n.Usage.Cpu().MilliValue() != 1000 || n.Usage.Memory().Value() != 1<<20 || n.Window.Duration != settle || n.Timestamp.Time != after(11) {
		t.Errorf("node-1: %+v", n)
	}
	if got := <-k.users; got != user {
		t.Errorf("the node was asked by %s", got)
	}
	if _, err := storage.Get(t.Context(), "node-2", nil); !apierrors.IsNotFound(err) {
		t.Errorf("a node that doesn't answer: %v", err)
	}
	if _, err := storage.Get(t.Context(), "node-3", nil); !apierrors.IsNotFound(err) {
		t.Errorf("a node that isn't there: %v", err)
	}
	zone := labels.SelectorFromSet(labels.Set{"zone": "node-2"})
	list, err = storage.List(t.Context(), &internalversion.ListOptions{LabelSelector: zone})
	if err != nil || len(list.(*metrics.NodeMetricsList).Items) != 0 {
		t.Errorf("selected %v, %v", list, err)
	}
}

func TestPods(t *testing.T) {
	s, k := newServer(t)
	storage := &podStorage{server: s}
	ctx := genericapirequest.WithNamespace(t.Context(), "default")
	list, err := storage.List(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	items := list.(*metrics.PodMetricsList).Items
	if len(items) != 1 || items[0].Name != "web" || items[0].Labels["app"] != "web" || len(items[0].Containers) != 2 {
		t.Fatalf("Pods %v", items)
	}
	for _, c := range items[0].Containers {
		if c.Usage.Cpu().MilliValue() != 250 || c.Usage.Memory().Value() != 2048 {
			t.Errorf("%s uses %v", c.Name, c.Usage)
		}
	}
	before := k.asked.Load()
	one, err := storage.Get(ctx, "web", nil)
	if err != nil || one.(*metrics.PodMetrics).Name != "web" {
		t.Errorf("got %v, %v", one, err)
	}
	if n := k.asked.Load(); n != before {
		t.Errorf("the node was asked %d times more for what was known", n-before)
	}
	for _, name := range []string{"silent", "lost", "done", "waiting", "nobody"} {
		if o, err := storage.Get(ctx, name, nil); !apierrors.IsNotFound(err) {
			t.Errorf("Pod %s: %v, %v", name, o, err)
		}
	}
	table, err := storage.ConvertToTable(ctx, list, nil)
	if err != nil || len(table.Rows) != 1 || fmt.Sprint(table.Rows[0].Cells) != "[web 500m 4Ki 1s]" {
		t.Errorf("table %v, %v", table, err)
	}
}

// TestNodeOfAnotherCluster checks that a server whose certificate is of another
// CA is not believed.
func TestNodeOfAnotherCluster(t *testing.T) {
	s, k := newServer(t)
	other, err := pki.Open(pki.Config{Dir: t.TempDir(), DNSNames: []string{"kubernetes"}})
	if err != nil {
		t.Fatal(err)
	}
	s.cfg.Roots = other.CABundle
	kubelets := newKubelets(s.cfg)
	if _, err := kubelets.sample(context.Background(), "node-1"); err == nil || k.asked.Load() != 0 {
		t.Errorf("sample: %v, and the node was asked %d times", err, k.asked.Load())
	}
}

func TestConfigErrors(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
}
