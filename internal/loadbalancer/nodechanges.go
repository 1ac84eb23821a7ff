package loadbalancer

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/elect"
)

// nodeChanges collects what has changed since the last look.
type nodeChanges struct {
	wake chan struct{}

	mu       sync.Mutex
	services map[types.NamespacedName]struct{}
	all      bool
}

func newNodeChanges() *nodeChanges {
	return &nodeChanges{wake: make(chan struct{}, 1), services: map[types.NamespacedName]struct{}{}}
}

func (c *nodeChanges) service(key types.NamespacedName) {
	c.mu.Lock()
	c.services[key] = struct{}{}
	c.mu.Unlock()
	poke(c.wake)
}

// everything notes a change that may concern every Service.
func (c *nodeChanges) everything() {
	c.mu.Lock()
	c.all = true
	c.mu.Unlock()
	poke(c.wake)
}

// take returns the Services that have changed, or that all may have.
func (c *nodeChanges) take() (services map[types.NamespacedName]struct{}, all bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	services, all = c.services, c.all
	c.services, c.all = map[types.NamespacedName]struct{}{}, false
	return services, all
}

// nodeChanged notes a change of a Node that decisions depend on; heartbeats are none.
func (n *Node) nodeChanged(was, is any) {
	a, aok := was.(*corev1.Node)
	b, bok := is.(*corev1.Node)
	if aok && bok {
		x, y := elect.FromNode(a), elect.FromNode(b)
		if x.NetworkUnavailable == y.NetworkUnavailable && maps.Equal(x.Labels, y.Labels) && slices.Equal(x.Addresses, y.Addresses) {
			return
		}
	}
	n.changes.everything()
}
