package service

import (
	"cmp"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// catalog keeps which Services and nodes changed since the last take, and the nodes.
type catalog struct {
	nodeName string
	objects  Objects
	ownPorts []route.OwnPort
	// pods are the keys of Pods with hostPorts.
	pods func() []types.NamespacedName

	mu    sync.Mutex
	nodes map[string]route.Node
	// labels are those of the nodes, and shared is a copy for route.Node, nil after a change. keyed are the Services that
	// depend on them.
	labels, shared map[string]map[string]string
	keyed          map[types.NamespacedName]bool
	// silent are the silent nodes, and told what was told of them last. The maps are never changed, only replaced.
	silent, told map[string]bool
	dirty        map[types.NamespacedName]bool
	// triggers are the times of changes of endpoints that are not applied yet.
	triggers   map[types.NamespacedName][]time.Time
	started    time.Time
	nodesDirty bool
	// wake holds one token while something is dirty.
	wake chan struct{}
}

func newCatalog(nodeName string, objects Objects, pods func() []types.NamespacedName) *catalog {
	return &catalog{
		nodeName: nodeName,
		objects:  objects,
		pods:     pods,
		nodes:    map[string]route.Node{},
		labels:   map[string]map[string]string{},
		keyed:    map[types.NamespacedName]bool{},
		dirty:    map[types.NamespacedName]bool{},
		triggers: map[types.NamespacedName][]time.Time{},
		started:  time.Now(),
		wake:     make(chan struct{}, 1),
	}
}

func (c *catalog) signal() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *catalog) mark(keys ...types.NamespacedName) {
	if len(keys) == 0 {
		return
	}
	for _, k := range keys {
		c.dirty[k] = true
	}
	c.signal()
}

// release makes Services dirty again that could not be applied and are to be tried once more.
func (c *catalog) release(keys []types.NamespacedName) {
	if len(keys) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		if k == nodesKey {
			c.nodesDirty = true
			continue
		}
		c.dirty[k] = true
	}
	c.signal()
}

// changed makes a Service dirty, and keeps the time of the change, if that is known and after the start of this process.
func (c *catalog) changed(service types.NamespacedName, triggered time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if triggered.After(c.started) {
		c.triggers[service] = append(c.triggers[service], triggered)
	}
	c.mark(service)
}

