package lab

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Service is one that is measured.
type Service struct {
	Namespace, Name string
	IP              netip.Addr
	NodePort        int32
	// Balancer is the address of its load balancer.
	Balancer  netip.Addr
	Endpoints []netip.AddrPort
}

// Port is where every Service answers, ServerPort where the servers do.
const (
	Port       = 80
	ServerPort = 8080
)

func (s *Service) slice() *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name + "-x7k2p", Labels: map[string]string{
			discoveryv1.LabelServiceName: s.Name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
	}
	name, proto, yes, no := "http", corev1.ProtocolTCP, true, false
	for _, e := range s.Endpoints {
		number := int32(e.Port())
		out.Ports = []discoveryv1.EndpointPort{{Name: &name, Protocol: &proto, Port: &number}}
		node := fmt.Sprintf("node-%d", e.Addr().As4()[3]%50)
		out.Endpoints = append(out.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{e.Addr().String()}, NodeName: &node,
			Conditions: discoveryv1.EndpointConditions{Ready: &yes, Serving: &yes, Terminating: &no},
			TargetRef:  &corev1.ObjectReference{Kind: "Pod", Namespace: s.Namespace, Name: fmt.Sprintf("%s-%s", s.Name, e.Addr())},
		})
	}
	return out
}

func (s *Service) object() *corev1.Service {
	o := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: s.Name, Labels: map[string]string{"app": s.Name}},
		Spec: corev1.ServiceSpec{
			ClusterIP: s.IP.String(), Type: corev1.ServiceTypeClusterIP,
			Ports: []corev1.ServicePort{{Name: "http", Port: Port, Protocol: corev1.ProtocolTCP}},
		},
	}
	if s.NodePort > 0 {
		o.Spec.Type, o.Spec.Ports[0].NodePort = corev1.ServiceTypeLoadBalancer, s.NodePort
	}
	return o
}

// Create makes a Service and its endpoints.
func (a *API) Create(ctx context.Context, s *Service) error {
	made, err := a.client.CoreV1().Services(s.Namespace).Create(ctx, s.object(), metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("create Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	if s.Balancer.IsValid() {
		made.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: s.Balancer.String()}}
		if _, err := a.client.CoreV1().Services(s.Namespace).UpdateStatus(ctx, made, metav1.UpdateOptions{}); err != nil {
			return fmt.Errorf("give Service %s/%s its address: %w", s.Namespace, s.Name, err)
		}
	}
	if _, err := a.client.DiscoveryV1().EndpointSlices(s.Namespace).Create(ctx, s.slice(), metav1.CreateOptions{}); err != nil {
		return fmt.Errorf("create the EndpointSlice of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}

// Replace sets the endpoints of a Service anew.
func (a *API) Replace(ctx context.Context, s *Service) error {
	_, err := a.client.DiscoveryV1().EndpointSlices(s.Namespace).Update(ctx, s.slice(), metav1.UpdateOptions{})
	if err != nil {
		return fmt.Errorf("update the EndpointSlice of Service %s/%s: %w", s.Namespace, s.Name, err)
	}
	return nil
}
