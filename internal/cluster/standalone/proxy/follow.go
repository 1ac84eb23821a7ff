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

// errChanged ends the process, so that the kubelet or the service manager starts it again. The pinned programs forward
// in the meantime.
var errChanged = errors.New("what the data plane was made from has changed; the proxy has to be started again")

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
		// An interface may have lost its address for a moment, so Services are served as before.
		p.log.Warn("The node's interfaces do not match its Node object; Services are served as before", "error", err)
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
