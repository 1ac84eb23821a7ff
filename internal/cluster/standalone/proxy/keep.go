package proxy

import (
	"sync"
	"unique"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// keeper drops from objects what the data plane has no use for, which is most of them. What is the same in many objects
// it keeps once; they are never written to.
type keeper struct {
	mu    sync.Mutex
	texts map[string]*string // names of nodes and zones
	// yes and no are what pointers to truths lead to.
	yes, no bool
}

func newKeeper() *keeper { return &keeper{texts: map[string]*string{}, yes: true} }

// keep is for informers.
func (k *keeper) keep(obj any) (any, error) {
	switch o := obj.(type) {
	case *corev1.Service:
		out := &corev1.Service{ObjectMeta: keepMeta(&o.ObjectMeta, []string{labelProxyName}, nil), Spec: o.Spec}
		out.Spec.Selector, out.Spec.Type = nil, corev1.ServiceType(once(string(o.Spec.Type)))
		for i := range out.Spec.Ports {
			p := &out.Spec.Ports[i]
			p.Name, p.Protocol, p.AppProtocol = once(p.Name), corev1.Protocol(once(string(p.Protocol))), nil
		}
		out.Status.LoadBalancer = o.Status.LoadBalancer
		return out, nil
	case *discoveryv1.EndpointSlice:
		out := &discoveryv1.EndpointSlice{
			ObjectMeta:  keepMeta(&o.ObjectMeta, []string{discoveryv1.LabelServiceName}, []string{corev1.EndpointsLastChangeTriggerTime}),
			AddressType: discoveryv1.AddressType(once(string(o.AddressType))), Ports: o.Ports,
			Endpoints: make([]discoveryv1.Endpoint, len(o.Endpoints)),
		}
		for i := range o.Endpoints {
			e := &o.Endpoints[i]
			out.Endpoints[i] = discoveryv1.Endpoint{
				Addresses: e.Addresses, Conditions: k.conditions(e.Conditions), NodeName: k.at(e.NodeName), Zone: k.at(e.Zone), Hints: e.Hints,
			}
		}
		return out, nil
	case *corev1.Node:
		o.ManagedFields, o.Status.Images = nil, nil
	}
	return obj, nil
}

// labelProxyName hands a Service over to another proxy.
const labelProxyName = "service.kubernetes.io/service-proxy-name"

func keepMeta(m *metav1.ObjectMeta, labels, annotations []string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: once(m.Namespace), Name: m.Name, ResourceVersion: m.ResourceVersion,
		Labels: keepKeys(m.Labels, labels), Annotations: keepKeys(m.Annotations, annotations),
	}
}

func keepKeys(all map[string]string, keys []string) map[string]string {
	var out map[string]string
	for _, k := range keys {
		if v, ok := all[k]; ok {
			if out == nil {
				out = map[string]string{}
			}
			out[k] = v
		}
	}
	return out
}

// once returns the same memory for equal texts.
func once(s string) string { return unique.Make(s).Value() }

// at returns the same pointer for equal texts.
func (k *keeper) at(p *string) *string {
	if p == nil {
		return nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.texts[*p] == nil {
		k.texts[*p] = p
	}
	return k.texts[*p]
}

func (k *keeper) conditions(c discoveryv1.EndpointConditions) discoveryv1.EndpointConditions {
	return discoveryv1.EndpointConditions{Ready: k.truth(c.Ready), Serving: k.truth(c.Serving), Terminating: k.truth(c.Terminating)}
}

func (k *keeper) truth(p *bool) *bool {
	switch {
	case p == nil:
		return nil
	case *p:
		return &k.yes
	}
	return &k.no
}
