package service

import (
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// catalog is the cluster as this node has heard of it, and what changed since the last look. The objects in it are
// shared with all other nodes of the process and never changed.
type catalog struct {
	nodeName string

	mu       sync.Mutex
	services map[types.NamespacedName]*corev1.Service
	// slices are grouped by the Service they name; owner remembers which one that was.
	slices map[types.NamespacedName][]*discoveryv1.EndpointSlice
	owner  map[types.NamespacedName]types.NamespacedName
	nodes  map[string]route.Node

	dirty map[types.NamespacedName]bool
	// triggers are when the changes of endpoints that are not applied yet came about.
	triggers   map[types.NamespacedName][]time.Time
	started    time.Time
	nodesDirty bool
	// wake holds one token while something is dirty.
	wake chan struct{}
}

func newCatalog(nodeName string) *catalog {
	return &catalog{
		nodeName: nodeName,
		services: map[types.NamespacedName]*corev1.Service{},
		slices:   map[types.NamespacedName][]*discoveryv1.EndpointSlice{},
		owner:    map[types.NamespacedName]types.NamespacedName{},
		nodes:    map[string]route.Node{},
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
	for _, k := range keys {
		c.dirty[k] = true
	}
	c.signal()
}

// release makes dirty again what could not be applied and is to be tried once more.
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

func (c *catalog) setService(s *corev1.Service) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	c.services[key] = s
	c.mark(key)
}

func (c *catalog) deleteService(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.services, key)
	c.mark(key)
}

// setSlice files a slice under its Service. One that names another Service than before is taken from that.
func (c *catalog) setSlice(s *discoveryv1.EndpointSlice) {
	c.mu.Lock()
	defer c.mu.Unlock()
	key := types.NamespacedName{Namespace: s.Namespace, Name: s.Name}
	service := types.NamespacedName{Namespace: s.Namespace, Name: s.Labels[discoveryv1.LabelServiceName]}
	if was, ok := c.owner[key]; ok && was != service {
		c.dropSlice(key)
	}
	if service.Name == "" {
		return
	}
	c.owner[key] = service
	all := c.slices[service]
	at := sliceNamed(all, s.Name)
	if at < 0 || all[at].Annotations[corev1.EndpointsLastChangeTriggerTime] != s.Annotations[corev1.EndpointsLastChangeTriggerTime] {
		c.trigger(service, s)
	}
	if at < 0 {
		c.slices[service] = append(all, s)
	} else {
		all[at] = s
	}
	c.mark(service)
}

func sliceNamed(all []*discoveryv1.EndpointSlice, name string) int {
	return slices.IndexFunc(all, func(s *discoveryv1.EndpointSlice) bool { return s.Name == name })
}

// trigger notes when a change came about, if its author says so and it was not before this process.
func (c *catalog) trigger(service types.NamespacedName, s *discoveryv1.EndpointSlice) {
	at, err := time.Parse(time.RFC3339Nano, s.Annotations[corev1.EndpointsLastChangeTriggerTime])
	if err == nil && at.After(c.started) {
		c.triggers[service] = append(c.triggers[service], at)
	}
}

func (c *catalog) deleteSlice(key types.NamespacedName) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropSlice(key)
}

func (c *catalog) dropSlice(key types.NamespacedName) {
	service, ok := c.owner[key]
	if !ok {
		return
	}
	delete(c.owner, key)
	c.slices[service] = slices.DeleteFunc(c.slices[service], func(s *discoveryv1.EndpointSlice) bool { return s.Name == key.Name })
	if len(c.slices[service]) == 0 {
		delete(c.slices, service)
	}
	c.mark(service)
}

// setNode follows a node. A node is updated every few seconds without any change that matters here.
func (c *catalog) setNode(n *corev1.Node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	is := nodeOf(n)
	was, known := c.nodes[n.Name]
	if known && sameNode(was, is) {
		return
	}
	c.nodes[n.Name] = is
	c.nodesDirty = true
	if n.Name == c.nodeName && was.Zone != is.Zone {
		c.mark(slices.Collect(maps.Keys(c.services))...)
	}
	c.signal()
}

func (c *catalog) deleteNode(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
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

// update is what changed since the last one.
type update struct {
	services map[types.NamespacedName]snapshot
	triggers map[types.NamespacedName][]time.Time
	// nodes are all nodes, nil if none changed.
	nodes []route.Node
	node  route.Node
}

// snapshot is one Service; without an object it is gone.
type snapshot struct {
	service *corev1.Service
	slices  []*discoveryv1.EndpointSlice
}

// all returns every Service as it is now.
func (c *catalog) all() update {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := update{services: make(map[types.NamespacedName]snapshot, len(c.services)), node: c.nodes[c.nodeName]}
	u.node.Name = c.nodeName
	for key, s := range c.services {
		u.services[key] = snapshot{service: s, slices: slices.Clone(c.slices[key])}
	}
	return u
}

// take returns what is dirty and calls it clean.
func (c *catalog) take() update {
	c.mu.Lock()
	defer c.mu.Unlock()
	u := update{services: make(map[types.NamespacedName]snapshot, len(c.dirty)), node: c.nodes[c.nodeName]}
	u.node.Name = c.nodeName // the node may not be registered yet
	for key := range c.dirty {
		u.services[key] = snapshot{service: c.services[key], slices: slices.Clone(c.slices[key])}
	}
	if c.nodesDirty {
		u.nodes = make([]route.Node, 0, len(c.nodes))
		for _, n := range c.nodes {
			u.nodes = append(u.nodes, n)
		}
	}
	u.triggers = c.triggers
	c.triggers = map[types.NamespacedName][]time.Time{}
	clear(c.dirty)
	c.nodesDirty = false
	return u
}
