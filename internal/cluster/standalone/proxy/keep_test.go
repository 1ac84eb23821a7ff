package proxy

import (
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"minato/internal/service/route"
)

// What is decided by kept objects is what is decided by whole ones.
func TestKeepLosesNoDecision(t *testing.T) {
	node, other, zone, yes, no := "one", "two", "a", true, false
	local, affinity := corev1.ServiceInternalTrafficPolicyLocal, corev1.ServiceAffinityClientIP
	proxyMode := corev1.LoadBalancerIPModeProxy
	service := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s", Labels: map[string]string{"app": "s"}, ResourceVersion: "7"},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIP: "10.96.0.9", ClusterIPs: []string{"10.96.0.9"}, ExternalIPs: []string{"172.31.9.9"},
			Ports:                 []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP, TargetPort: intstr.FromInt32(8080), NodePort: 30080}},
			InternalTrafficPolicy: &local, ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicyLocal, SessionAffinity: affinity,
			LoadBalancerSourceRanges: []string{"10.0.0.0/8"}, HealthCheckNodePort: 32000, Selector: map[string]string{"app": "s"},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{{IP: "172.31.9.8"}, {IP: "172.31.9.7", IPMode: &proxyMode}}}},
	}
	name, port, tcp := "http", int32(8080), corev1.ProtocolTCP
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "s-1", ResourceVersion: "8",
			Labels:      map[string]string{discoveryv1.LabelServiceName: "s", discoveryv1.LabelManagedBy: "x"},
			Annotations: map[string]string{corev1.EndpointsLastChangeTriggerTime: "2026-01-02T03:04:05Z", "other": "x"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &tcp}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.244.1.2"}, NodeName: &node, Zone: &zone, Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "a"}}}},
			{Addresses: []string{"10.244.2.2"}, NodeName: &other, Zone: &zone, Conditions: discoveryv1.EndpointConditions{Ready: &no, Serving: &yes, Terminating: &yes}},
			{Addresses: []string{"10.244.2.3"}, NodeName: &other, Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes}, Hints: &discoveryv1.EndpointHints{ForZones: []discoveryv1.ForZone{{Name: "b"}}}},
		},
	}
	elsewhere := service.DeepCopy()
	elsewhere.Labels[labelProxyName] = "another"
	k, at := newKeeper(), route.Node{Name: node, Zone: zone}
	for what, s := range map[string]*corev1.Service{"own": service, "another proxy's": elsewhere} {
		want, wantHealth := route.Compile(s, []*discoveryv1.EndpointSlice{slice}, at), checkOf(s, slice, at)
		if (len(want) == 0) != (s == elsewhere) {
			t.Fatalf("%s: %d frontends", what, len(want))
		}
		// A second time, what is shared is there already.
		for range 2 {
			ks, ke := kept[*corev1.Service](t, k, s.DeepCopy()), kept[*discoveryv1.EndpointSlice](t, k, slice.DeepCopy())
			if got := route.Compile(ks, []*discoveryv1.EndpointSlice{ke}, at); !reflect.DeepEqual(got, want) {
				t.Errorf("%s: %+v, want %+v", what, got, want)
			}
			if got := checkOf(ks, ke, at); got != wantHealth {
				t.Errorf("%s: health check %+v, want %+v", what, got, wantHealth)
			}
			if ks.ResourceVersion != "7" || ke.ResourceVersion != "8" || ke.Annotations[corev1.EndpointsLastChangeTriggerTime] == "" || len(ke.Annotations) != 1 || ks.Spec.Selector != nil {
				t.Errorf("%s: kept %+v, %+v", what, ks.ObjectMeta, ke.ObjectMeta)
			}
		}
	}
}

func kept[T any](t *testing.T, k *keeper, obj T) T {
	t.Helper()
	out, err := k.keep(obj)
	if err != nil {
		t.Fatal(err)
	}
	return out.(T)
}

func checkOf(s *corev1.Service, slice *discoveryv1.EndpointSlice, at route.Node) (check route.HealthCheck) {
	check, _ = route.Health(s, []*discoveryv1.EndpointSlice{slice}, at)
	return check
}
