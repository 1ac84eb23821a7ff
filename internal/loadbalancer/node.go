package loadbalancer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"
	coreinformers "k8s.io/client-go/informers/core/v1"
	"k8s.io/client-go/tools/cache"

	"minato/internal/host"
	"minato/internal/loadbalancer/announce"
	"minato/internal/loadbalancer/bgp"
	"minato/internal/loadbalancer/config"
)

// Objects are the cluster's Services and EndpointSlices, as this process knows them.
type Objects interface {
	// Follow calls changed for every Service that exists, and then for each one that changes, by itself or by a slice that
	// names it. It was called for all that existed once everything of synced is done.
	Follow(changed func(service types.NamespacedName, triggered time.Time)) (synced []cache.DoneChecker, stop func(), err error)
	// Service returns a Service, nil if there is none, and the slices that name it.
	Service(key types.NamespacedName) (*corev1.Service, []*discoveryv1.EndpointSlice)
}

// NodeConfig says what one node announces addresses with.
type NodeConfig struct {
	Name string
	// Netns is the node's network namespace, Uplinks its interfaces towards the outside.
	Netns   host.Netns
	Uplinks []string
	// PinDir is a directory of a bpf file system, for this node's announcements alone.
	PinDir string
	// Addresses are the node's own and Gateways those of its routers, one of each IP family.
	Addresses, Gateways []netip.Addr
	// Flows are the flows that the node's Service data plane knows; nil if something else serves Services. It is called
	// when the programs are loaded.
	Flows announce.Flows
	// Expiry is how long the node goes on after the end of its process, until other nodes take over; 0 is for ever.
	Expiry time.Duration

	// Objects and Nodes are what the cluster has, Settings the configuration; whoever owns them runs them.
	Objects  Objects
	Nodes    coreinformers.NodeInformer
	Settings *Settings
	// Speaker tells BGP peers of addresses; nil for none. Whoever owns it runs it. Passwords reads the passwords of peers that
	// are in Secrets; nil if no peer can have one.
	Speaker   bgp.Speaker
	Passwords Passwords
	// Silent is told which other nodes are not heard, all of them, when that has changed; it may be nil and must not block.
	Silent func(nodes map[string]bool)
	// Serves tells whether a load balancer class is ours; nil for Class and for Services without a class.
	Serves func(class *string) bool
	// Events and Reports may be nil; whoever owns them runs them. All nodes of a process may share them.
	Events  Events
	Reports *Reports
	Logger  *slog.Logger
}

// Node is all that one node needs to announce addresses: programs at its uplinks, and the loop that decides what they do.
type Node struct {
	cfg     NodeConfig
	log     *slog.Logger
	changes *nodeChanges
	decider *decider
	// announcer is the one of the decider's uplinks.
	announcer announcer
	// peering is nil without a speaker.
	peering *peering
}

// ProbePort is the UDP port of the probes between nodes.
const ProbePort = announce.DefaultProbePort

