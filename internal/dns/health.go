package dns

import (
	"context"
	"crypto/rand"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// upstreamHealth is what is known of one upstream. It is guarded by the
// forwarder's mu.
type upstreamHealth struct {
	failed  time.Time // when it was last silent; zero while it answers
	rtt     time.Duration
	looped  bool // it asks this server what it is asked
	checked time.Time
}

const (
	healthEvery   = time.Second
	suspectAfter  = 200 * time.Millisecond
	probeTimeout  = 2 * time.Second
	loopCheckLate = 30 * time.Second // an upstream that looped is looked at again
)

// order lists the upstreams of a group to ask: never this server itself, nor
// one that asks it in turn, and those that were silent lately after the others.
func (f *forwarder) order(g *group, now time.Time) []netip.AddrPort {
	var good, bad []netip.AddrPort
	servers := g.servers
	if len(servers) == 0 {
		servers = f.upstreams()
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, u := range servers {
		h := f.health[u]
		switch {
		case f.isSelf(u) || h != nil && h.looped:
		case h != nil && !h.failed.IsZero() && now.Sub(h.failed) < failedFor:
			bad = append(bad, u)
		default:
			good = append(good, u)
		}
	}
	if g.order == random {
		mathrand.Shuffle(len(good), func(i, j int) { good[i], good[j] = good[j], good[i] })
	}
	return append(good, bad...)
}

// isSelf takes a loopback upstream for this server when it listens everywhere.
func (f *forwarder) isSelf(u netip.AddrPort) bool {
	for _, s := range f.self {
		if s.Port() == u.Port() && (s.Addr() == u.Addr() || s.Addr().IsUnspecified() && u.Addr().IsLoopback()) {
			return true
		}
	}
	return false
}

// of returns the health of server; f.mu is held.
func (f *forwarder) of(server netip.AddrPort) *upstreamHealth {
	h := f.health[server]
	if h == nil {
		h = &upstreamHealth{}
		f.health[server] = h
	}
	return h
}

func (f *forwarder) note(server netip.AddrPort, err error, took time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.of(server)
	if err != nil {
		h.failed = time.Now()
		return
	}
	h.failed = time.Time{}
	if h.rtt == 0 {
		h.rtt = took
	}
	h.rtt += (took - h.rtt) / 8
}

// suspect marks the servers that were waited for when another had answered
// already; they are asked last until they answer a probe.
func (f *forwarder) suspect(waiting map[netip.AddrPort]time.Time) {
	for server, since := range waiting {
		if took := time.Since(since); took >= suspectAfter {
			f.note(server, errNoAnswer, took)
		}
	}
}

// patience is how long a server is waited for before the next is asked as well.
func (f *forwarder) patience(server netip.AddrPort) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.health[server]
	if h == nil || h.rtt == 0 {
		return maxHedge
	}
	return min(max(4*h.rtt, minHedge), maxHedge)
}

// run looks after the upstreams until ctx ends: those that failed are asked
// until they answer again, and none may lead back here.
func (f *forwarder) run(ctx context.Context) {
	tick := time.NewTicker(healthEvery)
	defer tick.Stop()
	defer f.running.Wait()
	var known []netip.AddrPort
	for {
		var probing sync.WaitGroup
		servers := f.all()
		for _, u := range servers {
			if !slices.Contains(known, u) || f.recheck(u, time.Now()) {
				probing.Go(func() { f.probeLoop(ctx, u) })
			}
		}
		known = servers
		for _, u := range f.failing() {
			probing.Go(func() { f.probe(ctx, u) })
		}
		probing.Wait()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// all lists every upstream that may be asked, but not this server itself.
func (f *forwarder) all() []netip.AddrPort {
	p := f.policy()
	list := slices.Clone(p.upstream.servers)
	if len(list) == 0 {
		list = slices.Clone(f.upstreams())
	}
	for _, s := range p.stubs {
		list = append(list, s.group.servers...)
	}
	list = slices.DeleteFunc(list, f.isSelf)
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
}

func (f *forwarder) failing() []netip.AddrPort {
	all := f.all()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []netip.AddrPort
	for u, h := range f.health {
		switch {
		case !slices.Contains(all, u):
			delete(f.health, u) // it is not in the configuration any more
		case !h.failed.IsZero():
			out = append(out, u)
		}
	}
	return out
}

// probe asks a failed upstream something that every resolver knows.
func (f *forwarder) probe(ctx context.Context, server netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	q := new(dns.Msg).SetQuestion(".", dns.TypeNS)
	start := time.Now()
	_, err := f.askUDP(ctx, server, q)
	if err != nil {
		f.stats.broken.Add(1)
	}
	f.note(server, err, time.Since(start))
}

// recheck reports whether it is time to look again at one that looped, and
// gives it the benefit of the doubt if so.
func (f *forwarder) recheck(server netip.AddrPort, now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.health[server]
	if h == nil || !h.looped || now.Sub(h.checked) < loopCheckLate {
		return false
	}
	h.looped = false
	return true
}

// probeLoop asks for a name that nobody else can know. If somebody asks this
// server for it, the upstream has led the question back.
func (f *forwarder) probeLoop(ctx context.Context, server netip.AddrPort) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	name := strings.ToLower(rand.Text()[:16] + "." + rand.Text()[:16] + ".")
	f.mu.Lock()
	f.probes[name] = server
	f.of(server).checked = time.Now()
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		delete(f.probes, name)
		f.mu.Unlock()
	}()
	_, _ = f.askUDP(ctx, server, new(dns.Msg).SetQuestion(name, dns.TypeHINFO)) // that it came is all there is to know
}

// looped reports whether a question is a probe that came back, and marks the
// upstream that led it here.
func (f *forwarder) looped(q dns.Question) bool {
	if q.Qtype != dns.TypeHINFO {
		return false
	}
	f.mu.Lock()
	server, ours := f.probes[strings.ToLower(q.Name)]
	first := ours && !f.of(server).looped
	if ours {
		f.of(server).looped = true
	}
	f.mu.Unlock()
	if first {
		f.warn("DNSLoop", fmt.Sprintf("the upstream resolver %s sends questions back to the cluster DNS and is not used; give upstream.servers a resolver outside of the cluster, or correct the node's resolv.conf", server))
	}
	return ours
}

func joinServers(servers []netip.AddrPort) string {
	texts := make([]string, len(servers))
	for i, s := range servers {
		texts[i] = s.String()
	}
	return strings.Join(texts, ", then ")
}
