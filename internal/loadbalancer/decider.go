package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/config"
	"minato/internal/loadbalancer/elect"
)

// scene is what one node decides from, at one moment.
type scene struct {
	nodes []elect.Node // by name
	cfg   config.Config
	// serving are the nodes' tables of flows that were made of this scene already, by their input.
	tables map[string]*announce.Table
}

// served is a Service as a node last decided about it.
type served struct {
	service *corev1.Service
	elect   elect.Service
	// winners are who announces each address.
	winners map[netip.Addr]string
}

// decider brings what package elect decides to the uplinks of one node.
type decider struct {
	node    string
	objects Objects
	nodes   func() []*corev1.Node
	// configuration is what Settings have.
	configuration func() config.Config
	serves        func(class *string) bool
	uplinks       *uplinks
	events        Events
	now           func() time.Time
	log           *slog.Logger

	// mu guards what follows for Explain; the loop of the node alone changes it.
	mu       sync.Mutex
	scene    *scene
	view     announce.View
	services map[types.NamespacedName]*served
	// holders are the Services that have an address.
	holders map[netip.Addr]map[types.NamespacedName]struct{}
	// yielded are addresses that this node leaves to another until a time, because that node announces them too.
	yielded map[netip.Addr]time.Time
	// settled says that what existed at the start was decided. An address that appears later is new to the network.
	settled bool
}

// yieldFor is how long a node leaves an address to another one that announces it, too. By then they hear each other, or
// one of them is gone.
const yieldFor = 5 * time.Second

// reset forgets everything.
func (d *decider) reset() {
	d.scene, d.settled = &scene{}, false
	d.services = map[types.NamespacedName]*served{}
	d.holders = map[netip.Addr]map[types.NamespacedName]struct{}{}
	d.yielded = map[netip.Addr]time.Time{}
}

// start begins anew.
func (d *decider) start(ctx context.Context, group *errgroup.Group) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.reset()
	d.uplinks.start(ctx, group)
}

// later tells when a yield ends, so that the address is looked at again.
func (d *decider) later() <-chan time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	var first time.Time
	for _, until := range d.yielded {
		if first.IsZero() || until.Before(first) {
			first = until
		}
	}
	if first.IsZero() {
		return nil
	}
	return time.After(first.Sub(d.now()))
}

// step decides about the Services that changed, or about all. Those that it could not write are named in its error.
func (d *decider) step(n noted) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	look := map[types.NamespacedName]struct{}{}
	if n.all {
		d.view = n.view
		errs = append(errs, d.refresh())
	}
	for key := range n.services {
		before := d.addresses(key)
		d.note(key)
		// Who announces a shared address depends on all that have it.
		for _, a := range append(before, d.addresses(key)...) {
			for sharer := range d.holders[a] {
				look[sharer] = struct{}{}
			}
		}
		look[key] = struct{}{}
	}
	for _, c := range n.conflicts {
		for _, key := range d.conflict(c) {
			look[key] = struct{}{}
		}
	}
	if n.all {
		for key := range d.services {
			look[key] = struct{}{}
		}
	}
	for key := range look {
		if err := d.decide(key); err != nil {
			errs = append(errs, fmt.Errorf("service %s: %w", key, err))
		}
	}
	err := errors.Join(errs...)
	if err == nil && n.all {
		d.settled = true
		err = d.uplinks.sweep()
	}
	return err
}

