package ingress

import (
	"log/slog"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"
)

func node(name string, addresses ...string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for i, a := range addresses {
		n.Status.Addresses = append(n.Status.Addresses, corev1.NodeAddress{Type: []corev1.NodeAddressType{corev1.NodeInternalIP, corev1.NodeExternalIP}[i], Address: a})
	}
	return n
}

func pod(name, node string, phase corev1.PodPhase, labels map[string]string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: labels}, Spec: corev1.PodSpec{NodeName: node}, Status: corev1.PodStatus{Phase: phase}}
}

// Without a Service, Ingresses have the addresses of the nodes of running Pods that are like this one.
func TestPlaces(t *testing.T) {
	like := func(hash string) map[string]string {
		return map[string]string{"app": "ingress", "controller-revision-hash": hash}
	}
	objects := []runtime.Object{
		node("n1", "10.0.0.1", "192.0.2.1"), node("n2", "10.0.0.2"), node("n3", "10.0.0.3"), node("n4", "10.0.0.4"),
		pod("own", "n1", corev1.PodRunning, like("a")), pod("newer", "n2", corev1.PodRunning, like("b")),
		pod("done", "n3", corev1.PodSucceeded, like("a")), pod("other", "n4", corev1.PodRunning, map[string]string{"app": "web"}),
	}
	for name, test := range map[string]struct {
		pod      string
		internal bool
		want     []string
		others   int
	}{
		"in a Pod":           {"own", false, []string{"10.0.0.2", "192.0.2.1"}, 1},
		"internal addresses": {"own", true, []string{"10.0.0.1", "10.0.0.2"}, 1},
		"outside of a Pod":   {"", false, []string{"192.0.2.1"}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			a := &alone{client: fake.NewClientset(objects...), log: slog.New(slog.DiscardHandler), told: t.Context(), cfg: Config{InternalIP: test.internal}}
			a.electing = a.client
			a.plan.node = "n1"
			if test.pod != "" {
				a.plan.pod = types.NamespacedName{Namespace: "ns", Name: test.pod}
			}
			p, err := a.newPlaces(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range a.factories {
				f.Start(t.Context().Done())
				f.WaitForCacheSync(t.Context().Done())
			}
			var want []networkingv1.IngressLoadBalancerIngress
			for _, ip := range test.want {
				want = append(want, networkingv1.IngressLoadBalancerIngress{IP: ip})
			}
			if d := cmp.Diff(want, p.find()); d != "" {
				t.Error(d)
			}
			if test.pod == "" {
				return
			}
			if n, err := a.otherPods(t.Context()); err != nil || n != test.others {
				t.Errorf("%d other Pods, %v; want %d", n, err, test.others)
			}
		})
	}
}