// setNode takes over the state of a node. Most updates of a Node object, of which there is one every few seconds, change
// nothing that matters here.
func (c *catalog) setNode(n *corev1.Node) {
	zone, addresses := c.replaceNode(n)
	var names []types.NamespacedName
	if zone {
		names = c.objects.Names()
	}
	if addresses {
		names = append(names, c.pods()...)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	labels := n.Labels
	if labels == nil {
		labels = map[string]string{}
	}
	c.setLabels(n.Name, labels)
	c.mark(names...)
}

// setLabels takes over the labels of a node, nil for one that is gone: Services with topology keys depend on those of all
// nodes. The caller holds the lock.
func (c *catalog) setLabels(node string, labels map[string]string) {
	was, known := c.labels[node]
	if known == (labels != nil) && maps.Equal(was, labels) {
		return
	}
	if labels == nil {
		delete(c.labels, node)
	} else {
		c.labels[node] = labels
	}
	c.shared = nil
	c.mark(slices.Collect(maps.Keys(c.keyed))...)
}

// setKeyed notes whether a Service depends on the labels of nodes.
func (c *catalog) setKeyed(service types.NamespacedName, keyed bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if keyed {
		c.keyed[service] = true
	} else {
		delete(c.keyed, service)
	}
}

// replaceNode tells what of the controller's own node has changed: its zone, on which every Service depends, and its
// addresses, on which every hostPort does.
func (c *catalog) replaceNode(n *corev1.Node) (zone, addresses bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is := nodeOf(n)
	was, known := c.nodes[n.Name]
	if known && sameNode(was, is) {
		return false, false
	}
	c.nodes[n.Name] = is
	c.nodesDirty = true
	c.signal()
	if n.Name != c.nodeName {
		return false, false
	}
	return was.Zone != is.Zone, !slices.Equal(was.Addrs, is.Addrs)
}

// setSilent notes which nodes are silent, until followSilent. The caller has no time.
func (c *catalog) setSilent(nodes map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told = nodes
	c.signal()
}

// followSilent takes over which nodes are silent. It concerns the Services with endpoints on those of which that is new.
func (c *catalog) followSilent() {
	changed := c.replaceSilent()
	if len(changed) == 0 {
		return
	}
	var names []types.NamespacedName
	for _, key := range c.objects.Names() {
		if _, epSlices := c.objects.Service(key); anyOn(epSlices, changed) {
			names = append(names, key)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mark(names...)
}

// replaceSilent returns the nodes of which it is new that they are silent, or that they are not.
func (c *catalog) replaceSilent() (changed map[string]bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changed = map[string]bool{}
	for _, side := range []map[string]bool{c.told, c.silent} {
		for name := range side {
			if c.told[name] != c.silent[name] {
				changed[name] = true
			}
		}
	}
	c.silent = c.told
	return changed
}

// anyOn tells whether there are endpoints on any of the nodes.
func anyOn(epSlices []*discoveryv1.EndpointSlice, nodes map[string]bool) bool {
	for _, s := range epSlices {
		for i := range s.Endpoints {
			if on := s.Endpoints[i].NodeName; on != nil && nodes[*on] {
				return true
			}
		}
	}
	return false
}

func (c *catalog) deleteNode(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.setLabels(name, nil)
	if _, known := c.nodes[name]; known {
		delete(c.nodes, name)
		c.nodesDirty = true
		c.signal()
	}
}

func nodeOf(n *corev1.Node) route.Node {
	out := route.Node{Name: n.Name, Zone: n.Labels[corev1.LabelTopologyZone]}
	for _, a := range n.Status.Addresses {
		if a.Type != corev1.NodeInternalIP && a.Type != corev1.NodeExternalIP {
			continue
		}
		if ip, err := netip.ParseAddr(a.Address); err == nil {
			out.Addrs = append(out.Addrs, ip.Unmap())
		}
	}
	return out
}

func sameNode(a, b route.Node) bool {
	return a.Name == b.Name && a.Zone == b.Zone && slices.Equal(a.Addrs, b.Addrs)
}

// update is what changed since the last take.
type update struct {
	services []types.NamespacedName // in order
	triggers map[types.NamespacedName][]time.Time
	// nodes are all nodes, nil if none changed.
	nodes []route.Node
	node  route.Node
}

// self returns the controller's own node.
func (c *catalog) self() route.Node {
	n := c.nodes[c.nodeName]
	n.Name = c.nodeName // the node may not be registered yet
	n.OwnPorts, n.Silent = c.ownPorts, c.silent
	if c.shared == nil {
		c.shared = maps.Clone(c.labels)
	}
	n.Labels = c.shared
	return n
}

// all returns every Service and every Pod with hostPorts as they are now.
func (c *catalog) all() update {
	names := append(c.objects.Names(), c.pods()...)
	slices.SortFunc(names, compareNames)
	c.mu.Lock()
	defer c.mu.Unlock()
	return update{services: names, node: c.self()}
}

// take returns what is dirty and marks it clean.
func (c *catalog) take() update {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := update{services: slices.SortedFunc(maps.Keys(c.dirty), compareNames), node: c.self(), triggers: c.triggers}
	if c.nodesDirty {
		u.nodes = slices.AppendSeq(make([]route.Node, 0, len(c.nodes)), maps.Values(c.nodes))
	}
	// New maps, because a cleared map keeps its memory.
	c.dirty, c.triggers = map[types.NamespacedName]bool{}, map[types.NamespacedName][]time.Time{}
	c.nodesDirty = false
	return u
}

func compareNames(a, b types.NamespacedName) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Name, b.Name))
}
