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

// upstreamHealth says whether one upstream answers, and how fast. The forwarder's
// mu guards it.
type upstreamHealth struct {
	failed  time.Time // when it last did not answer; zero while it answers
	rtt     time.Duration
	looped  bool      // it sends questions back to this server
	checked time.Time // when it was last probed for a loop
}

const (
	healthEvery   = time.Second
	suspectAfter  = 200 * time.Millisecond
	probeTimeout  = 2 * time.Second
	loopCheckLate = 30 * time.Second // an upstream that looped is probed again after this time
)

// order lists the upstreams of a group in the order to ask them. Those that did not
// answer lately come last; this server's own addresses and upstreams that send
// questions back to it are left out.
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

// isSelf reports whether u is an address of this server. A server that listens on every address has all of loopback's.
func (f *forwarder) isSelf(u netip.AddrPort) bool {
	for _, s := range f.self {
		if s.Port() == u.Port() && (s.Addr() == u.Addr() || s.Addr().IsUnspecified() && u.Addr().IsLoopback()) {
			return true
		}
	}
	return false
}

// of returns the health of server; the caller holds f.mu.
func (f *forwarder) of(server netip.AddrPort) *upstreamHealth {
	h := f.health[server]
	if h == nil {
		h = &upstreamHealth{}
		f.health[server] = h
	}
	return h
}

// note records that server answered after took, or that it did not: err says why.
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

// suspect marks the servers that still have not answered, after suspectAfter or more,
// when another one has: they are asked last until they answer a probe.
func (f *forwarder) suspect(waiting map[netip.AddrPort]time.Time) {
	for server, since := range waiting {
		if took := time.Since(since); took >= suspectAfter {
			f.note(server, errNoAnswer, took)
		}
	}
}

// patience is how long to wait for a server before the next one is asked as well.
func (f *forwarder) patience(server netip.AddrPort) time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.health[server]
	if h == nil || h.rtt == 0 {
		return maxHedge
	}
	return min(max(4*h.rtt, minHedge), maxHedge)
}

// run probes the upstreams until ctx ends: those that did not answer until they do
// again, and each new one for a forwarding loop.
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

// failing lists the upstreams that did not answer, and forgets those that are no longer configured.
func (f *forwarder) failing() []netip.AddrPort {
	all := f.all()
	f.mu.Lock()
	defer f.mu.Unlock()
	var out []netip.AddrPort
	for u, h := range f.health {
		switch {
		case !slices.Contains(all, u):
			delete(f.health, u)
		case !h.failed.IsZero():
			out = append(out, u)
		}
	}
	return out
}

// probe asks an upstream that did not answer for the root's name servers, which every resolver knows.
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

// recheck reports whether it is time to probe an upstream for a loop again that was
// in one. If so, the upstream is not taken for looping until the probe comes back.
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

// probeLoop asks an upstream for a random name. If this server is asked for that name
// in turn, the upstream sends questions back to it.
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
	_, _ = f.askUDP(ctx, server, new(dns.Msg).SetQuestion(name, dns.TypeHINFO)) // the answer does not matter, only whether looped is called
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
