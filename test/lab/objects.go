package lab

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"
)

// Objects makes Services and their EndpointSlices by hand.
type Objects struct {
	TB     *testing.T
	Client kubernetes.Interface
}

// Service makes a Service of both families with the ports tcp and udp, both 80, after edit had its say.
func (o Objects) Service(name string, edit func(*corev1.Service)) *corev1.Service {
	o.TB.Helper()
	policy := corev1.IPFamilyPolicyRequireDualStack
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{IPFamilyPolicy: &policy, Ports: []corev1.ServicePort{
		{Name: "tcp", Protocol: corev1.ProtocolTCP, Port: 80, TargetPort: intstr.FromInt32(8080)},
		{Name: "udp", Protocol: corev1.ProtocolUDP, Port: 80, TargetPort: intstr.FromInt32(8080)},
	}}}
	if edit != nil {
		edit(s)
	}
	s, err := o.Client.CoreV1().Services("default").Create(o.TB.Context(), s, metav1.CreateOptions{})
	if err != nil {
		o.TB.Fatal(err)
	}
	return s
}

// Endpoint is one that is ready, by its IPv4 address.
func Endpoint(node, ip string) discoveryv1.Endpoint {
	ready := true
	return discoveryv1.Endpoint{Addresses: []string{ip}, NodeName: &node, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}
}

// Endpoints sets what is behind a Service, in each family.
func (o Objects) Endpoints(service string, all ...discoveryv1.Endpoint) {
	o.TB.Helper()
	tcp, udp, port := corev1.ProtocolTCP, corev1.ProtocolUDP, int32(8080)
	names := [2]string{"tcp", "udp"}
	slices := o.Client.DiscoveryV1().EndpointSlices("default")
	ctx := context.WithoutCancel(o.TB.Context())
	for _, f := range Families {
		slice := &discoveryv1.EndpointSlice{
			ObjectMeta:  metav1.ObjectMeta{Name: service + strings.ToLower("-"+string(f)), Labels: map[string]string{discoveryv1.LabelServiceName: service}},
			AddressType: discoveryv1.AddressType(f),
			Ports:       []discoveryv1.EndpointPort{{Name: &names[0], Protocol: &tcp, Port: &port}, {Name: &names[1], Protocol: &udp, Port: &port}},
		}
		for _, e := range all {
			e.Addresses = []string{f.Of(e.Addresses[0])}
			slice.Endpoints = append(slice.Endpoints, e)
		}
		if err := slices.Delete(ctx, slice.Name, metav1.DeleteOptions{}); err == nil {
			o.TB.Logf("the %s endpoints of %s are exchanged", f, service)
		}
		if _, err := slices.Create(ctx, slice, metav1.CreateOptions{}); err != nil {
			o.TB.Fatal(err)
		}
	}
}
