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
	// Trusted are the addresses of the machine and of its nodes. Loopback
	// addresses, and connections whose two addresses are the same, need not be
	// listed.
	Trusted []netip.Prefix
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
	maxTrusted   = 4096
	maxOthers    = 8192
	maxPerSource = 1024 // of a source that is not trusted

	minReserve     = 512
	minDescriptors = 1024
)

// Budget bounds the connections that all listeners of a process hold together.
type Budget struct {
	cfg     Config
	reserve int

	mu      sync.Mutex
	trusted share
	others  share
	refused uint64
}

// share is the part of the budget that one kind of source has.
type share struct {
	limit, perSource int
	open             int
	sources          map[source]int
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
	reserve, trusted, others := split(int(min(cfg.Descriptors, 1<<30)))
	return &Budget{
		cfg: cfg, reserve: reserve,
		trusted: share{limit: trusted, perSource: trusted / 2, sources: map[source]int{}},
		others:  share{limit: others, perSource: max(min(others/4, maxPerSource), 1), sources: map[source]int{}},
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
// a log file or a connection to a node, so both shares together take half of what
// the reserve leaves.
func split(descriptors int) (reserve, trusted, others int) {
	reserve = max(descriptors/4, minReserve)
	part := (descriptors - reserve) / 4
	return reserve, min(part, maxTrusted), min(part, maxOthers)
}

// State is what a Budget holds at one moment.
type State struct {
	// Descriptors is how many files the process may have open, and Reserve how
	// many of these no connection may take.
	Descriptors, Reserve int
	// Trusted and Others are the open connections of the two kinds of source, and
	// the limits are the most that may be open.
	Trusted, TrustedLimit int
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
		Trusted: b.trusted.open, TrustedLimit: b.trusted.limit,
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
	src, trusted := b.classify(from, to)
	b.mu.Lock()
	defer b.mu.Unlock()
	s := &b.others
	if trusted {
		s = &b.trusted
	}
	switch {
	case s.open >= s.limit:
		err = errTotal
	case s.sources[src] >= s.perSource:
		err = errSource
	case !trusted && g.open >= g.cfg.Total:
		err = errGroup
	case !trusted && g.sources[src] >= g.cfg.PerSource:
		err = errGroupSource
	}
	if err != nil {
		b.refused++
		return nil, err
	}
	s.enter(src)
	if !trusted {
		g.enter(src)
	}
	var once sync.Once
	return func() {
		once.Do(func() {
			b.mu.Lock()
			defer b.mu.Unlock()
			s.leave(src)
			if !trusted {
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

// classify tells which source a connection comes from, and whether that is
// trusted.
func (b *Budget) classify(from, to net.Addr) (src source, trusted bool) {
	ip := addressOf(from)
	switch {
	case !ip.IsValid(): // a Unix socket, whose file has its own permissions
		return source{}, true
	case ip.IsLoopback(), ip == addressOf(to), contains(b.cfg.Trusted, ip):
		trusted = true
	}
	bits := ip.BitLen()
	if ip.Is6() && !trusted && !contains(b.cfg.Hosts, ip) {
		bits = 64
	}
	return source(netip.PrefixFrom(ip, bits).Masked()), trusted
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
