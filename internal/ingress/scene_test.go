package ingress

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes/fake"

	"minato/internal/host"
	"minato/internal/host/helper"
	"minato/internal/ingress/table"
)

const (
	roleVariable  = "MINATO_INGRESS_TEST_ROLE"
	buildVariable = "MINATO_INGRESS_TEST_BUILD"
	roleHelper    = "helper"
)

// TestMain has this program be what a Process of the tests starts.
func TestMain(m *testing.M) {
	if os.Getenv(roleVariable) == roleHelper {
		os.Exit(runTestHelper())
	}
	os.Exit(m.Run())
}

func runTestHelper() int {
	l, err := helper.Listener()
	var h *Helper
	if err == nil {
		h, err = NewHelper(HelperConfig{Listener: l, Logger: slog.New(slog.NewTextHandler(os.Stderr, nil)), Build: os.Getenv(buildVariable)})
	}
	if err == nil {
		err = h.Run(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// until polls until ok returns nil.
func until(t *testing.T, what string, ok func() error) {
	t.Helper()
	var err error
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(2 * time.Millisecond) {
		if err = ok(); err == nil {
			return
		}
	}
	t.Fatalf("%s: %v", what, err)
}

func testLogger(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(testWriter{t}, nil))
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(p []byte) (int, error) {
	if w.t.Context().Err() == nil {
		w.t.Log(strings.TrimSpace(string(p)))
	}
	return len(p), nil
}

// world is an API server that is not one, with informers.
type world struct {
	t      *testing.T
	client *fake.Clientset
	// options are those of objects.
	options Options
}

// newWorld has an API that leaves managedFields as they are, which NewClientset does not.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, client: fake.NewSimpleClientset(), options: DefaultOptions()}
	w.class(ClassMinato, table.ControllerMinato, true)
	w.class(ClassNginx, table.ControllerNginx, false)
	return w
}

func (w *world) class(name, controller string, standard bool) {
	c := &networkingv1.IngressClass{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: "1"}, Spec: networkingv1.IngressClassSpec{Controller: controller}}
	if standard {
		c.Annotations = map[string]string{networkingv1.AnnotationIsDefaultIngressClass: "true"}
	}
	w.must(w.client.NetworkingV1().IngressClasses().Create(w.t.Context(), c, metav1.CreateOptions{}))
}

func (w *world) must(_ any, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

var versions atomic.Int64

func metaOf(name string) metav1.ObjectMeta {
	n := versions.Add(1)
	return metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(fmt.Sprintf("uid-%d", n)), ResourceVersion: strconv.FormatInt(n+100, 10), CreationTimestamp: metav1.Unix(1_700_000_000+n, 0)}
}

// service makes a Service with one port, 80, and the endpoints.
func (w *world) service(name string, at ...netip.AddrPort) {
	w.t.Helper()
	s := &corev1.Service{ObjectMeta: metaOf(name), Spec: corev1.ServiceSpec{ClusterIP: "10.96.0.9", ClusterIPs: []string{"10.96.0.9"}, Ports: []corev1.ServicePort{{Port: 80}}}}
	w.must(w.client.CoreV1().Services("default").Create(w.t.Context(), s, metav1.CreateOptions{}))
	w.must(w.client.DiscoveryV1().EndpointSlices("default").Create(w.t.Context(), slice(name, at...), metav1.CreateOptions{}))
}

func slice(service string, at ...netip.AddrPort) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{ObjectMeta: metaOf(service + "-1"), AddressType: discoveryv1.AddressTypeIPv4}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	for _, a := range at {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{Addresses: []string{a.Addr().String()}})
		s.Ports = []discoveryv1.EndpointPort{{Name: new(""), Port: new(int32(a.Port())), Protocol: new(corev1.ProtocolTCP)}}
	}
	return s
}

func ingressOf(name, host, service string) *networkingv1.Ingress {
	class := ClassMinato
	return &networkingv1.Ingress{ObjectMeta: metaOf(name), Spec: networkingv1.IngressSpec{
		IngressClassName: &class,
		Rules: []networkingv1.IngressRule{{Host: host, IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{
			Paths: []networkingv1.HTTPIngressPath{{Path: "/", PathType: new(networkingv1.PathTypePrefix), Backend: networkingv1.IngressBackend{
				Service: &networkingv1.IngressServiceBackend{Name: service, Port: networkingv1.ServiceBackendPort{Number: 80}},
			}}},
		}}}},
	}}
}

func (w *world) ingress(i *networkingv1.Ingress) {
	w.t.Helper()
	w.must(w.client.NetworkingV1().Ingresses("default").Create(w.t.Context(), i, metav1.CreateOptions{}))
}

func (w *world) change(i *networkingv1.Ingress) {
	w.t.Helper()
	i.ResourceVersion = strconv.FormatInt(versions.Add(1)+100, 10)
	i.Generation++
	w.must(w.client.NetworkingV1().Ingresses("default").Update(w.t.Context(), i, metav1.UpdateOptions{}))
}

// objects runs Objects until stop is called or the test ends.
func (w *world) objects() (o *Objects, stop func()) {
	w.t.Helper()
	f := informers.NewSharedInformerFactory(w.client, 0)
	o, err := NewObjects(ObjectsConfig{
		Client: w.client, Ingresses: f.Networking().V1().Ingresses(), Classes: f.Networking().V1().IngressClasses(),
		Services: f.Core().V1().Services(), Slices: f.Discovery().V1().EndpointSlices(), Options: w.options, Logger: testLogger(w.t),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.Start(ctx.Done())
	return o, running(w.t, func(ctx context.Context) error {
		defer f.Shutdown()
		defer cancel()
		return o.Run(ctx)
	})
}

// running runs something until stop is called or the test ends.
func running(t *testing.T, run func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	done := false
	stop = func() {
		cancel()
		if done {
			return
		}
		done = true
		if err := <-ended; err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// backend is an HTTP server that says its name. At /slow it says it in two halves, the second when the test says so.
func backend(t *testing.T, name string) (at netip.AddrPort, finish func()) {
	t.Helper()
	go_ := make(chan struct{})
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/slow" {
			fmt.Fprint(w, "half ")
			w.(http.Flusher).Flush()
			select {
			case <-go_:
			case <-r.Context().Done():
				return
			}
		}
		fmt.Fprint(w, name)
	}))
	t.Cleanup(s.Close)
	return netip.MustParseAddrPort(s.Listener.Addr().String()), func() { close(go_) }
}

// address is one of the loopback's that no other test uses.
func address() netip.Addr {
	n := int(versions.Add(1)) + os.Getpid()*7
	return netip.AddrFrom4([4]byte{127, 60 + byte(n>>16)&63, byte(n >> 8), byte(n)})
}

// get asks for a path over a connection of its own.
func get(at netip.Addr, host, path string) (status int, body string, err error) {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	req, err := http.NewRequest(http.MethodGet, fmt.Sprintf("http://%s%s", netip.AddrPortFrom(at, HTTPPort), path), nil)
	if err != nil {
		return 0, "", err
	}
	req.Host = host
	resp, err := client.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

// answers waits until a host is answered with a status and a text.
func answers(t *testing.T, at netip.Addr, host string, status int, text string) {
	t.Helper()
	until(t, host+" is answered", func() error {
		s, body, err := get(at, host, "/")
		if err == nil && (s != status || text != "" && body != text) {
			err = fmt.Errorf("%d %q", s, body)
		}
		return err
	})
}

// here opens sockets in the test's network namespace.
type here struct{ host.Netns }

var _ Listen = here{}