// NewNode puts the parts together. It changes nothing on the machine.
func NewNode(cfg NodeConfig) (*Node, error) {
	switch {
	case cfg.Name == "":
		return nil, errors.New("announcements of load balancing: Name is required")
	case cfg.Objects == nil || cfg.Nodes == nil || cfg.Settings == nil:
		return nil, fmt.Errorf("announcements of node %s: Objects, Nodes and Settings are required", cfg.Name)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Events == nil {
		cfg.Events = noEvents{}
	}
	if cfg.Serves == nil {
		cfg.Serves = Serves
	}
	return newNode(cfg, func(c announce.Config) (announcer, error) { return announce.New(c) })
}

// newNode has the announcer made by another.
func newNode(cfg NodeConfig, makeAnnouncer func(announce.Config) (announcer, error)) (*Node, error) {
	n := &Node{cfg: cfg, log: cfg.Logger, changes: newNodeChanges()}
	announcer, err := makeAnnouncer(announce.Config{
		NodeName: cfg.Name, Netns: cfg.Netns, Links: cfg.Uplinks, Addresses: cfg.Addresses, PinDir: cfg.PinDir,
		Flows: cfg.Flows, Expiry: cfg.Expiry, Gateways: cfg.Gateways, OnView: n.viewed, OnConflict: n.changes.conflict, Logger: cfg.Logger,
	})
	if err != nil {
		return nil, err
	}
	n.announcer = announcer
	n.decider = &decider{
		node: cfg.Name, objects: cfg.Objects, nodes: n.listNodes, serves: cfg.Serves, events: cfg.Events, reports: noReports{},
		gateways: cfg.Gateways, interfaces: cfg.Uplinks, now: time.Now,
		configuration: func() config.Config { c, _ := cfg.Settings.Current(); return c },
		uplinks:       &uplinks{announcer: announcer, pins: cfg.PinDir},
	}
	if cfg.Reports != nil {
		n.decider.reports = cfg.Reports
	}
	n.decider.reset()
	if cfg.Speaker != nil {
		n.peering = newPeering(cfg, n.decider.snapshot, n.decider.reports)
	}
	return n, nil
}

// viewed notes who is heard.
func (n *Node) viewed(v announce.View) {
	n.changes.alive(v)
	if n.cfg.Silent == nil {
		return
	}
	silent := map[string]bool{}
	for name, alive := range v.Peers {
		if v.Active && !alive {
			silent[name] = true
		}
	}
	n.cfg.Silent(silent)
}

// Serves tells whether a load balancer class is ours: Class, or none.
func Serves(class *string) bool { return class == nil || *class == Class }

// Run announces addresses and hands flows on until ctx ends. What it brought into the kernel stays and goes on; the next
// Run takes it over. As long as no Service has an address, there is nothing in the kernel.
func (n *Node) Run(ctx context.Context) error {
	stop, synced, err := n.follow()
	if err != nil {
		return fmt.Errorf("announcements of node %s: %w", n.cfg.Name, err)
	}
	defer stop()
	if n.cfg.Silent != nil {
		defer n.cfg.Silent(nil) // nobody listens any more
	}
	// An address that is announced before everything is known might be another node's.
	if !cache.WaitFor(ctx, "", synced...) {
		return nil
	}
	select {
	case <-ctx.Done():
		return nil
	case <-n.cfg.Settings.Synced():
	}
	g, ctx := errgroup.WithContext(ctx)
	n.changes.begin()
	if err := n.decider.start(ctx, g); err != nil {
		n.complain(err)
	}
	if n.peering != nil {
		g.Go(func() error { return n.peering.run(ctx) })
	}
	g.Go(func() error {
		n.awaitView(ctx)
		n.follows(ctx)
		return nil
	})
	return errors.Join(g.Wait(), n.decider.uplinks.close())
}

// viewTimeout bounds how long what an earlier process left stays as it is.
const viewTimeout = time.Second

// awaitView waits until it is known who is heard, where an earlier process has left something: it may have announced the
// addresses of a dead node, which must not be silent until that is found out again.
func (n *Node) awaitView(ctx context.Context) {
	timer := time.NewTimer(viewTimeout)
	defer timer.Stop()
	for {
		peers, wait := n.decider.takenOver()
		if !wait || n.changes.knows(peers) {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case <-n.changes.wake:
		}
	}
}

// follows keeps the uplinks in step until ctx ends.
func (n *Node) follows(ctx context.Context) {
	for ctx.Err() == nil {
		if err := n.decider.step(n.changes.take()); err != nil && ctx.Err() == nil {
			n.complain(err)
		}
		if n.peering != nil {
			n.peering.changed()
		}
		var due <-chan time.Time
		if at := n.decider.later(); !at.IsZero() {
			due = time.After(time.Until(at))
		}
		select {
		case <-ctx.Done():
		case <-n.changes.wake:
		case <-due:
		}
	}
}

// Withdraw tells BGP peers that the node's routes are gone, and has nothing told to them any more: the node goes away. Run
// may go on.
func (n *Node) Withdraw(ctx context.Context) error {
	if n.peering == nil {
		return nil
	}
	if err := n.peering.withdraw(ctx); err != nil {
		return fmt.Errorf("withdraw the BGP routes of node %s: %w", n.cfg.Name, err)
	}
	return nil
}

func (n *Node) complain(err error) {
	n.log.Error("What the node does for addresses of Services is not up to date, which is tried again", "node", n.cfg.Name, "error", err)
}

// follow has every change noted.
func (n *Node) follow() (stop func(), synced []cache.DoneChecker, err error) {
	synced, stopObjects, err := n.cfg.Objects.Follow(func(key types.NamespacedName, _ time.Time) { n.changes.service(key) })
	if err != nil {
		return nil, nil, err
	}
	nodes := n.cfg.Nodes.Informer()
	ofNodes, err := nodes.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { n.changes.everything() },
		UpdateFunc: func(was, is any) { n.nodeChanged(was, is) },
		DeleteFunc: func(any) { n.changes.everything() },
	})
	if err != nil {
		stopObjects()
		return nil, nil, fmt.Errorf("follow Nodes: %w", err)
	}
	stopSettings := n.cfg.Settings.Follow(n.changes.everything)
	stop = func() {
		stopObjects()
		stopSettings()
		_ = nodes.RemoveEventHandler(ofNodes) // it fails only if the informer has stopped
	}
	return stop, append(synced, ofNodes.HasSyncedChecker()), nil
}
