package ingress

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// places are the nodes that the processes are on: those of the Pods with the labels of this one, or this process's own outside
// of a Pod.
type places struct {
	nodes, pods cache.SharedIndexInformer // pods is nil outside of a Pod
	node        string
	internal    bool
}

// newPlaces makes informers of nodes and Pods, which are started with the others.
func (a *alone) newPlaces(ctx context.Context) (*places, error) {
	p := &places{node: a.plan.node, internal: a.cfg.InternalIP}
	if a.plan.pod.Name == "" {
		p.nodes = a.factory(informers.WithTweakListOptions(func(o *metav1.ListOptions) {
			o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, a.plan.node).String()
		})).Core().V1().Nodes().Informer()
		return p, nil
	}
	selector, err := a.podLabels(ctx)
	if err != nil {
		return nil, err
	}
	p.nodes = a.factory().Core().V1().Nodes().Informer()
	p.pods = a.factory(informers.WithNamespace(a.plan.pod.Namespace), informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.LabelSelector = selector.String()
	})).Core().V1().Pods().Informer()
	return p, nil
}

// podLabels selects the Pods that are like this process's: they have its labels but those of a version of the template.
func (a *alone) podLabels(ctx context.Context) (labels.Selector, error) {
	pod, err := a.client.CoreV1().Pods(a.plan.pod.Namespace).Get(ctx, a.plan.pod.Name, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the Pod %s that POD_NAMESPACE and POD_NAME name: %w", a.plan.pod, err)
	}
	set := labels.Set{}
	for k, v := range pod.Labels {
		switch k {
		case "pod-template-hash", "controller-revision-hash", "pod-template-generation", "statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index":
		default:
			set[k] = v
		}
	}
	return set.AsSelector(), nil
}

// otherPods counts the Pods beside this one that serve.
func (a *alone) otherPods(ctx context.Context) (int, error) {
	selector, err := a.podLabels(ctx)
	if err != nil {
		return 0, err
	}
	list, err := a.electing.CoreV1().Pods(a.plan.pod.Namespace).List(ctx, metav1.ListOptions{LabelSelector: selector.String()})
	if err != nil {
		return 0, fmt.Errorf("list the Pods beside %s: %w", a.plan.pod, err)
	}
	n := 0
	for i := range list.Items {
		if list.Items[i].Name != a.plan.pod.Name && serves(&list.Items[i]) {
			n++
		}
	}
	return n, nil
}

func serves(p *corev1.Pod) bool {
	return p.DeletionTimestamp == nil && p.Status.Phase == corev1.PodRunning
}

// find returns the nodes' addresses, one of each.
func (p *places) find() []networkingv1.IngressLoadBalancerIngress {
	names := map[string]bool{}
	if p.pods == nil {
		names[p.node] = true
	} else {
		for _, o := range p.pods.GetStore().List() {
			if pod, ok := o.(*corev1.Pod); ok && serves(pod) {
				names[pod.Spec.NodeName] = true
			}
		}
	}
	var out []networkingv1.IngressLoadBalancerIngress
	for name := range names {
		o, _, _ := p.nodes.GetStore().GetByKey(name) // a key of this kind makes no error
		if node, ok := o.(*corev1.Node); ok {
			if a := addressOf(node, p.internal); a != "" {
				out = append(out, written(a))
			}
		}
	}
	slices.SortFunc(out, func(a, b networkingv1.IngressLoadBalancerIngress) int {
		return strings.Compare(a.IP+a.Hostname, b.IP+b.Hostname)
	})
	return slices.CompactFunc(out, func(a, b networkingv1.IngressLoadBalancerIngress) bool {
		return a.IP == b.IP && a.Hostname == b.Hostname
	})
}

func written(address string) networkingv1.IngressLoadBalancerIngress {
	if _, err := netip.ParseAddr(address); err == nil {
		return networkingv1.IngressLoadBalancerIngress{IP: address}
	}
	return networkingv1.IngressLoadBalancerIngress{Hostname: address}
}

// addressOf is a node's first external address, or its first internal one if that is asked for or there is no other.
func addressOf(node *corev1.Node, internal bool) string {
	first := func(t corev1.NodeAddressType) string {
		for _, a := range node.Status.Addresses {
			if a.Type == t && a.Address != "" {
				return a.Address
			}
		}
		return ""
	}
	if a := first(corev1.NodeExternalIP); a != "" && !internal {
		return a
	}
	return first(corev1.NodeInternalIP)
}

// follow has moved called when the addresses may have changed, until stop is called.
func (p *places) follow(moved func()) (stop func()) {
	handler := cache.ResourceEventHandlerFuncs{
		AddFunc: func(any) { moved() }, UpdateFunc: func(any, any) { moved() }, DeleteFunc: func(any) { moved() },
	}
	var stops []func()
	for _, i := range []cache.SharedIndexInformer{p.nodes, p.pods} {
		if i == nil {
			continue
		}
		if r, err := i.AddEventHandler(handler); err == nil { // it fails only if the informer has stopped
			stops = append(stops, func() { _ = i.RemoveEventHandler(r) })
		}
	}
	return func() {
		for _, s := range stops {
			s()
		}
	}
}
