package balancer

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/cluster/standalone/foreign"
)

// facts are what the announcements of a node are made with. When they change, these are made anew.
type facts struct {
	foreign.Interfaces
	// gateways are routers of the uplinks' networks.
	gateways []netip.Addr
}

// learn puts together what the Node object and the machine say.
func learn(node *corev1.Node, uplinks []string) (facts, error) {
	found, err := foreign.FindInterfaces(node, uplinks)
	if err != nil {
		return facts{}, err
	}
	gateways, err := found.FindGateways()
	return facts{Interfaces: found, gateways: gateways}, err
}

// followFacts compares them with the present whenever a Node has changed.
func (b *balancer) followFacts(ctx context.Context) error {
	return foreign.Follow(ctx, b.compareFacts, b.factory.Core().V1().Nodes().Informer())
}

func (b *balancer) compareFacts() error {
	o, ok, err := b.factory.Core().V1().Nodes().Informer().GetStore().GetByKey(b.cfg.Node)
	node, is := o.(*corev1.Node)
	if err != nil || !ok || !is {
		return nil // addresses go on being announced by a node that is being taken out of the cluster, until others do
	}
	now, err := learn(node, b.cfg.Uplinks)
	if err != nil {
		// An interface may have lost its address for a moment.
		b.log.Warn("The node's interfaces do not match its Node object; addresses are announced as before", "error", err)
		return nil
	}
	if now.Equal(b.facts.Interfaces) && slices.Equal(now.gateways, b.facts.gateways) {
		return nil
	}
	return fmt.Errorf("%w: uplinks %v, addresses %v, gateways %v; before: %v, %v, %v", foreign.ErrChanged, now.Uplinks, now.IPs, now.gateways, b.facts.Uplinks, b.facts.IPs, b.facts.gateways)
}
