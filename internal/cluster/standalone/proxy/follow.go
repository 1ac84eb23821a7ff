package proxy

import (
	"context"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"minato/internal/cluster/standalone/foreign"
)

// followFacts compares the node's addresses, the machine's interfaces and the ranges of cluster IPs with those that the
// data plane was made from, whenever one of the objects changes.
func (p *proxy) followFacts(factory informers.SharedInformerFactory) func(context.Context) error {
	nodes := factory.Core().V1().Nodes().Informer()
	informed := []cache.SharedIndexInformer{nodes}
	var ranges cache.SharedIndexInformer
	if len(p.cfg.ServiceCIDRs) == 0 {
		ranges = factory.Networking().V1().ServiceCIDRs().Informer()
		informed = append(informed, ranges)
	}
	return func(ctx context.Context) error {
		return foreign.Follow(ctx, func() error { return p.compareFacts(ranges) }, informed...)
	}
}

func (p *proxy) compareFacts(ranges cache.SharedIndexInformer) error {
	node := p.object()
	if node == nil {
		return nil // Services go on being served on a node that is being taken out of the cluster
	}
	services := p.cfg.ServiceCIDRs
	if ranges != nil {
		services = []netip.Prefix{}
		for _, o := range ranges.GetStore().List() {
			if o, ok := o.(*networkingv1.ServiceCIDR); ok {
				services = append(services, rangesOf(o)...)
			}
		}
	}
	now, err := gatherFacts(node, p.cfg.Uplinks, services)
	if err != nil {
		// An interface may have lost its address for a moment, so Services are served as before.
		p.log.Warn("The node's interfaces do not match its Node object; Services are served as before", "error", err)
		return nil
	}
	if now.equal(p.facts) {
		return nil
	}
	return fmt.Errorf("%w: uplinks %v, addresses %v, ranges of cluster IPs %v; before: %v, %v, %v", foreign.ErrChanged, now.Uplinks, now.IPs, now.services, p.facts.Uplinks, p.facts.IPs, p.facts.services)
}

// object is the Node as the watch has it, nil if there is none.
func (p *proxy) object() *corev1.Node {
	o, ok, err := p.nodes.GetByKey(p.cfg.Node)
	if err != nil || !ok {
		return nil
	}
	node, _ := o.(*corev1.Node)
	return node
}
