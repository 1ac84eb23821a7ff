package loadbalancer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
)

// scene is what one node decides from, at one moment: the nodes, who of them is heard, and the configuration.
type scene struct {
	nodes []elect.Node // by name
	// among are the nodes among which flows are divided: the same, but for the deciding one, which always takes part. While it
	// hears nobody it gets nothing; and the others count it in again a moment before or after it does so itself. What they
	// hand to it by then is its own already, or else goes to who has it.
	among []elect.Node
	peers []announce.Peer
	// self is the UID of the deciding node's object.
	self  types.UID
	alive map[string]bool
	cfg   config.Config
	// taken tells whose the addresses are that no Service may have.
	taken  map[netip.Addr]string
	tables *tables
}

// newScene looks at the nodes from the one that is called self.
func newScene(self string, objects []*corev1.Node, view announce.View, gateways []netip.Addr, cfg config.Config) *scene {
	w := &scene{cfg: cfg, alive: map[string]bool{}, taken: map[netip.Addr]string{}, tables: newTables()}
	for _, gw := range gateways {
		w.taken[gw.WithZone("")] = "a gateway of the nodes"
	}
	for _, object := range objects {
		n := elect.FromNode(object)
		n.Alive = heard(self, n.Name, view)
		w.alive[n.Name] = n.Alive
		w.nodes = append(w.nodes, n)
		for _, addr := range n.Addresses {
			w.taken[addr] = "node " + n.Name
		}
		if n.Name == self {
			w.self = object.UID
		} else if len(n.Addresses) > 0 {
			w.peers = append(w.peers, announce.Peer{Name: n.Name, Addresses: n.Addresses})
		}
	}
	slices.SortFunc(w.nodes, func(a, b elect.Node) int { return strings.Compare(a.Name, b.Name) })
	w.among = slices.Clone(w.nodes)
	for i := range w.among {
		w.among[i].Alive = w.among[i].Alive || w.among[i].Name == self
	}
	slices.SortFunc(w.peers, func(a, b announce.Peer) int { return strings.Compare(a.Name, b.Name) })
	return w
}

// heard tells whether a node takes part. One that was not asked yet does: whether it is there shows within three probes,
// and until then nobody else could be said to be. A node that hears nobody is away itself, and the others go on without it:
// what it does with flows must be what they do when it is back.
func heard(self, node string, view announce.View) bool {
	switch {
	case !view.Active:
		return true
	case node == self:
		return view.Self
	case !view.Self:
		return true
	}
	alive, known := view.Peers[node]
	return alive || !known
}

// speaker is the node that tells what is no one node's to tell: the first that is heard.
func (w *scene) speaker() string {
	for i := range w.nodes {
		if w.nodes[i].Alive {
			return w.nodes[i].Name
		}
	}
	if len(w.nodes) > 0 {
		return w.nodes[0].Name
	}
	return ""
}

// toldByBGP tells whether routers are told of a pool's addresses.
func (w *scene) toldByBGP(pool string) bool {
	return len(w.cfg.Peers) > 0 && slices.ContainsFunc(w.cfg.BGP, func(ad config.BGPAdvertisement) bool { return slices.Contains(ad.Pools, pool) })
}

// poolOf is the pool that an address is from, the zero Pool if none has it. The cluster's own pool gives way to others.
func poolOf(pools []config.Pool, addr netip.Addr) config.Pool {
	var found config.Pool
	for _, p := range pools {
		if !slices.ContainsFunc(p.Ranges, func(r config.Range) bool { return r.Contains(addr) }) {
			continue
		}
		if !p.Default {
			return p
		}
		found = p
	}
	return found
}

// tables are the tables of flows of a scene. Services with the same nodes have the same one, and one that stays as it was
// in the scene before is the same there.
type tables struct {
	byInput  map[string]*announce.Table // nil for none
	byNodes  map[string]*announce.Table
	previous map[string]*announce.Table
}

func newTables() *tables {
	return &tables{byInput: map[string]*announce.Table{}, byNodes: map[string]*announce.Table{}}
}

// follow has tables kept that were used in the scene before.
func (t *tables) follow(before *tables) { t.previous = before.byNodes }

// tableInput is what a Service's table depends on, besides the nodes.
func tableInput(s elect.Service) string {
	return fmt.Sprint(s.Local, len(s.Serving), s.Serving, s.Draining) // maps are printed in the order of their keys
}

// table is who serves the flows of a Service; nil if only the node that gets them can.
func (w *scene) table(input string, s elect.Service) *announce.Table {
	t := w.tables
	if table, known := t.byInput[input]; known {
		return table
	}
	c := elect.Choose(s, w.among)
	var table *announce.Table
	if len(c.Nodes) > 0 {
		table = t.of(&c)
	}
	t.byInput[input] = table
	return table
}

func (t *tables) of(c *elect.Choice) *announce.Table {
	nodes := fmt.Sprint(c.Nodes, c.Owns)
	table := t.byNodes[nodes]
	if table == nil {
		table = t.previous[nodes]
	}
	if table == nil {
		buckets := c.Buckets()
		table = &announce.Table{Nodes: c.Nodes, Buckets: make([]announce.Bucket, 0, len(buckets))}
		for _, b := range buckets {
			table.Buckets = append(table.Buckets, announce.Bucket(b))
		}
	}
	t.byNodes[nodes] = table
	return table
}
