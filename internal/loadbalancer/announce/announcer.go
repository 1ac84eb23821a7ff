package announce

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/rlimit"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"minato/internal/host/bpf"
)

// The programs run before those of the Service data plane, which would translate what belongs to another node.
var classifiers = map[string]bpf.Classifier{
	program4: {Name: "minato-announce", Handle: 0x6d61, Priority: 1, Protocol: unix.ETH_P_ALL},
	program6: {Name: "minato-announce", Handle: 0x6d61, Priority: 2, Protocol: unix.ETH_P_IPV6},
}

const (
	probeInterval = 50 * time.Millisecond
	probeMisses   = 3
	holdDown      = 3 * time.Second
)

// Announcer announces addresses at one node.
type Announcer struct {
	cfg Config
	log *slog.Logger
	// wake holds one token when there is something new for Run.
	wake chan struct{}

	// mu guards what follows.
	mu         sync.Mutex
	handle     *netlink.Handle // in the node's namespace
	wire       *wire
	groups     *groups
	collection *ebpf.Collection
	settings   settings
	uplinks    map[string]*uplink
	tables
	services map[string]*heldService
	addrs    map[netip.Addr]*addressState
	probed   map[netip.Addr]string // the peers, by the addresses where they are probed
	schedule *schedule
	liveness *liveness
	// watching says that the gateways' addresses are marked in the kernel.
	watching bool
}

// tables are those in the kernel.
type tables struct {
	addresses mirror[address, addressEntry]
	links     mirror[uint32, linkEntry]
	peerAddrs mirror[address, peerEntry]
	spreads   mirror[spreadKey, spreadEntry]
	owners    map[spreadKey]string // the Service of each entry in spreads
	hosts     hosts
	buckets   buckets
}

var errClosed = errors.New("announcing is not open")

// New checks the configuration, and that the kernel supports the programs. It changes nothing.
func New(cfg Config) (*Announcer, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if err := features.HaveProgramType(ebpf.SchedCLS); err != nil {
		return nil, fmt.Errorf("announcing of node %s: the kernel lacks eBPF programs of type %s; Linux 5.18 or newer is needed, with CONFIG_NET_CLS_ACT: %w", cfg.NodeName, ebpf.SchedCLS, err)
	}
	if err := features.HaveMapType(ebpf.RingBuf); err != nil {
		return nil, fmt.Errorf("announcing of node %s: the kernel lacks eBPF ring buffers; Linux 5.18 or newer is needed: %w", cfg.NodeName, err)
	}
	return &Announcer{cfg: cfg, log: cfg.Logger.With("node", cfg.NodeName), wake: make(chan struct{}, 1)}, nil
}

// Open loads the programs and attaches them to the uplinks. What an earlier process pinned is taken over without an
// interruption: tables keep their content, until Sweep deletes what Apply did not repeat.
func (a *Announcer) Open(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.collection != nil {
		return nil
	}
	if err := a.open(ctx); err != nil {
		a.close()
		return fmt.Errorf("open announcing of node %s: %w", a.cfg.NodeName, err)
	}
	return nil
}

func (a *Announcer) open(ctx context.Context) (err error) {
	if err := rlimit.RemoveMemlock(); err != nil {
		return fmt.Errorf("lift the limit of locked memory: %w", err)
	}
	if a.handle, err = a.cfg.Netns.Handle(); err != nil {
		return err
	}
	if a.wire, err = openWire(a.cfg.Netns); err != nil {
		return err
	}
	if a.groups, err = openGroups(a.cfg.Netns); err != nil {
		return err
	}
	a.settings = settings{}
	if a.collection, err = a.load(); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	a.services, a.addrs = map[string]*heldService{}, map[netip.Addr]*addressState{}
	a.schedule, a.liveness = newSchedule(), newLiveness(probeMisses, holdDown)
	a.liveness.gateways = len(a.cfg.Gateways) > 0
	a.probed, a.watching = nil, false
	if err := a.adopt(); err != nil {
		return err
	}
	if err := a.findUplinks(); err != nil {
		return err
	}
	if err := a.openSettings(); err != nil {
		return err
	}
	if err := a.setBase(); err != nil {
		return err
	}
	for _, u := range a.uplinks {
		if err := a.attach(u); err != nil {
			return err
		}
	}
	return a.pins().RemoveOld()
}

