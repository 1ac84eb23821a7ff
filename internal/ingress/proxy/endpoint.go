package proxy

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// failingFor is how long an endpoint that refused a connection is tried after all others.
const failingFor = 5 * time.Second

// Endpoint is an address of a backend that is ready for requests.
type Endpoint struct {
	Address netip.AddrPort
}

// endpoint is an Endpoint with its connections. It stays the same as long as its backend has the address.
type endpoint struct {
	address netip.AddrPort
	text    string

	failing atomic.Int64 // until this time of clock
	load    atomic.Int32 // requests at it
	latency atomic.Int64 // moving average in nanoseconds
	gone    atomic.Bool  // no longer of its backend: connections are not kept
	// there ends when gone is set, and with it the connecting to an endpoint that may never answer.
	there context.Context
	leave context.CancelFunc

	plain  pool // without TLS
	mu     sync.Mutex
	others map[transportKey]*transport
}

func newEndpoint(address netip.AddrPort) *endpoint {
	e := &endpoint{address: address, text: address.String()}
	e.there, e.leave = context.WithCancel(context.Background())
	return e
}

// observe takes a request's duration into the average.
func (e *endpoint) observe(d int64) {
	old := e.latency.Load()
	if old == 0 {
		e.latency.Store(d)
		return
	}
	e.latency.Store(old + (d-old)/8)
}

// endpointSet is what a backend's endpoints are at one time.
type endpointSet struct {
	all        []*endpoint
	generation uint64
	next       atomic.Uint32 // of the round
	state      exchange.State
}

// backend is a BackendRef with its endpoints.
type backend struct {
	ref table.BackendRef
	set atomic.Pointer[endpointSet]
}

// backends has every backend that is known.
type backends struct {
	mu         sync.Mutex
	all        map[table.BackendRef]*backend
	generation uint64
}

// get returns the backend, which has no endpoints if nothing is known of it.
func (b *backends) get(ref table.BackendRef) *backend {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.locked(ref)
}

func (b *backends) locked(ref table.BackendRef) *backend {
	have := b.all[ref]
	if have == nil {
		have = &backend{ref: ref}
		have.set.Store(&endpointSet{})
		if b.all == nil {
			b.all = map[table.BackendRef]*backend{}
		}
		b.all[ref] = have
	}
	return have
}

// setEndpoints replaces the endpoints of a backend. Those that stay keep their connections.
func (b *backends) setEndpoints(ref table.BackendRef, want []Endpoint) {
	b.mu.Lock()
	defer b.mu.Unlock()
	have := b.locked(ref)
	old := have.set.Load()
	known := make(map[netip.AddrPort]*endpoint, len(old.all))
	for _, e := range old.all {
		known[e.address] = e
	}
	b.generation++
	set := &endpointSet{all: make([]*endpoint, 0, len(want)), generation: b.generation}
	for _, w := range want {
		e := known[w.Address]
		if e == nil {
			e = newEndpoint(w.Address)
		}
		delete(known, w.Address)
		set.all = append(set.all, e)
	}
	set.next.Store(old.next.Load())
	have.set.Store(set)
	for _, e := range known {
		if !contains(set.all, e) {
			e.retire()
		}
	}
}

func contains(all []*endpoint, e *endpoint) bool {
	for _, x := range all {
		if x == e {
			return true
		}
	}
	return false
}

// prune forgets backends without endpoints. Whoever holds one sees none of its later endpoints.
func (b *backends) prune() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ref, have := range b.all {
		if len(have.set.Load().all) == 0 {
			delete(b.all, ref)
		}
	}
}

// each calls f with every endpoint.
func (b *backends) each(f func(*endpoint)) {
	b.mu.Lock()
	all := make([]*backend, 0, len(b.all))
	for _, have := range b.all {
		all = append(all, have)
	}
	b.mu.Unlock()
	for _, have := range all {
		for _, e := range have.set.Load().all {
			f(e)
		}
	}
}

// retire closes the idle connections of an endpoint that has gone. Those in use are closed after their request.
func (e *endpoint) retire() {
	e.gone.Store(true)
	e.leave()
	e.plain.closeIdle()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, t := range e.others {
		t.closeIdle()
	}
}

// candidates implements exchange.Candidates for one request.
type candidates struct {
	set   *endpointSet
	tried []*endpoint
	now   int64
}

func (c *candidates) Len() int                     { return len(c.set.all) }
func (c *candidates) Address(i int) netip.AddrPort { return c.set.all[i].address }
func (c *candidates) Tried(i int) bool             { return contains(c.tried, c.set.all[i]) }
func (c *candidates) Failing(i int) bool           { return c.set.all[i].failing.Load() > c.now }
func (c *candidates) Load(i int) int               { return int(c.set.all[i].load.Load()) }
func (c *candidates) Latency(i int) int64          { return c.set.all[i].latency.Load() }
func (c *candidates) Generation() uint64           { return c.set.generation }
func (c *candidates) State() *exchange.State       { return &c.set.state }

// round picks the next endpoint in turn that was not tried and is not failing; else one that was not tried; else
// the next.
func (c *candidates) round() *endpoint {
	n := uint32(len(c.set.all))
	if n == 1 {
		return c.set.all[0]
	}
	at := c.set.next.Add(1)
	var spare *endpoint
	for i := range n {
		e := c.set.all[(at+i)%n]
		if len(c.tried) > 0 && contains(c.tried, e) {
			continue
		}
		if e.failing.Load() <= c.now {
			return e
		}
		if spare == nil {
			spare = e
		}
	}
	if spare != nil {
		return spare
	}
	return c.set.all[at%n]
}
