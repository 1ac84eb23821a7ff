package filter

import (
	"encoding/binary"
	"slices"

	"github.com/cespare/xxhash/v2"

	"minato/internal/ingress/exchange"
)

// pointsOfEndpoint is how many points of the ring an endpoint has: as many as ingress-nginx's (resty.chash) with its default
// weight. Shares then differ by about a tenth.
const pointsOfEndpoint = 160

// ring maps keys to endpoints in such a way that only an endpoint's own keys move when it comes or goes (ketama). It depends
// on addresses alone, not on their order, so that all nodes map alike.
type ring struct {
	// points are hashes in their upper 40 bits and the endpoint's index in the lower 24, sorted.
	points []uint64
	n      int
}

const indexBits = 24

// newRing makes the ring of a set of endpoints.
func newRing(c exchange.Candidates) *ring {
	n := min(c.Len(), 1<<indexBits)
	r := &ring{points: make([]uint64, 0, n*pointsOfEndpoint), n: n}
	var key []byte
	for i := range n {
		key = c.Address(i).AppendTo(key[:0])
		end := len(key)
		for p := range pointsOfEndpoint {
			key = binary.LittleEndian.AppendUint32(key[:end], uint32(p))
			r.points = append(r.points, xxhash.Sum64(key)&^(1<<indexBits-1)|uint64(i))
		}
	}
	slices.Sort(r.points)
	return r
}

// at returns the place on the ring where a key's search begins.
func (r *ring) at(hash uint64) int {
	i, _ := slices.BinarySearch(r.points, hash&^(1<<indexBits-1))
	if i == len(r.points) {
		i = 0
	}
	return i
}

func (r *ring) endpoint(place int) int { return int(r.points[place] & (1<<indexBits - 1)) }

// find returns the endpoint of a key.
func (r *ring) find(hash uint64) int { return r.endpoint(r.at(hash)) }

// next returns the first endpoint of a key that is good; without one, the first that was not tried; else the first.
func (r *ring) next(hash uint64, c exchange.Candidates, w *walk) int {
	at := r.at(hash)
	first := r.endpoint(at)
	if !c.Tried(first) && !c.Failing(first) {
		return first
	}
	return r.walk(at, r.n, 0, c, w)
}

// subset returns one of the size endpoints that a key has: its first ones on the ring. An endpoint that comes or goes
// changes one member of the subsets that it is in.
func (r *ring) subset(hash uint64, size int, random uint64, c exchange.Candidates, w *walk) int {
	size = min(size, r.n)
	return r.walk(r.at(hash), size, int(random%uint64(size)), c, w)
}

// walk goes along the ring from a place on, past size endpoints, and returns the first good one of them, counted from
// the one of number from on.
func (r *ring) walk(at, size, from int, c exchange.Candidates, w *walk) int {
	w.begin(r.n)
	for i := 0; len(w.order) < size && i < len(r.points); i++ {
		place := at + i
		if place >= len(r.points) {
			place -= len(r.points)
		}
		w.visit(r.endpoint(place))
	}
	spare := -1
	for i := range w.order {
		e := int(w.order[(from+i)%len(w.order)])
		switch {
		case c.Tried(e):
		case !c.Failing(e):
			return e
		case spare < 0:
			spare = e
		}
	}
	if spare >= 0 {
		return spare
	}
	return int(w.order[from%len(w.order)])
}

// walk remembers the endpoints that were met, each once.
type walk struct {
	met   []uint32 // by endpoint: the number of the walk that met it last
	order []uint32
	now   uint32
}

func (w *walk) begin(n int) {
	if w.now++; w.now == 0 || len(w.met) < n {
		w.met, w.now = make([]uint32, n), 1
	}
	w.order = w.order[:0]
}

func (w *walk) visit(e int) {
	if w.met[e] != w.now {
		w.met[e] = w.now
		w.order = append(w.order, uint32(e))
	}
}
