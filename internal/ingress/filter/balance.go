package filter

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cespare/xxhash/v2"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// inTurn leaves the choice of an endpoint to the proxy, which takes them in turn.
const inTurn = -1

// balance picks endpoints.
type balance struct {
	random func() uint64
	now    func() time.Time
	begin  time.Time
	known  known
	making sync.Mutex
	walks  sync.Pool // of *walk
}

func (b *balance) init(random func() uint64, now func() time.Time) {
	b.random, b.now, b.begin = random, now, now()
	b.walks.New = func() any { return &walk{} }
}

// clock is the time in hundredths of seconds. It begins anew after 497 days, which its users bear.
func (b *balance) clock() uint32 { return uint32(b.now().Sub(b.begin) / (10 * time.Millisecond)) }

// derived is what is computed once for a set of endpoints: each part when it is asked for first.
type derived struct {
	ring  atomic.Pointer[ring]
	names atomic.Pointer[names]
	loads atomic.Pointer[loads]
}

// of returns what is derived of a set.
func (b *balance) of(c exchange.Candidates) *derived {
	if d, ok := c.State().Load().(*derived); ok {
		return d
	}
	b.making.Lock()
	defer b.making.Unlock()
	if d, ok := c.State().Load().(*derived); ok {
		return d
	}
	d := &derived{}
	c.State().Store(d)
	return d
}

// part returns a part of derived, and has it made by one of those who ask for it while the others wait.
func part[T any](b *balance, p *atomic.Pointer[T], make func() *T) *T {
	if v := p.Load(); v != nil {
		return v
	}
	b.making.Lock()
	defer b.making.Unlock()
	if v := p.Load(); v != nil {
		return v
	}
	v := make()
	p.Store(v)
	return v
}

func (b *balance) ring(d *derived, c exchange.Candidates) *ring {
	if r := d.ring.Load(); r != nil {
		return r
	}
	return part(b, &d.ring, func() *ring { return newRing(c) })
}

func (b *balance) loads(d *derived, ref table.BackendRef, c exchange.Candidates) *loads {
	if l := d.loads.Load(); l != nil {
		return l
	}
	return part(b, &d.loads, func() *loads { return b.known.loadsOf(ref, c, b.clock()) })
}

// pick chooses the endpoint of an attempt: by the session cookie (affinity), else by a hash (upstream-hash-by), else by
// load (load-balance: ewma), else in turn, as ingress-nginx ranks them.
func (a *after) pick(x *exchange.Exchange, c exchange.Candidates) int {
	if x.Upstream == nil {
		return inTurn
	}
	o := &x.Upstream.Options
	if o.Affinity == nil && o.HashBy == nil && o.LoadBalance == table.RoundRobin {
		return inTurn
	}
	if s, ok := x.Slots[slotAfter].(*afterState); ok && s.replaced {
		return inTurn // the endpoints are another backend's, which has options of its own
	}
	b := &a.balance
	switch {
	case o.Affinity != nil:
		return a.bySession(x, o.Affinity, c)
	case o.HashBy != nil:
		return b.byHash(x, o, c)
	default:
		l := b.loads(b.of(c), x.Upstream.BackendRef, c)
		a.state(x).loads = l
		return l.pick(c, b.random(), b.clock())
	}
}

// byHash picks by a text with variables (upstream-hash-by): the endpoint of its place on the ring, or one of a subset.
func (b *balance) byHash(x *exchange.Exchange, o *table.UpstreamOptions, c exchange.Candidates) int {
	if c.Len() == 1 {
		return 0
	}
	r := b.ring(b.of(c), c)
	h := hashText(x, o.HashBy)
	w := b.walks.Get().(*walk)
	defer b.walks.Put(w)
	if o.HashSubset > 0 {
		return r.subset(h, o.HashSubset, b.random(), c, w)
	}
	return r.next(h, c, w)
}

// hashText hashes a text with its variables' values, without putting it together.
func hashText(x *exchange.Exchange, t *table.Text) uint64 {
	if len(t.Parts) == 1 {
		return xxhash.Sum64String(value(x, &t.Parts[0]))
	}
	var d xxhash.Digest
	d.Reset()
	for i := range t.Parts {
		_, _ = d.WriteString(value(x, &t.Parts[i])) // a hash takes all
	}
	return d.Sum64()
}

// value is a part's text.
func value(x *exchange.Exchange, p *table.Part) string {
	if p.Var == table.VarNone {
		return p.Literal
	}
	return x.Lookup(p.Var, p.Name)
}

// observe takes the attempts of a request into the averages of its endpoints. One that failed at once counts as no wait, by
// which an average sinks as it does without requests: it is by Candidates.Failing that such an endpoint is passed by.
func (b *balance) observe(l *loads, attempts []exchange.Attempt) {
	now := b.clock()
	for i := range attempts {
		at := &attempts[i]
		if e := l.byAddress[at.Endpoint]; e != nil {
			e.observe(at.Duration.Seconds(), now)
		}
	}
}
