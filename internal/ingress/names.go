package ingress

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

// names looks up the hosts of Services of type ExternalName, and again from time to time.
type names struct {
	log     *slog.Logger
	changed func()
	wake    chan struct{}
	// look resolves one host; tests replace it.
	look func(ctx context.Context, host string) ([]netip.Addr, error)

	mu      sync.Mutex
	servers []netip.Addr
	hosts   map[string]*hostName
}

// hostName is a host and what is known of it.
type hostName struct {
	uses   int
	looked bool
	failed bool
	found  []netip.Addr
}

const (
	// nameAge is how old an answer may be: Go's resolver does not tell how long one is good.
	nameAge     = 10 * time.Second
	nameTimeout = 5 * time.Second
	namesAtOnce = 8
)

func newNames(log *slog.Logger, changed func()) *names {
	n := &names{log: log, changed: changed, wake: make(chan struct{}, 1), hosts: map[string]*hostName{}}
	n.look = n.ask
	return n
}

// configure says which servers are asked; without any, the machine's.
func (n *names) configure(servers []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.servers = servers
}

func (n *names) want(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[host]
	if h == nil {
		h = &hostName{}
		n.hosts[host] = h
		poke(n.wake)
	}
	h.uses++
}

func (n *names) release(host string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if h := n.hosts[host]; h != nil {
		if h.uses--; h.uses <= 0 {
			delete(n.hosts, host)
		}
	}
}

// addresses returns what a host was found to have last.
func (n *names) addresses(host string, port uint16) []netip.AddrPort {
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[host]
	if h == nil {
		return nil
	}
	out := make([]netip.AddrPort, 0, len(h.found))
	for _, a := range h.found {
		out = append(out, netip.AddrPortFrom(a, port))
	}
	return out
}

// run looks hosts up until ctx ends.
func (n *names) run(ctx context.Context) {
	tick := time.NewTicker(nameAge)
	defer tick.Stop()
	for {
		all := false
		select {
		case <-ctx.Done():
			return
		case <-n.wake:
		case <-tick.C:
			all = true
		}
		n.round(ctx, all)
	}
}

// round looks up all hosts, or those that never were.
func (n *names) round(ctx context.Context, all bool) {
	n.mu.Lock()
	var due []string
	for host, h := range n.hosts {
		if all || !h.looked {
			due = append(due, host)
		}
	}
	n.mu.Unlock()
	calls := make([]func() error, 0, len(due))
	for _, host := range due {
		calls = append(calls, func() error { n.one(ctx, host); return nil })
	}
	_ = atOnce(namesAtOnce, calls) // each keeps its own error
}

func (n *names) one(ctx context.Context, host string) {
	limit, cancel := context.WithTimeout(ctx, nameTimeout)
	defer cancel()
	found, err := n.look(limit, host)
	slices.SortFunc(found, netip.Addr.Compare)
	found = slices.Compact(found)
	n.mu.Lock()
	defer n.mu.Unlock()
	h := n.hosts[host]
	if h == nil || ctx.Err() != nil {
		return
	}
	h.looked = true
	var gone *net.DNSError
	switch {
	case err == nil:
		h.failed = false
	case errors.As(err, &gone) && gone.IsNotFound:
		found = nil
		fallthrough
	default:
		if !h.failed {
			h.failed = true
			n.log.Warn("The host of a Service of type ExternalName can't be looked up, which is tried again", "host", host, "error", err)
		}
		if found == nil && !(gone != nil && gone.IsNotFound) {
			return // what was found before may well be right
		}
	}
	if !slices.Equal(h.found, found) {
		h.found = found
		n.changed()
	}
}

// ask asks the cluster's DNS, in which the search list of the machine has no say.
func (n *names) ask(ctx context.Context, host string) ([]netip.Addr, error) {
	n.mu.Lock()
	servers := n.servers
	n.mu.Unlock()
	r := &net.Resolver{PreferGo: true}
	if len(servers) > 0 {
		r.Dial = func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, netip.AddrPortFrom(servers[0], 53).String())
		}
	}
	found, err := r.LookupNetIP(ctx, "ip", strings.TrimSuffix(host, ".")+".")
	for i := range found {
		found[i] = found[i].Unmap()
	}
	return found, err
}
