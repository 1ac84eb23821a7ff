package proxy

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"
)

// errChanged ends the process, and whoever runs it starts it again. What is pinned forwards in the meantime.
var errChanged = errors.New("what the data plane was made with has changed; it has to be started again")

// followFacts compares what the node, the machine and the cluster say with what the data plane was made with, whenever
// one of the objects changes.
func (p *proxy) followFacts(factory informers.SharedInformerFactory) func(context.Context) error {
	nodes := factory.Core().V1().Nodes().Informer()
	informed := []cache.SharedIndexInformer{nodes}
	var ranges cache.SharedIndexInformer
	if len(p.cfg.ServiceCIDRs) == 0 {
		ranges = factory.Networking().V1().ServiceCIDRs().Informer()
		informed = append(informed, ranges)
	}
	return func(ctx context.Context) error {
		wake := make(chan struct{}, 1)
		changed := func(any) {
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		waits := make([]cache.DoneChecker, 0, len(informed))
		for _, i := range informed {
			r, err := i.AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed,
			})
			if err != nil {
				return fmt.Errorf("follow the node: %w", err)
			}
			defer i.RemoveEventHandler(r)
			waits = append(waits, r.HasSyncedChecker())
		}
		if !cache.WaitFor(ctx, "", waits...) {
			return nil
		}
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-wake:
			}
			if err := p.compareFacts(ranges); err != nil {
				return err
			}
		}
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
		// An interface that lost its address for a moment is no reason to stop serving by what was known.
		p.log.Warn("The node does not fit its object; Services are served as before", "error", err)
		return nil
	}
	if now.equal(p.facts) {
		return nil
	}
	return fmt.Errorf("%w: uplinks %v, addresses %v, ranges of cluster IPs %v; before: %v, %v, %v", errChanged, now.uplinks, now.ips, now.services, p.facts.uplinks, p.facts.ips, p.facts.services)
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
