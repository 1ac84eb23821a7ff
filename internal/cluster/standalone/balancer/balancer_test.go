package balancer

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"minato/internal/loadbalancer/config/metallb"
	"minato/internal/loadbalancer/elect"
	"minato/internal/loadbalancer/pool"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

func newBalancer(objects ...runtime.Object) (*balancer, *dynamicfake.FakeDynamicClient) {
	client := dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(),
		map[schema.GroupVersionResource]string{definitions: "CustomResourceDefinitionList"}, objects...)
	return &balancer{client: fake.NewClientset(), objects: client, log: slog.New(slog.DiscardHandler)}, client
}

// Definitions that somebody else has made stay; the others come, whole.
func TestDefinitions(t *testing.T) {
	theirs := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "ipaddresspools.metallb.io", "annotations": map[string]any{"by": "them"}},
	}}
	b, client := newBalancer(theirs)
	for range 2 {
		if err := b.ensureDefinitions(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	list, err := client.Resource(definitions).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want, err := metallb.CustomResourceDefinitions()
	if err != nil || len(list.Items) != len(want) {
		t.Fatalf("%d definitions, want %d, %v", len(list.Items), len(want), err)
	}
	for _, o := range list.Items {
		_, whole, _ := unstructured.NestedSlice(o.Object, "spec", "versions")
		if isTheirs := o.GetAnnotations()["by"] == "them"; isTheirs == whole {
			t.Errorf("%s: somebody else's is %v, and it has versions is %v", o.GetName(), isTheirs, whole)
		}
	}
}

// Who may not make definitions works with those that there are; another error is told.
func TestDefinitionsRefused(t *testing.T) {
	for _, refused := range []bool{true, false} {
		b, client := newBalancer()
		answer := apierrors.NewInternalError(fmt.Errorf("no quorum"))
		if refused {
			answer = apierrors.NewForbidden(definitions.GroupResource(), "", fmt.Errorf("no"))
		}
		client.PrependReactor("create", "*", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, answer })
		if err := b.ensureDefinitions(t.Context()); (err == nil) != refused {
			t.Errorf("forbidden %v: %v", refused, err)
		}
	}
}

func TestNamespace(t *testing.T) {
	b, _ := newBalancer()
	for range 2 {
		if err := b.ensureNamespace(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := b.client.CoreV1().Namespaces().Get(context.Background(), "metallb-system", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}

// What decisions are made from is the same with what is kept of the objects.
func TestKeep(t *testing.T) {
	yes, node, class := true, "n1", "example.com/class"
	service := func(kind corev1.ServiceType) *corev1.Service {
		return &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "default", Name: "web", UID: "1", ResourceVersion: "7", Finalizers: []string{"service.kubernetes.io/load-balancer-cleanup"},
				Labels: map[string]string{"tier": "front"}, ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl"}},
				Annotations: map[string]string{"metallb.io/address-pool": "lan", corev1.LastAppliedConfigAnnotation: "{}"},
			},
			Spec: corev1.ServiceSpec{
				Type: kind, LoadBalancerClass: &class, Selector: map[string]string{"app": "web"}, ClusterIP: "10.96.0.9", ClusterIPs: []string{"10.96.0.9"},
				IPFamilies: []corev1.IPFamily{corev1.IPv4Protocol}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
			},
			Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}}},
		}
	}
	http, tcp, port := "http", corev1.ProtocolTCP, int32(8080)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "default", Name: "web-1", Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		AddressType: discoveryv1.AddressTypeIPv4, Ports: []discoveryv1.EndpointPort{{Name: &http, Protocol: &tcp, Port: &port}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"10.244.1.2"}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &yes}, TargetRef: &corev1.ObjectReference{Name: "web-abc"}}},
	}
	cfg := &Config{}
	kept := keep[*corev1.Service](t, cfg, service(corev1.ServiceTypeLoadBalancer))
	keptSlice := keep[*discoveryv1.EndpointSlice](t, cfg, slice)
	if kept.ManagedFields != nil || kept.Annotations[corev1.LastAppliedConfigAnnotation] != "" || keptSlice.Endpoints[0].TargetRef != nil {
		t.Errorf("nothing is dropped: %+v, %+v", kept, keptSlice)
	}
	whole := service(corev1.ServiceTypeLoadBalancer)
	if got, want := fmt.Sprintf("%+v", pool.FromService(kept, nil)), fmt.Sprintf("%+v", pool.FromService(whole, nil)); got != want {
		t.Errorf("addresses are decided from\n%s, want\n%s", got, want)
	}
	got := elect.FromService(kept, []*discoveryv1.EndpointSlice{keptSlice}, "lan")
	if want := elect.FromService(whole, []*discoveryv1.EndpointSlice{slice}, "lan"); fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", want) || !got.Serving["n1"] {
		t.Errorf("announcements are decided from\n%+v, want\n%+v", got, want)
	}
	other := keep[*corev1.Service](t, cfg, service(corev1.ServiceTypeClusterIP))
	if other.Spec.Type != corev1.ServiceTypeClusterIP || other.Spec.Ports != nil || len(other.Finalizers) != 1 || other.Annotations["metallb.io/address-pool"] == "" || other.ResourceVersion != "7" {
		t.Errorf("of a Service of another type %+v is kept", other)
	}
}

func TestKeepNode(t *testing.T) {
	node := func() *corev1.Node {
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"rack": "a", corev1.LabelNodeExcludeBalancers: ""}},
			Status: corev1.NodeStatus{
				Addresses:  []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.1"}},
				Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}, {Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}},
				Images:     []corev1.ContainerImage{{Names: []string{"large"}}},
			},
		}
	}
	kept := keep[*corev1.Node](t, &Config{}, node())
	if got, want := fmt.Sprintf("%+v", elect.FromNode(kept)), fmt.Sprintf("%+v", elect.FromNode(node())); got != want || kept.Status.Images != nil {
		t.Errorf("%s, want %s", got, want)
	}
	original := node()
	ignoring := elect.FromNode(keep[*corev1.Node](t, &Config{IgnoreExclude: true}, original))
	if _, has := ignoring.Labels[corev1.LabelNodeExcludeBalancers]; has || ignoring.Labels["rack"] != "a" || len(original.Labels) != 2 {
		t.Errorf("with --ignore-exclude-lb the node has the labels %v", ignoring.Labels)
	}
}

func keep[T any](t *testing.T, cfg *Config, o any) T {
	t.Helper()
	out, err := cfg.keep(o)
	if err != nil {
		t.Fatal(err)
	}
	return out.(T)
}

func TestServes(t *testing.T) {
	if (&Config{}).serves() != nil {
		t.Error("without --lb-class something else than the default is served")
	}
	serves := (&Config{Class: "a/b"}).serves()
	one, other := "a/b", "a/c"
	if got := []bool{serves(nil), serves(&one), serves(&other)}; !slices.Equal(got, []bool{false, true, false}) {
		t.Errorf("with --lb-class a/b: no class, that one, another: %v", got)
	}
}

func TestMeant(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	for _, c := range []struct {
		cfg  Config
		want bool
	}{{Config{}, false}, {Config{Node: "n"}, false}, {Config{Cleanup: true}, true}} {
		if got := c.cfg.Meant(); got != c.want {
			t.Errorf("%+v: %v", c.cfg, got)
		}
	}
	var cfg Config
	cfg.Kubeconfig = "/etc/kubeconfig"
	if !cfg.Meant() {
		t.Error("a kubeconfig is not enough")
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "10.96.0.1")
	if !(&Config{}).Meant() {
		t.Error("a Pod is not enough")
	}
}
