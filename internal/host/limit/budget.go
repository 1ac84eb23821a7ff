package limit

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"syscall"
)

// Config describes a Budget.
type Config struct {
	// Descriptors is how many files the process may have open; zero asks the
	// kernel for the process's RLIMIT_NOFILE.
	Descriptors uint64
	// Machine are the addresses by which the machine itself reaches its nodes. Its
	// loopback addresses need not be listed; see Listener.Machine.
	Machine []netip.Prefix
	// Nodes are the addresses of the nodes, which Pods with hostNetwork have as
	// well.
	Nodes []netip.Prefix
	// Hosts are IPv6 ranges in which each address is a source of its own, such as
	// the Pod ranges. Elsewhere a /64 is one source, because whoever has one
	// address of a /64 usually has all of them.
	Hosts []netip.Prefix
	// Logger is told when connections are refused.
	Logger *slog.Logger
}

// Bounds of a Budget where descriptors are plenty. Each connection costs some
// 50 KiB with its TLS state, so these bound memory as well.
const (
	maxMachine   = 2048
	maxNodes     = 2048
	maxOthers    = 8192
	maxPerSource = 1024 // of a source that is neither the machine nor a node

	minReserve     = 512
	minDescriptors = 1024
)

// Budget bounds the connections that all listeners of a process hold together.
type Budget struct {
	cfg     Config
	reserve int

	mu      sync.Mutex
	machine share
	nodes   share
	others  share
	refused uint64
}

// share is the part of the budget that one kind of source has.
type share struct {
	limit, perSource int
	open             int
	sources          map[source]int
}

func newShare(limit, perSource int) share {
	return share{limit: limit, perSource: perSource, sources: map[source]int{}}
}

// source is what is counted as one client.
type source netip.Prefix

// New splits the descriptors of the process into a reserve and the shares of
// the listeners.
func New(cfg Config) (*Budget, error) {
	if cfg.Descriptors == 0 {
		var limit syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
			return nil, fmt.Errorf("read the limit of open files (RLIMIT_NOFILE): %w", err)
		}
		cfg.Descriptors = limit.Cur
	}
	// Go's runtime lowers the soft limit by one; see package syscall.
	if cfg.Descriptors < minDescriptors-1 {
		return nil, fmt.Errorf("the process may have only %d files open; raise the limit (ulimit -n, or LimitNOFILE= of its systemd unit) to %d or more", cfg.Descriptors, minDescriptors)
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	reserve, machine, nodes, others := split(int(min(cfg.Descriptors, 1<<30)))
	return &Budget{
		cfg: cfg, reserve: reserve,
		machine: newShare(machine, machine/2), nodes: newShare(nodes, nodes/4), others: newShare(others, min(others/4, maxPerSource)),
	}, nil
}

// OrDefault returns b, or for nil a Budget of its own for a part of a process
// that shares none with the other parts.
func (b *Budget) OrDefault(logger *slog.Logger) (*Budget, error) {
	if b != nil {
		return b, nil
	}
	return New(Config{Logger: logger})
}

// split says how many descriptors are kept for the store, for containers and for
// the connections that the process itself opens, and how many connections of each
// kind of source may be open. A connection may need a second descriptor, such as
// a log file or a connection to a node, so the shares together take half of what
// the reserve leaves.
func split(descriptors int) (reserve, machine, nodes, others int) {
	reserve = max(descriptors/4, minReserve)
	part := (descriptors - reserve) / 8
	return reserve, min(part, maxMachine), min(part, maxNodes), min(2*part, maxOthers)
}

// State is what a Budget holds at one moment.
type State struct {
	// Descriptors is how many files the process may have open, and Reserve how
	// many of these no connection may take.
	Descriptors, Reserve int
	// Machine, Nodes and Others are the open connections of the three kinds of
	// source, and the limits are the most that may be open.
	Machine, MachineLimit int
	Nodes, NodesLimit     int
	Others, OthersLimit   int
	// Refused counts the connections that were reset at a bound.
	Refused uint64
}

// State returns the present counts.
func (b *Budget) State() State {
	b.mu.Lock()
	defer b.mu.Unlock()
	return State{
		Descriptors: int(min(b.cfg.Descriptors, 1<<30)), Reserve: b.reserve,
		Machine: b.machine.open, MachineLimit: b.machine.limit,
		Nodes: b.nodes.open, NodesLimit: b.nodes.limit,
		Others: b.others.open, OthersLimit: b.others.limit, Refused: b.refused,
	}
}

// Why a connection is refused.
var (
	errTotal       = errors.New("the process has as many connections open as it may")
	errSource      = errors.New("the source has as many connections open as it may")
	errGroup       = errors.New("the listener has as many connections open as it may")
	errGroupSource = errors.New("the source has as many connections to the listener open as it may")
)

// enter counts a connection in, or says at which bound it is refused.
func (b *Budget) enter(g *group, from net.Addr, to net.Addr) (leave func(), err error) {
	src, s := b.classify(g, from, to)
	b.mu.Lock()
	defer b.mu.Unlock()
	bounded := s == &b.others // by the group as well
	switch {
	case s.open >= s.limit:
		err = errTotal
	case s.sources[src] >= s.perSource:
		err = errSource
	case bounded && g.open >= g.cfg.Total:
		err = errGroup
	case bounded && g.sources[src] >= g.cfg.PerSource:
		err = errGroupSource
	}
	if err != nil {
		b.refused++
		return nil, err
	}
	s.enter(src)
	if bounded {
		g.enter(src)
	}
	var once sync.Once
	return func() {
		once.Do(func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			s.leave(src)
			if bounded {
				g.leave(src)
			}
		})
	}, nil
}

func (s *share) enter(src source) {
	s.open++
	s.sources[src]++
}

func (s *share) leave(src source) {
	s.open--
	if s.sources[src]--; s.sources[src] <= 0 {
		delete(s.sources, src)
	}
}

// classify tells which source a connection comes from, and which share that takes
// from.
func (b *Budget) classify(g *group, from, to net.Addr) (source, *share) {
	ip := addressOf(from)
	local := ip.IsLoopback() || ip == addressOf(to)
	s := &b.others
	switch {
	case !ip.IsValid(): // a Unix socket, whose file has its own permissions
		return source{}, &b.machine
	case local && g.cfg.Machine, contains(b.cfg.Machine, ip):
		s = &b.machine
	case local, contains(b.cfg.Nodes, ip):
		s = &b.nodes
	}
	bits := ip.BitLen()
	if ip.Is6() && s == &b.others && !contains(b.cfg.Hosts, ip) {
		bits = 64
	}
	return source(netip.PrefixFrom(ip, bits).Masked()), s
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if p.Contains(ip) {
			return true
		}
	}
	return false
}

func addressOf(a net.Addr) netip.Addr {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || tcp == nil {
		return netip.Addr{}
	}
	return tcp.AddrPort().Addr().Unmap().WithZone("")
}
