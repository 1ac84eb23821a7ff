package proxy

import (
	"sync"
	"time"
)

// pool keeps idle connections to one endpoint; the one that was used last is used next, so that those that are not
// needed grow old and are closed. The zero pool is empty and ready for use.
type pool struct {
	mu   sync.Mutex
	idle []*upstreamConn
	shut bool
}

// poolLimits bound what a pool keeps: how many connections, how long an idle one, how many requests on one, and how
// long any. Zero requests or age are without bound; no idle ones are kept if idle is 0.
type poolLimits struct {
	idle     int
	timeout  time.Duration
	requests int
	age      time.Duration
}

// checkAfter is for how long a connection that was in use is taken for alive without a look: its next request is on
// the way before a backend that closes it could have been noticed.
const checkAfter = int64(10 * time.Millisecond)

// get takes an idle connection that is still good, or returns nil. sure demands that it was looked at just now.
func (p *pool) get(now int64, sure bool) *upstreamConn {
	for {
		p.mu.Lock()
		n := len(p.idle) - 1
		if n < 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[n]
		p.idle[n] = nil
		p.idle = p.idle[:n]
		p.mu.Unlock()
		if !sure && now-c.used < checkAfter || c.alive() {
			return c
		}
		c.close()
	}
}

// put keeps a connection after a request, or closes it.
func (p *pool) put(c *upstreamConn, lim *poolLimits, now int64) {
	c.used = now
	if lim.requests > 0 && c.requests >= lim.requests || lim.age > 0 && now-c.made > int64(lim.age) || c.ep.gone.Load() {
		c.close()
		return
	}
	var oldest *upstreamConn
	p.mu.Lock()
	switch {
	case p.shut || lim.idle <= 0:
		oldest = c
	case len(p.idle) >= lim.idle:
		oldest = p.idle[0]
		copy(p.idle, p.idle[1:])
		p.idle[len(p.idle)-1] = c
	default:
		p.idle = append(p.idle, c)
	}
	p.mu.Unlock()
	if oldest != nil {
		oldest.close()
	}
}

// sweep closes idle connections that are too old, or that their endpoint has closed.
func (p *pool) sweep(now int64, lim *poolLimits) {
	p.mu.Lock()
	if len(p.idle) == 0 {
		p.mu.Unlock()
		return
	}
	var dead []*upstreamConn
	kept := p.idle[:0]
	for _, c := range p.idle {
		if lim.timeout > 0 && now-c.used > int64(lim.timeout) || lim.age > 0 && now-c.made > int64(lim.age) ||
			now-c.used > checkAfter && !c.alive() {
			dead = append(dead, c)
			continue
		}
		kept = append(kept, c)
	}
	clear(p.idle[len(kept):])
	p.idle = kept
	p.mu.Unlock()
	for _, c := range dead {
		c.close()
	}
}

// closeIdle closes all idle connections, and those that come back later.
func (p *pool) closeIdle() {
	p.mu.Lock()
	idle := p.idle
	p.idle, p.shut = nil, true
	p.mu.Unlock()
	for _, c := range idle {
		c.close()
	}
}
