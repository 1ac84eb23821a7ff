package packed

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"minato/internal/service"
	"minato/internal/service/route"
)

// one of some values.
func one[T any](values ...T) T { return values[rand.IntN(len(values))] }

// maybe is a pointer to one of some values, or to none.
func maybe[T any](values ...T) *T {
	if rand.IntN(len(values)+1) == 0 {
		return nil
	}
	v := one(values...)
	return &v
}

func some[T any](values ...T) []T {
	var out []T
	for _, v := range values {
		if rand.IntN(2) == 0 {
			out = append(out, v)
		}
	}
	return out
}

func randomService() *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s", Labels: map[string]string{"app": "s"}, ResourceVersion: "7", UID: "u"},
		Spec: corev1.ServiceSpec{
			Type:      one(corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeExternalName),
			ClusterIP: one("10.96.0.9", "10.96.0.9", "10.96.0.9", corev1.ClusterIPNone), ExternalIPs: some("172.31.9.9", "fd00::9"),
			Selector: map[string]string{"app": "s"}, SessionAffinity: one(corev1.ServiceAffinityNone, corev1.ServiceAffinityClientIP),
			InternalTrafficPolicy:    maybe(corev1.ServiceInternalTrafficPolicyLocal, corev1.ServiceInternalTrafficPolicyCluster),
			ExternalTrafficPolicy:    one("", corev1.ServiceExternalTrafficPolicyLocal, corev1.ServiceExternalTrafficPolicyCluster),
			LoadBalancerSourceRanges: some("10.0.0.0/8", "fd00::/8"), HealthCheckNodePort: one(int32(0), 32000),
		},
	}
	if rand.IntN(2) == 0 {
		s.Spec.ClusterIPs = append([]string{s.Spec.ClusterIP}, some("fd00:96::9")...)
	}
	if rand.IntN(2) == 0 {
		s.Spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: maybe(int32(60))}}
	}
	s.Spec.Ports = some(
		corev1.ServicePort{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080), NodePort: one(int32(0), 30080)},
		corev1.ServicePort{Name: "dns", Port: 53, Protocol: corev1.ProtocolUDP, TargetPort: intstr.FromString("dns"), AppProtocol: maybe("x")})
	s.Status.LoadBalancer.Ingress = some(corev1.LoadBalancerIngress{IP: "172.31.9.8"},
		corev1.LoadBalancerIngress{IP: "172.31.9.7", IPMode: maybe(corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)})
	if rand.IntN(8) == 0 {
		s.Labels[route.LabelProxyName] = one("", "another")
	}
	if rand.IntN(4) == 0 {
		s.Annotations = map[string]string{route.AnnotationLoadBalancing: one(route.LoadBalancingMaglev, "unheard of")}
	}
	return s
}

func randomSlice(name string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: name, ResourceVersion: "8",
			Labels:      map[string]string{discoveryv1.LabelServiceName: "s", discoveryv1.LabelManagedBy: "x"},
			Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-02T03:04:05.678901234Z", "other": "x"}},
		AddressType: one(discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6),
		Ports: []discoveryv1.EndpointPort{{Name: maybe("http"), Port: maybe(int32(8080)), Protocol: maybe(corev1.ProtocolTCP)},
			{Name: maybe("dns"), Port: maybe(int32(53)), Protocol: maybe(corev1.ProtocolUDP)}},
	}
	for i := range rand.IntN(5) {
		address := fmt.Sprintf("10.244.1.%d", i+1)
		if s.AddressType == discoveryv1.AddressTypeIPv6 {
			address = fmt.Sprintf("fd00:244::%d", i+1)
		}
		e := discoveryv1.Endpoint{
			Addresses: []string{address}, NodeName: maybe("one", "two"), Zone: maybe("a", "b"),
			Conditions: discoveryv1.EndpointConditions{Ready: maybe(true, false), Serving: maybe(true, false), Terminating: maybe(true, false)},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Name: "p"},
		}
		if rand.IntN(2) == 0 {
			e.Hints = &discoveryv1.EndpointHints{
				ForZones: some(discoveryv1.ForZone{Name: "a"}, discoveryv1.ForZone{Name: "b"}), ForNodes: some(discoveryv1.ForNode{Name: "one"}),
			}
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

// What is decided by objects that were packed is what is decided by whole ones.
func TestPackingLosesNoDecision(t *testing.T) {
	forwards := 0
	for range 5000 {
		at := route.Node{Name: "one", Zone: one("a", "c")}
		whole, wholeSlices := randomService(), []*discoveryv1.EndpointSlice{randomSlice("s-1"), randomSlice("s-2")}
		packed, err := packService(whole.DeepCopy())
		if err != nil {
			t.Fatal(err)
		}
		back := unpackService(packed.service, packed.packed)
		var backSlices []*discoveryv1.EndpointSlice
		for _, s := range wholeSlices {
			packed, err := packSlice(s.DeepCopy())
			if err != nil {
				t.Fatal(err)
			}
			if packed.triggered != service.Triggered(s).UnixNano() || packed.service != service.ServiceOf(s) || packed.name() != s.Name {
				t.Fatalf("packed %+v of %+v", packed, s)
			}
			backSlices = append(backSlices, unpackSlice(packed.service, packed.record))
		}
		want := route.Compile(whole, wholeSlices, at)
		if got := route.Compile(back, backSlices, at); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nwant %+v\nof %+v", got, want, whole)
		}
		wantCheck, wantOK := route.Health(whole, wholeSlices, at)
		if got, ok := route.Health(back, backSlices, at); got != wantCheck || ok != wantOK {
			t.Fatalf("health check %+v, want %+v", got, wantCheck)
		}
		if got, want := route.Warning(back), route.Warning(whole); got != want {
			t.Fatalf("warning %q, want %q", got, want)
		}
		if len(want) > 0 {
			forwards++
		}
	}
	if forwards < 1000 {
		t.Errorf("only %d Services had any frontend", forwards)
	}
}

func TestRecordsAreTold(t *testing.T) {
	r := record{packed: "s-1" + nameEnd + "x"}
	for name, want := range map[string]bool{"s-1": true, "s": false, "s-": false, "s-11": false, "": false} {
		if r.isNamed(name) != want {
			t.Errorf("%q is %q: %v", r.name(), name, !want)
		}
	}
}
