package dataplane

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/service/route"
)

// DataPlane is the Service data plane of one node.
type DataPlane struct {
	cfg Config
	log *slog.Logger
	// stale holds one token after a UDP backend was removed, until its sockets were looked for.
	stale chan struct{}

	// mu guards what follows, and the order of attaching and detaching.
	mu         sync.Mutex
	links      *netlink.Handle // in the node's namespace
	routes     *routes
	collection *ebpf.Collection
	settings   settings
	nodes      map[address]node
	reconciler *reconciler
}

var errClosed = errors.New("the data plane is not open")

// New checks the configuration, and that the kernel supports the programs. It changes nothing.
func New(cfg Config) (*DataPlane, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	for _, p := range []ebpf.ProgramType{ebpf.SchedCLS, ebpf.CGroupSockAddr} {
		if err := features.HaveProgramType(p); err != nil {
			return nil, fmt.Errorf("data plane of node %s: the kernel lacks eBPF programs of type %s; Linux 5.18 or newer is needed, with CONFIG_CGROUP_BPF and CONFIG_NET_CLS_ACT: %w", cfg.NodeName, p, err)
		}
	}
	if err := features.HaveMapType(ebpf.SkStorage); err != nil {
		return nil, fmt.Errorf("data plane of node %s: the kernel lacks eBPF socket storage; Linux 5.18 or newer is needed: %w", cfg.NodeName, err)
	}
	return &DataPlane{cfg: cfg, log: cfg.Logger.With("node", cfg.NodeName), stale: make(chan struct{}, 1)}, nil
}

// Open loads the programs and attaches them. What an earlier process pinned is taken over without an interruption: tables
// keep their content, and links get the new programs.
func (d *DataPlane) Open(ctx context.Context) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection != nil {
		return nil
	}
	if err := d.open(ctx); err != nil {
		d.close()
		return fmt.Errorf("open data plane of node %s: %w", d.cfg.NodeName, err)
	}
	return nil
}

func (d *DataPlane) open(ctx context.Context) error {
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	links, err := d.cfg.Netns.Handle()
	if err != nil {
		return err
	}
	d.links = links
	var (
		wg      sync.WaitGroup
		in      injection
		linkErr error
		loadErr error
	)
	// Making the links and loading the programs take the most time, and don't depend on each other.
	wg.Go(func() { in, linkErr = d.ensureInjection() })
	d.collection, loadErr = d.load()
	wg.Wait()
	if err := errors.Join(linkErr, loadErr, ctx.Err()); err != nil {
		return err
	}
	d.reconciler = newReconciler(d.log,
		kernelTable[frontendKey, frontend]{d.collection.Maps["frontends"]},
		kernelTable[slotKey, slot]{d.collection.Maps["slots"]},
		kernelMaglev{d.collection.Maps["maglev"]},
		kernelTable[uint32, backend]{d.collection.Maps["backends"]},
		kernelTable[sourceRange, uint32]{d.collection.Maps["source_ranges"]})
	if err := d.reconciler.adopt(); err != nil {
		return err
	}
	d.nodes = map[address]node{}
	d.nodeTable().each(func(a address, n node) { d.nodes[a] = n })
	d.settings = d.initialSettings(in)
	if d.settings.Netns, err = netnsCookie(d.cfg.Netns); err != nil {
		return err
	}
	if err := reservePorts(d.cfg.Netns); err != nil {
		return err
	}
	low, high, err := masqueradePorts(d.cfg.Netns)
	if err != nil {
		return err
	}
	d.settings.MasqueradeMin, d.settings.MasqueradeCount = low, high-low+1
	d.routes = newRoutes(links, in.route, d.cfg.ipv6(), d.cfg.ServiceCIDRs)
	d.setSelf(d.cfg.NodeIPs)
	if err := d.writeSettings(); err != nil {
		return err
	}
	if err := d.routes.setSources(d.self()); err != nil {
		return err
	}
	if err := d.attach(in); err != nil {
		return err
	}
	return d.pins().RemoveOld()
}

func (d *DataPlane) initialSettings(in injection) settings {
	s := settings{
		Inject:      uint32(in.index),
		NodePortMin: nodePortMin,
		NodePortMax: nodePortMax,
	}
	copy(s.MAC[:], in.mac)
	if d.cfg.AllLinks {
		s.Flags = routedSource
	}
	for i := range s.Services {
		s.Services[i] = noCIDR
	}
	for i, p := range d.cfg.ServiceCIDRs {
		s.Services[i] = cidrOf(p)
	}
	for i, index := range in.uplinks {
		s.Uplinks[i] = uint32(index)
	}
	return s
}

// setSelf takes the first address of each family as the one that masqueraded traffic gets.
func (d *DataPlane) setSelf(addrs []netip.Addr) {
	var self, self6 address
	for _, a := range addrs {
		switch {
		case a.Is4() && self == (address{}):
			self = addressOf(a)
		case a.Is6() && self6 == (address{}):
			self6 = addressOf(a)
		}
	}
	if self != (address{}) {
		d.settings.Self = self
	}
	if self6 != (address{}) {
		d.settings.Self6 = self6
	}
}

// self are the addresses that masqueraded traffic takes.
func (d *DataPlane) self() (out []netip.Addr) {
	for _, a := range []address{d.settings.Self, d.settings.Self6} {
		if a != (address{}) {
			out = append(out, a.Addr())
		}
	}
	return out
}