// adopt reads the tables.
func (a *Announcer) adopt() error {
	m := a.collection.Maps
	a.tables = tables{
		addresses: mirror[address, addressEntry]{name: "addresses", m: m["addresses"], clean: func(e addressEntry) addressEntry { e.Told = 0; return e }},
		links:     mirror[uint32, linkEntry]{name: "links", m: m["links"]},
		peerAddrs: mirror[address, peerEntry]{name: "peers", m: m["peers"], clean: func(e peerEntry) peerEntry { e.MAC = mac{}; return e }},
		spreads:   mirror[spreadKey, spreadEntry]{name: "spreads", m: m["spreads"]},
		owners:    map[spreadKey]string{},
		hosts:     hosts{self: a.cfg.NodeName, table: mirror[uint32, hostEntry]{name: "hosts", m: m["hosts"]}},
		buckets:   buckets{m: m["tables"]},
	}
	err := errors.Join(a.addresses.adopt(), a.links.adopt(), a.peerAddrs.adopt(), a.spreads.adopt(), a.hosts.adopt(), a.buckets.adopt())
	for _, e := range a.spreads.have {
		a.buckets.use(e.Table, 1)
	}
	return err
}

// openSettings keeps an earlier process's silence until it is known who is heard.
func (a *Announcer) openSettings() error {
	var before settings
	if err := a.collection.Maps["config"].Lookup(uint32(0), &before); err != nil {
		return fmt.Errorf("read settings: %w", err)
	}
	a.settings.Flags |= before.Flags & configSilent
	now, err := sinceBoot()
	if err != nil {
		return err
	}
	if before.Expires != 0 && before.Expires < now {
		// Other nodes have taken over, and go on until this one was heard for a while.
		a.settings.Flags |= configSilent
		a.liveness.away = true
	}
	a.setExpiry(now)
	binary.BigEndian.PutUint16(a.settings.ProbePort[:], a.cfg.ProbePort)
	return a.writeSettings()
}

// setExpiry sets how long the programs go on from now, which is in nanoseconds since boot.
func (a *Announcer) setExpiry(now uint64) {
	if a.settings.Expires = 0; a.cfg.Expiry > 0 {
		a.settings.Expires = now + uint64(a.cfg.Expiry)
	}
}

// sinceBoot is the programs' clock, in nanoseconds.
func sinceBoot() (uint64, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC_COARSE, &t); err != nil {
		return 0, fmt.Errorf("read the clock: %w", err)
	}
	return uint64(t.Nano()), nil
}

func (a *Announcer) writeSettings() error {
	if err := a.collection.Maps["config"].Put(uint32(0), &a.settings); err != nil {
		return fmt.Errorf("write settings: %w", err)
	}
	return nil
}

// setBase marks the node's own addresses, and those that were its own no longer.
func (a *Announcer) setBase() error {
	var errs []error
	for k, e := range a.addresses.have {
		if e.Flags &= addressOwned | addressAnswer | addressSpread; e.Flags == 0 {
			if a.base(k.Addr()) == 0 {
				errs = append(errs, a.addresses.remove(k))
			}
			continue
		}
		e.Flags |= a.base(k.Addr())
		errs = append(errs, a.addresses.set(k, e))
	}
	for _, addr := range a.cfg.Addresses {
		e := a.addresses.have[addressOf(addr)]
		e.Flags |= a.base(addr)
		errs = append(errs, a.addresses.set(addressOf(addr), e))
	}
	return errors.Join(errs...)
}

// base are the flags that an address has without any Service.
func (a *Announcer) base(addr netip.Addr) (flags uint32) {
	for _, own := range a.cfg.Addresses {
		if own == addr {
			flags |= addressSelf
		}
	}
	for _, gw := range a.cfg.Gateways {
		if gw == addr && a.watching {
			flags |= addressGateway
		}
	}
	return flags
}

// Close closes the programs and tables in this process. They stay pinned, and addresses are answered on.
func (a *Announcer) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.close()
	return nil
}

func (a *Announcer) close() {
	if a.collection != nil {
		a.collection.Close()
		a.collection = nil
	}
	if a.groups != nil {
		a.groups.close()
		a.groups = nil
	}
	if a.wire != nil {
		a.wire.close()
		a.wire = nil
	}
	if a.handle != nil {
		a.handle.Close()
		a.handle = nil
	}
}

// wakeUp has Run look for what is new.
func (a *Announcer) wakeUp() {
	select {
	case a.wake <- struct{}{}:
	default:
	}
}