// conflict answers a claim of an address by somebody else: between nodes of the cluster, the one that is behind in the
// election yields, and the other one announces anew. It returns the Services to decide about.
func (d *decider) conflict(c announce.Conflict) []types.NamespacedName {
	var holders []types.NamespacedName
	for key := range d.holders[c.Addr] {
		holders = append(holders, key)
	}
	slices.SortFunc(holders, compareKeys)
	if len(holders) == 0 {
		return nil
	}
	s := d.services[holders[0]]
	if c.Peer == "" {
		for _, key := range holders {
			d.events.Event(SourceSpeaker, reference(d.services[key].service), corev1.EventTypeWarning, "addressConflict",
				fmt.Sprintf("%s is also used by a machine with the hardware address %s on the network of %s; give the machine another address, or take this one out of its pool", c.Addr, c.MAC, d.node))
		}
		return nil
	}
	a := elect.Announce(d.shared(s, c.Addr), c.Addr, d.scene.nodes, d.scene.cfg.L2, poolOf(d.scene.cfg.Pools, s.elect.Addresses).Default)
	if elect.Yields(a, d.node, c.Peer) {
		d.yielded[c.Addr] = d.now().Add(yieldFor)
		return holders
	}
	if a.Node == d.node {
		d.uplinks.reannounce(c.Addr)
	}
	return nil
}

