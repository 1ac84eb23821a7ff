package loadbalancer

import (
	"errors"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
	"minato/internal/loadbalancer/show"
)

// errNotReady is what a node says that has not decided anything yet.
var errNotReady = errors.New("it does not know the cluster's Services yet; try again in a moment")

// Explain describes Services of type LoadBalancer with the reasons of every decision: those of the Controller, which state
// has, and this node's own about who announces and who gets flows.
func (n *Node) Explain(state State) ([]show.Service, error) {
	d := n.decider
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.settled {
		return nil, fmt.Errorf("node %s: %w", n.cfg.Name, errNotReady)
	}
	out := []show.Service{}
	for _, s := range state.Services {
		key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
		service := elect.Service{Key: key}
		if known := d.services[key]; known != nil && known.service != nil {
			service = known.elect
		}
		var sharers []elect.Service
		for _, addr := range s.Decision.Addresses {
			for _, sharer := range d.sharers(key, addr) {
				if !slices.ContainsFunc(sharers, func(o elect.Service) bool { return o.Key == sharer.Key }) {
					sharers = append(sharers, sharer)
				}
			}
		}
		decisions := show.Decide(service, sharers, s.Decision, d.scene.nodes, d.scene.cfg, defaultPool(d.scene.cfg.Pools))
		decisions.Node = n.cfg.Name
		out = append(out, show.Describe(decisions))
	}
	return out, nil
}

// defaultPool is the name of the cluster's own pool, empty if there is none.
func defaultPool(pools []config.Pool) string {
	for _, p := range pools {
		if p.Default {
			return p.Name
		}
	}
	return ""
}

// listNodes are the nodes that an informer knows.
func (n *Node) listNodes() []*corev1.Node {
	var out []*corev1.Node
	for _, o := range n.cfg.Nodes.Informer().GetStore().List() {
		if node, ok := o.(*corev1.Node); ok {
			out = append(out, node)
		}
	}
	return out
}
