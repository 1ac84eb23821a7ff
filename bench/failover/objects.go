package main

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"minato/bench/lab"
)

// servesLabel is on the Pods that the Service of a system selects.
func (s *system) servesLabel() string { return "serves-" + s.name }

// benchLabel says of a Service whose it is, for the pools' selectors: every
// system sees the pools of both.
const benchLabel = "bench.minato.local/system"

// makePools gives each system a pool that only its own Services may use.
func (c *cluster) makePools(ctx context.Context) error {
	var text strings.Builder
	for _, s := range c.systems {
		fmt.Fprintf(&text, `
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  addresses: [%[3]q]
  serviceAllocation:
    serviceSelectors:
    - matchLabels: {%[4]s: %[1]s}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  ipAddressPools: [%[1]s]
---
`, s.name, metallbNamespace, pools[s.name], benchLabel)
	}
	// On a machine that is busy, kinds are told of a moment before they are served.
	return c.await(ctx, "the pools", func(ctx context.Context) (bool, error) {
		err := c.apply(ctx, []byte(text.String()))
		return err == nil, err
	})
}

func podName(node string) string { return "web-" + node }

// makePods puts a Pod on each node, which says where it is.
func (c *cluster) makePods(ctx context.Context) error {
	grace := int64(0)
	field := func(name, path string) corev1.EnvVar {
		return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: path}}}
	}
	for _, node := range c.nodeNames() {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: podName(node), Labels: map[string]string{"app": "web"}},
			Spec: corev1.PodSpec{
				NodeName: node, TerminationGracePeriodSeconds: &grace,
				Containers: []corev1.Container{{
					Name: "web", Image: "minato.local/whoami:latest", ImagePullPolicy: corev1.PullNever,
					Env: []corev1.EnvVar{field("NODE_NAME", "spec.nodeName"), field("POD_NAME", "metadata.name"), field("POD_IP", "status.podIP")},
				}},
			},
		}
		if _, err := c.api.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	return c.podsReady(ctx)
}

func (c *cluster) podsReady(ctx context.Context) error {
	return c.await(ctx, "the Pods' getting ready", func(ctx context.Context) (bool, error) {
		for _, node := range c.nodeNames() {
			pod, err := c.api.CoreV1().Pods(namespace).Get(ctx, podName(node), metav1.GetOptions{})
			if err != nil || !ready(pod) {
				return false, err
			}
		}
		return true, nil
	})
}

func ready(pod *corev1.Pod) bool {
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

func (c *cluster) nodeNames() []string {
	var out []string
	for i := range c.nodes {
		out = append(out, fmt.Sprintf("node-%d", i+1))
	}
	return out
}

// service is a Service of the system. Endpoints come from its selector or, without one, from elsewhere.
func (s *system) service(name, policy string, selector map[string]string) *corev1.Service {
	noPorts := false
	svc := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{benchLabel: s.name}},
		Spec: corev1.ServiceSpec{
			Type: corev1.ServiceTypeLoadBalancer, Selector: selector, AllocateLoadBalancerNodePorts: &noPorts,
			ExternalTrafficPolicy: corev1.ServiceExternalTrafficPolicy(policy),
			Ports:                 []corev1.ServicePort{{Name: "http", Port: servicePort, TargetPort: intstr.FromInt32(endpointPort)}},
		},
	}
	if s.class != "" {
		svc.Spec.LoadBalancerClass = &s.class
	}
	return svc
}

// makeService makes the system's Service and waits until it has an address.
func (c *cluster) makeService(ctx context.Context, s *system) error {
	if err := c.serveFrom(ctx, s, c.nodeNames()); err != nil {
		return err
	}
	name := "web-" + s.name
	if _, err := c.api.CoreV1().Services(namespace).Create(ctx, s.service(name, c.policy, map[string]string{s.servesLabel(): "yes"}), metav1.CreateOptions{}); err != nil {
		return err
	}
	err := c.await(ctx, s.name+"'s giving an address", func(ctx context.Context) (bool, error) {
		svc, err := c.api.CoreV1().Services(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return false, err
		}
		s.address = addressOf(svc)
		return s.address.IsValid(), nil
	})
	if err == nil && !pools[s.name].Contains(s.address) {
		err = fmt.Errorf("%s's Service has %s, which is not of its pool %s", s.name, s.address, pools[s.name])
	}
	if err == nil {
		lab.Progress("%s gave %s", s.name, s.address)
	}
	return err
}

// addressOf is what a load balancer has given; none is the zero address.
func addressOf(svc *corev1.Service) netip.Addr {
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if a, err := netip.ParseAddr(in.IP); err == nil {
			return a
		}
	}
	return netip.Addr{}
}

// serveFrom makes the Pods on those nodes the Service's endpoints.
func (c *cluster) serveFrom(ctx context.Context, s *system, nodes []string) error {
	serving := map[string]bool{}
	for _, n := range nodes {
		serving[n] = true
	}
	for _, node := range c.nodeNames() {
		value := "null"
		if serving[node] {
			value = `"yes"`
		}
		patch := fmt.Sprintf(`{"metadata":{"labels":{%q:%s}}}`, s.servesLabel(), value)
		if _, err := c.api.CoreV1().Pods(namespace).Patch(ctx, podName(node), types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
			return err
		}
	}
	return nil
}
