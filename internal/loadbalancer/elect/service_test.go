package elect

import (
	"fmt"
	"net/netip"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func object(options ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", Labels: map[string]string{"app": "web"}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, ClusterIPs: []string{"10.96.0.1", "fd00::1"},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
		},
		Status: corev1.ServiceStatus{LoadBalancer: corev1.LoadBalancerStatus{Ingress: []corev1.LoadBalancerIngress{
			{IP: "192.0.2.1"}, {Hostname: "example.org"}, {IP: "2001:db8::1"},
		}}},
	}
	for _, o := range options {
		o(s)
	}
	return s
}

// endpoints makes a slice for port http of n1, n2 and so on, one for each state.
func endpoints(states ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](8080)}},
	}
	for i, state := range states {
		e := discoveryv1.Endpoint{Addresses: []string{fmt.Sprintf("10.244.0.%d", i+1)}, NodeName: ptr.To(fmt.Sprintf("n%d", i+1))}
		switch state {
		case "ready":
			e.Conditions.Ready = ptr.To(true)
		case "unready":
			e.Conditions.Ready, e.Conditions.Serving = ptr.To(false), ptr.To(false)
		case "terminating":
			e.Conditions.Ready, e.Conditions.Serving, e.Conditions.Terminating = ptr.To(false), ptr.To(true), ptr.To(true)
		case "gone":
			e.Conditions.Ready, e.Conditions.Serving, e.Conditions.Terminating = ptr.To(false), ptr.To(false), ptr.To(true)
		case "published": // with publishNotReadyAddresses: ready, whatever else
			e.Conditions.Ready, e.Conditions.Serving, e.Conditions.Terminating = ptr.To(true), ptr.To(false), ptr.To(true)
		case "nowhere":
			e.NodeName = nil
		}
		s.Endpoints = append(s.Endpoints, e)
	}
	return s
}

func TestFromService(t *testing.T) {
	got := FromService(object(func(s *corev1.Service) {
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Annotations = map[string]string{AnnotationSharedOld: "key"}
	}), nil, "lan")
	want := service()
	want.Local, want.Affinity, want.Shared = true, true, true
	want.Addresses = []netip.Addr{address, netip.MustParseAddr("2001:db8::1")}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	overruled := object(func(s *corev1.Service) {
		s.Annotations = map[string]string{AnnotationSharedOld: "key", AnnotationShared: ""}
	})
	if FromService(overruled, nil, "").Shared {
		t.Error("the old annotation counts although the new one is there")
	}
	if got := FromService(object(), nil, ""); got.Local || got.Affinity || got.Shared {
		t.Errorf("got %+v", got)
	}
	FromService(&corev1.Service{}, []*discoveryv1.EndpointSlice{nil, {}}, "") // nothing set at all
}

func TestFromServiceEndpoints(t *testing.T) {
	headless, elsewhere, otherPort, sixth := endpoints("ready"), endpoints("ready"), endpoints("ready"), endpoints("ready")
	headless.Labels = map[string]string{corev1.IsHeadlessService: ""}
	elsewhere.Labels = map[string]string{"service.kubernetes.io/service-proxy-name": "x"}
	otherPort.Ports[0].Name = ptr.To("metrics")
	sixth.AddressType, sixth.Endpoints[0].Addresses[0] = discoveryv1.AddressTypeIPv6, "fd00:1::1"
	both := endpoints("terminating", "ready")
	both.Endpoints[1].NodeName = ptr.To("n1")
	for _, c := range []struct {
		name   string
		slices []*discoveryv1.EndpointSlice
		want   Service
	}{
		{"states", []*discoveryv1.EndpointSlice{endpoints("ready", "unready", "terminating", "gone", "published", "")}, service("n1", "-n3", "n5", "n6")},
		{"without a node", []*discoveryv1.EndpointSlice{endpoints("nowhere")}, service("")},
		{"of a headless Service", []*discoveryv1.EndpointSlice{headless}, service()},
		{"of another proxy", []*discoveryv1.EndpointSlice{elsewhere}, service()},
		{"of another port", []*discoveryv1.EndpointSlice{otherPort}, service()},
		{"of the other family", []*discoveryv1.EndpointSlice{sixth}, service("n1")},
		{"a node with both", []*discoveryv1.EndpointSlice{both}, service("n1")},
	} {
		got := FromService(object(), c.slices, "lan")
		if !reflect.DeepEqual(got.Serving, c.want.Serving) || !reflect.DeepEqual(got.Draining, c.want.Draining) {
			t.Errorf("%s: serving %v, draining %v; want %v, %v", c.name, got.Serving, got.Draining, c.want.Serving, c.want.Draining)
		}
	}
}

func TestFromNode(t *testing.T) {
	got := FromNode(&corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: "n1", Labels: map[string]string{"a": "b"}},
		Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady}, {Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue}},
			Addresses: []corev1.NodeAddress{
				{Type: corev1.NodeHostName, Address: "n1"}, {Type: corev1.NodeInternalIP, Address: "172.30.0.11"}, {Type: corev1.NodeInternalIP, Address: "wrong"},
			},
		},
	})
	want := Node{Name: "n1", Labels: map[string]string{"a": "b"}, NetworkUnavailable: true, Addresses: []netip.Addr{netip.MustParseAddr("172.30.0.11")}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := FromNode(&corev1.Node{Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionUnknown}}}}); got.NetworkUnavailable {
		t.Error("an unknown condition counts as True")
	}
}