// refresh takes in the nodes, who of them is alive, and the configuration.
func (d *decider) refresh() error {
	w := &scene{cfg: d.configuration(), tables: map[string]*announce.Table{}}
	var peers []announce.Peer
	for _, object := range d.nodes() {
		n := elect.FromNode(object)
		n.Alive = d.alive(n.Name)
		w.nodes = append(w.nodes, n)
		if n.Name != d.node && len(n.Addresses) > 0 {
			peers = append(peers, announce.Peer{Name: n.Name, Addresses: n.Addresses})
		}
	}
	slices.SortFunc(w.nodes, func(a, b elect.Node) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(peers, func(a, b announce.Peer) int { return strings.Compare(a.Name, b.Name) })
	d.scene = w
	return d.uplinks.setPeers(peers)
}

// alive tells whether a node takes part. One that was not asked yet is taken to be alive: whether it is shows within
// three probes, and until then nobody else could be said to be.
func (d *decider) alive(node string) bool {
	if !d.view.Active {
		return true
	}
	if node == d.node {
		return d.view.Self
	}
	alive, known := d.view.Peers[node]
	return alive || !known
}

// addresses are those that a Service had when it was noted last.
func (d *decider) addresses(key types.NamespacedName) []netip.Addr {
	if s := d.services[key]; s != nil {
		return s.elect.Addresses
	}
	return nil
}

// note takes in the present state of a Service.
func (d *decider) note(key types.NamespacedName) {
	was := d.services[key]
	if was != nil {
		for _, a := range was.elect.Addresses {
			delete(d.holders[a], key)
			if len(d.holders[a]) == 0 {
				delete(d.holders, a)
			}
		}
	}
	service, slices := d.objects.Service(key)
	if service == nil || service.Spec.Type != corev1.ServiceTypeLoadBalancer || !d.serves(service.Spec.LoadBalancerClass) {
		if was != nil {
			was.service, was.elect = nil, elect.Service{Key: key}
		}
		return
	}
	is := &served{service: service, elect: elect.FromService(service, slices, ""), winners: map[netip.Addr]string{}}
	if was != nil {
		is.winners = was.winners
	}
	for _, a := range is.elect.Addresses {
		if d.holders[a] == nil {
			d.holders[a] = map[types.NamespacedName]struct{}{}
		}
		d.holders[a][key] = struct{}{}
	}
	d.services[key] = is
}

// decide brings what a Service needs to the uplinks.
func (d *decider) decide(key types.NamespacedName) error {
	s := d.services[key]
	if s == nil {
		return nil
	}
	if s.service == nil {
		if err := d.uplinks.apply(key.String(), announce.Service{}); err != nil {
			return err
		}
		delete(d.services, key)
		return nil
	}
	p := poolOf(d.scene.cfg.Pools, s.elect.Addresses)
	s.elect.Pool = p.Name
	var want announce.Service
	winners := map[netip.Addr]string{}
	for _, addr := range s.elect.Addresses {
		a := d.elect(s, addr, p)
		winners[addr] = a.Node
		_, had := s.winners[addr]
		want.Addresses = append(want.Addresses, announce.Address{
			Addr: addr, Answer: a.Node == d.node, Links: a.Interfaces, Probe: d.settled && !had,
		})
	}
	want.Spread = d.spread(s)
	if err := d.uplinks.apply(key.String(), want); err != nil {
		return err
	}
	d.tell(s, winners)
	s.winners = winners
	return nil
}

// elect decides who announces an address. A node that yielded to another is no candidate for a while.
func (d *decider) elect(s *served, addr netip.Addr, p config.Pool) elect.Announcement {
	a := elect.Announce(d.shared(s, addr), addr, d.scene.nodes, d.scene.cfg.L2, p.Default)
	if until, yields := d.yielded[addr]; yields && a.Node == d.node {
		if d.now().Before(until) && a.Next() != "" {
			a.Node = a.Next()
		} else {
			delete(d.yielded, addr)
		}
	}
	return a
}

// shared is a Service as the election of an address has to see it.
func (d *decider) shared(s *served, addr netip.Addr) elect.Service {
	return s.elect.WithSharers(d.sharers(s.elect.Key, addr)...)
}

// sharers are the other Services that have an address, by name.
func (d *decider) sharers(key types.NamespacedName, addr netip.Addr) []elect.Service {
	if len(d.holders[addr]) < 2 {
		return nil
	}
	var out []elect.Service
	for other := range d.holders[addr] {
		if other != key {
			out = append(out, d.services[other].elect)
		}
	}
	slices.SortFunc(out, func(a, b elect.Service) int { return compareKeys(a.Key, b.Key) })
	return out
}

// spread says who serves the flows to each port of a Service.
func (d *decider) spread(s *served) []announce.Spread {
	if len(s.elect.Addresses) == 0 {
		return nil
	}
	table := d.table(s.elect)
	if table == nil {
		return nil
	}
	var out []announce.Spread
	for _, addr := range s.elect.Addresses {
		for _, p := range s.service.Spec.Ports {
			protocol, ok := protocols[p.Protocol]
			if !ok || p.Port < 1 || p.Port > 65535 {
				continue // the data plane doesn't serve it either
			}
			out = append(out, announce.Spread{Addr: addr, Port: uint16(p.Port), Protocol: protocol, ByClient: s.elect.Affinity, Table: table})
		}
	}
	return out
}

// protocols are those whose flows are handed on.
var protocols = map[corev1.Protocol]announce.Protocol{"": announce.TCP, corev1.ProtocolTCP: announce.TCP, corev1.ProtocolUDP: announce.UDP}

// table is who serves the flows of a Service; nil if only the node that gets them can. Services with the same nodes have
// the same one.
func (d *decider) table(s elect.Service) *announce.Table {
	input := fmt.Sprint(s.Local, len(s.Serving), s.Serving, s.Draining) // maps are printed in the order of their keys
	if t, known := d.scene.tables[input]; known {
		return t
	}
	spreading := elect.Spread(s, d.scene.nodes)
	var t *announce.Table
	if len(spreading.Buckets) > 0 {
		t = &announce.Table{Nodes: spreading.Nodes, Buckets: make([]announce.Bucket, 0, len(spreading.Buckets))}
		for _, b := range spreading.Buckets {
			t.Buckets = append(t.Buckets, announce.Bucket(b))
		}
	}
	d.scene.tables[input] = t
	return t
}

// poolOf is the pool that addresses are from, the zero Pool if none has them. The cluster's own pool gives way to others.
func poolOf(pools []config.Pool, addresses []netip.Addr) config.Pool {
	var found config.Pool
	for _, p := range pools {
		if len(addresses) == 0 || !slices.ContainsFunc(p.Ranges, func(r config.Range) bool { return r.Contains(addresses[0]) }) {
			continue
		}
		if !p.Default {
			return p
		}
		found = p
	}
	return found
}

// tell says in an event that this node announces a Service now.
func (d *decider) tell(s *served, winners map[netip.Addr]string) {
	for addr, winner := range winners {
		if winner != d.node || s.winners[addr] == d.node {
			continue
		}
		d.events.Event(SourceSpeaker, reference(s.service), corev1.EventTypeNormal, "nodeAssigned",
			fmt.Sprintf("announcing from node %q with protocol %q", d.node, "layer2"))
		return
	}
}
