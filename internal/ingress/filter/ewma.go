package filter

import (
	"math"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"minato/internal/ingress/exchange"
	"minato/internal/ingress/table"
)

// decay is how long it takes until what was seen counts for a third (ingress-nginx's DECAY_TIME).
const decay = 10 * time.Second

// load is the moving average of what an endpoint takes to answer, in seconds as a float32 in the upper half, and when it
// was changed last, in hundredths of seconds, in the lower half.
type load struct{ v atomic.Uint64 }

// at returns the average as it is at a time: without requests it sinks, so that an endpoint which was slow is tried again.
func (l *load) at(now uint32) float64 {
	v := l.v.Load()
	return float64(math.Float32frombits(uint32(v>>32))) * faded(now-uint32(v))
}

// observe takes a request into the average.
func (l *load) observe(seconds float64, now uint32) {
	for {
		v := l.v.Load()
		keep := faded(now - uint32(v))
		mean := float64(math.Float32frombits(uint32(v>>32)))*keep + seconds*(1-keep)
		if l.v.CompareAndSwap(v, packed(mean, now)) {
			return
		}
	}
}

func packed(mean float64, now uint32) uint64 {
	return uint64(math.Float32bits(float32(mean)))<<32 | uint64(now)
}

// faded is what is left of an average after hundredths of seconds. A time before the last change is none.
func faded(hundredths uint32) float64 {
	if int32(hundredths) < 0 {
		return 1
	}
	return math.Exp(-float64(hundredths) / float64(decay/(10*time.Millisecond)))
}

// loads are the averages of a set of endpoints.
type loads struct {
	of        []*load
	byAddress map[netip.AddrPort]*load
}

// known has the averages of all backends whose endpoints are picked by them, so that they outlive a set.
type known struct {
	mu  sync.Mutex
	all map[table.BackendRef]*lastLoads
}

type lastLoads struct {
	*loads
	made uint32
}

// forgetAfter is how long averages of a backend stay whose set does not change, when there are many, in hundredths of seconds.
const forgetAfter, many = uint32(100 * 3600), 256

// loadsOf makes the averages of a set. Endpoints that stay keep theirs; new ones begin with the mean of all, as with
// ingress-nginx.
func (k *known) loadsOf(ref table.BackendRef, c exchange.Candidates, now uint32) *loads {
	k.mu.Lock()
	defer k.mu.Unlock()
	old := k.all[ref]
	mean := 0.0
	if old != nil {
		for _, l := range old.of {
			mean += l.at(now) / float64(len(old.of))
		}
	}
	n := c.Len()
	l := &loads{of: make([]*load, n), byAddress: make(map[netip.AddrPort]*load, n)}
	for i := range n {
		a := c.Address(i)
		var have *load
		if old != nil {
			have = old.byAddress[a]
		}
		if have == nil {
			have = &load{}
			have.v.Store(packed(mean, now))
		}
		l.of[i], l.byAddress[a] = have, have
	}
	if k.all == nil {
		k.all = map[table.BackendRef]*lastLoads{}
	}
	if len(k.all) >= many {
		for r, e := range k.all {
			if int32(now-e.made) > int32(forgetAfter) {
				delete(k.all, r)
			}
		}
	}
	k.all[ref] = &lastLoads{loads: l, made: now}
	return l
}

// pick takes two endpoints by chance and returns the one that answers sooner; of two alike, the one with fewer requests.
// Those that were tried or fail are passed by as long as there are others.
func (l *loads) pick(c exchange.Candidates, random uint64, now uint32) int {
	n := len(l.of)
	if n == 1 {
		return 0
	}
	i := int(random >> 32 % uint64(n))
	j := (i + 1 + int(random&math.MaxUint32%uint64(n-1))) % n
	i = goodFrom(c, i, n, -1)
	if j = goodFrom(c, j, n, i); j < 0 {
		return i
	}
	a, b := l.of[i].at(now), l.of[j].at(now)
	if b < a || b == a && c.Load(j) < c.Load(i) {
		return j
	}
	return i
}

// goodFrom returns the first endpoint from i on, but not other, that was not tried and does not fail. Without one it
// returns -1 if there is another, else the first that was not tried, else i.
func goodFrom(c exchange.Candidates, i, n, other int) int {
	spare := -1
	for k := range n {
		e := (i + k) % n
		switch {
		case e == other || c.Tried(e):
		case !c.Failing(e):
			return e
		case spare < 0:
			spare = e
		}
	}
	if other >= 0 {
		return -1
	}
	if spare >= 0 {
		return spare
	}
	return i
}
