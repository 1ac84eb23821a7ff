package main

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	namespace    = "default"
	portName     = "http"
	servicePort  = 80
	spareService = "spare" // leads to the second server
)

func serviceName(i int) string { return fmt.Sprintf("web-%d", i) }
func routeName(i int) string   { return fmt.Sprintf("route-%d", i) }
func hostOf(name string) string {
	return name + ".bench.example"
}

// service is the Service that a route leads to.
func (c *cluster) service(route int) string { return serviceName(route % c.services) }

// makeService makes a Service without a selector, and an EndpointSlice with a server.
func (c *cluster) makeService(ctx context.Context, name, server string) error {
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: portName, Port: servicePort}}},
	}
	if _, err := c.api.CoreV1().Services(namespace).Create(ctx, svc, metav1.CreateOptions{}); err != nil {
		return err
	}
	to := c.servers[server].address
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{
			discoveryv1.LabelServiceName: name, discoveryv1.LabelManagedBy: "bench.minato.local",
		}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{to.Addr().String()}}},
		Ports:       []discoveryv1.EndpointPort{{Name: new(portName), Port: new(int32(to.Port())), Protocol: new(corev1.ProtocolTCP)}},
	}
	_, err := c.api.DiscoveryV1().EndpointSlices(namespace).Create(ctx, slice, metav1.CreateOptions{})
	return err
}

// makeRoute makes an Ingress for a host of its own.
func (c *cluster) makeRoute(ctx context.Context, name, service string) error {
	ing := &networkingv1.Ingress{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: networkingv1.IngressSpec{Rules: []networkingv1.IngressRule{{
			Host: hostOf(name),
			IngressRuleValue: networkingv1.IngressRuleValue{HTTP: &networkingv1.HTTPIngressRuleValue{Paths: []networkingv1.HTTPIngressPath{{
				Path: "/", PathType: new(networkingv1.PathTypePrefix),
				Backend: networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{
					Name: service, Port: networkingv1.ServiceBackendPort{Number: servicePort},
				}},
			}}}},
		}}},
	}
	_, err := c.api.NetworkingV1().Ingresses(namespace).Create(ctx, ing, metav1.CreateOptions{})
	return err
}

func (c *cluster) deleteRoute(ctx context.Context, name string) error {
	return c.api.NetworkingV1().Ingresses(namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

// moveRoute leads the path of an Ingress to another Service.
func (c *cluster) moveRoute(ctx context.Context, name, service string) error {
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/spec/rules/0/http/paths/0/backend/service/name","value":%q}]`, service)
	_, err := c.api.NetworkingV1().Ingresses(namespace).Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{})
	return err
}

// moveEndpoint has the endpoint of a Service be another server.
func (c *cluster) moveEndpoint(ctx context.Context, service, server string) error {
	patch := fmt.Appendf(nil, `[{"op":"replace","path":"/ports/0/port","value":%d}]`, c.servers[server].address.Port())
	_, err := c.api.DiscoveryV1().EndpointSlices(namespace).Patch(ctx, service, types.JSONPatchType, patch, metav1.PatchOptions{})
	return err
}

// addressed counts the Ingresses that have an address.
func (c *cluster) addressed(ctx context.Context) (int, error) {
	list, err := c.api.NetworkingV1().Ingresses(namespace).List(ctx, metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		return 0, err
	}
	n := 0
	for i := range list.Items {
		if len(list.Items[i].Status.LoadBalancer.Ingress) > 0 {
			n++
		}
	}
	return n, nil
}
