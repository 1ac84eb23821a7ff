package loadbalancer

import (
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/elect"
)

// nodeChanges collects what has changed since the last look.
type nodeChanges struct {
	wake chan struct{}

	mu       sync.Mutex
	services map[types.NamespacedName]struct{}
	all      bool
	view     announce.View
	viewed   bool // view was told since the begin
	// conflicts are the last ones, at most one for each address and claimant.
	conflicts map[string]announce.Conflict
}

func newNodeChanges() *nodeChanges {
	return &nodeChanges{
		wake: make(chan struct{}, 1), services: map[types.NamespacedName]struct{}{}, conflicts: map[string]announce.Conflict{},
	}
}

// begin forgets what an announcer told that is closed by now.
func (c *nodeChanges) begin() {
	c.mu.Lock()
	c.view, c.viewed, c.all = announce.View{}, false, true
	clear(c.conflicts)
	c.mu.Unlock()
	poke(c.wake)
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

// alive notes who is heard.
func (c *nodeChanges) alive(v announce.View) {
	c.mu.Lock()
	c.view, c.viewed, c.all = v, true, true
	c.mu.Unlock()
	poke(c.wake)
}

// knows tells whether the view says of each of so many peers whether it is heard, or that nobody is asked.
func (c *nodeChanges) knows(peers int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.viewed && (!c.view.Active || len(c.view.Peers) >= peers)
}

// conflict notes that somebody else claims an address.
func (c *nodeChanges) conflict(claim announce.Conflict) {
	c.mu.Lock()
	c.conflicts[claim.Addr.String()+" "+claim.MAC.String()] = claim
	c.mu.Unlock()
	poke(c.wake)
}

// noted is what has changed.
type noted struct {
	services  map[types.NamespacedName]struct{}
	all       bool // every Service may have
	view      announce.View
	conflicts map[string]announce.Conflict
}

// take returns what has changed since the last call, and who is heard now.
func (c *nodeChanges) take() noted {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := noted{services: c.services, all: c.all, view: c.view, conflicts: c.conflicts}
	c.services, c.conflicts, c.all = map[types.NamespacedName]struct{}{}, map[string]announce.Conflict{}, false
	return out
}

// nodeChanged notes a change of a Node that decisions depend on; heartbeats are none.
func (n *Node) nodeChanged(was, is any) {
	a, aok := was.(*corev1.Node)
	b, bok := is.(*corev1.Node)
	if aok && bok && a.UID == b.UID {
		x, y := elect.FromNode(a), elect.FromNode(b)
		if x.NetworkUnavailable == y.NetworkUnavailable && maps.Equal(x.Labels, y.Labels) && slices.Equal(x.Addresses, y.Addresses) {
			return
		}
	}
	n.changes.everything()
}