func (d *DataPlane) writeSettings() error {
	if err := d.collection.Maps["config"].Put(uint32(0), &d.settings); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// Apply replaces the frontends of one Service in the kernel; an empty list removes the Service.
func (d *DataPlane) Apply(ctx context.Context, key types.NamespacedName, desired []route.Frontend) error {
	return d.ApplyAll(ctx, map[types.NamespacedName][]route.Frontend{key: desired})
}

// ApplyAll is Apply for many Services at once, with few system calls. After an error any of them may or may not have been
// applied, and each is to be applied again.
func (d *DataPlane) ApplyAll(ctx context.Context, desired map[types.NamespacedName][]route.Frontend) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return fmt.Errorf("apply Services to node %s: %w", d.cfg.NodeName, errClosed)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := d.widenNodePorts(desired); err != nil {
		return err
	}
	if err := d.reconciler.apply(desired); err != nil {
		return err
	}
	if d.reconciler.takeUDPGone() {
		d.suspectSockets()
	}
	for key, frontends := range desired {
		if err := d.routes.apply(key, frontends); err != nil {
			return fmt.Errorf("apply Service %s: %w", key, err)
		}
	}
	return nil
}

// Holds tells whether these frontends of a Service, and no others, are in the kernel.
func (d *DataPlane) Holds(key types.NamespacedName, frontends []route.Frontend) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.collection != nil && d.reconciler.holds(key, frontends)
}

// widenNodePorts widens the range of ports for which the programs look for a NodePort, if a Service has one outside of it.
func (d *DataPlane) widenNodePorts(desired map[types.NamespacedName][]route.Frontend) error {
	low, high := d.settings.NodePortMin, d.settings.NodePortMax
	for _, fs := range desired {
		for i := range fs {
			if fs[i].Kind == route.NodePort {
				low, high = min(low, fs[i].Port), max(high, fs[i].Port)
			}
		}
	}
	if low == d.settings.NodePortMin && high == d.settings.NodePortMax {
		return nil
	}
	d.settings.NodePortMin, d.settings.NodePortMax = low, high
	return d.writeSettings()
}

// Sweep deletes the entries that an earlier process left and ApplyAll did not take over. It is called once every Service was
// applied.
func (d *DataPlane) Sweep() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return fmt.Errorf("sweep tables of node %s: %w", d.cfg.NodeName, errClosed)
	}
	d.suspectSockets()
	return errors.Join(d.reconciler.sweep(), d.routes.sweep())
}

func (d *DataPlane) nodeTable() kernelTable[address, node] {
	return kernelTable[address, node]{d.collection.Maps["nodes"]}
}

// SetNodes tells the data plane every node of the cluster. Frontends of kind NodePort answer at the addresses of this
// node, which masqueraded traffic takes as well; what goes to another node's address is left to that node. No address of
// any node gets a route to the programs, even if a Service has it as an external IP.
func (d *DataPlane) SetNodes(nodes []route.Node) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return fmt.Errorf("set nodes: node %s: %w", d.cfg.NodeName, errClosed)
	}
	want, addrs := map[address]node{}, map[netip.Addr]bool{}
	for _, n := range nodes {
		for _, a := range n.Addrs {
			addrs[a] = true
			if n.Name != d.cfg.NodeName {
				continue
			}
			flags := uint32(nodeSelf)
			if d.cfg.NodePortsAt != nil && !d.cfg.NodePortsAt(a) {
				flags |= nodeClosed
			}
			want[addressOf(a)] = node{Flags: flags}
		}
		if n.Name == d.cfg.NodeName {
			if err := d.becomeNode(n); err != nil {
				return err
			}
		}
	}
	var w writes[address, node]
	for a, n := range want {
		if have, ok := d.nodes[a]; !ok || have != n {
			w.set(a, n)
		}
	}
	for a := range d.nodes {
		if _, keep := want[a]; !keep {
			w.gone = append(w.gone, a)
		}
	}
	if err := errors.Join(d.nodeTable().put(w.keys, w.values), d.nodeTable().remove(w.gone)); err != nil {
		return fmt.Errorf("set nodes: node %s: %w", d.cfg.NodeName, err)
	}
	d.nodes = want
	return d.routes.setNodes(addrs)
}

// becomeNode takes over changed addresses of the node itself.
func (d *DataPlane) becomeNode(n route.Node) error {
	before := d.settings
	d.setSelf(n.Addrs)
	if d.settings == before {
		return nil
	}
	if err := d.writeSettings(); err != nil {
		return err
	}
	return d.routes.setSources(d.self())
}

// Close closes the programs and tables in this process. They stay pinned, and traffic is served on.
func (d *DataPlane) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.close()
	return nil
}

func (d *DataPlane) close() {
	if d.collection != nil {
		d.collection.Close()
		d.collection = nil
	}
	if d.links != nil {
		d.links.Close()
		d.links = nil
	}
	d.reconciler, d.routes = nil, nil
}

// Flows is the table of the connections that the node translates, by the tuple of struct tuple in bpf/maps.h, for others
// that have to know whether a packet belongs to one; nil while the data plane is closed. It is not to be written or closed.
func (d *DataPlane) Flows() *ebpf.Map {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.collection == nil {
		return nil
	}
	return d.collection.Maps["flows"]
}
