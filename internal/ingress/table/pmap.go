package table

import (
	"hash/maphash"
	"math/bits"
)

// pmap is a map from strings of which each edit makes a new version: versions share all nodes but those on the way to
// the entry, so an edit costs the same at ten entries and at a hundred thousand, and readers of an old version are not
// disturbed. Nodes that were made with the same generation are edited in place. The order of its entries is arbitrary.
type pmap[V any] struct {
	seed maphash.Seed
	root *hamt[V]
	len  int
}

type hamt[V any] struct {
	gen   uint64
	bits  uint64 // which of the 64 places have a slot; unused below the last bit of the hash
	slots []hslot[V]
}

// hslot is an entry, or the node below.
type hslot[V any] struct {
	key   string
	child *hamt[V]
	value V
}

const (
	hamtStep = 6
	hamtEnd  = 64
)

func newPmap[V any]() pmap[V] { return pmap[V]{seed: maphash.MakeSeed(), root: &hamt[V]{}} }

func (m *pmap[V]) get(key string) (v V, ok bool) {
	h := maphash.String(m.seed, key)
	n := m.root
	for shift := uint(0); ; shift += hamtStep {
		if shift >= hamtEnd {
			for i := range n.slots {
				if n.slots[i].key == key {
					return n.slots[i].value, true
				}
			}
			return v, false
		}
		bit := uint64(1) << (h >> shift & 63)
		if n.bits&bit == 0 {
			return v, false
		}
		s := &n.slots[bits.OnesCount64(n.bits&(bit-1))]
		if s.child == nil {
			if s.key == key {
				return s.value, true
			}
			return v, false
		}
		n = s.child
	}
}

// set returns the map with the entry.
func (m pmap[V]) set(gen uint64, key string, v V) pmap[V] {
	added := false
	m.root = m.root.set(m.seed, gen, 0, maphash.String(m.seed, key), hslot[V]{key: key, value: v}, &added)
	if added {
		m.len++
	}
	return m
}

// del returns the map without the entry.
func (m pmap[V]) del(gen uint64, key string) pmap[V] {
	if _, ok := m.get(key); !ok {
		return m
	}
	m.root = m.root.del(gen, 0, maphash.String(m.seed, key), key)
	m.len--
	return m
}

// all calls f for each entry.
func (m *pmap[V]) all(f func(key string, v V)) { m.root.all(f) }

func (n *hamt[V]) all(f func(string, V)) {
	for i := range n.slots {
		if s := &n.slots[i]; s.child != nil {
			s.child.all(f)
		} else {
			f(s.key, s.value)
		}
	}
}

// own returns the node, or a copy of it if an older version may have it.
func (n *hamt[V]) own(gen uint64) *hamt[V] {
	if n.gen == gen {
		return n
	}
	return &hamt[V]{gen: gen, bits: n.bits, slots: append(make([]hslot[V], 0, len(n.slots)+1), n.slots...)}
}

func (n *hamt[V]) set(seed maphash.Seed, gen uint64, shift uint, h uint64, e hslot[V], added *bool) *hamt[V] {
	n = n.own(gen)
	if shift >= hamtEnd {
		for i := range n.slots {
			if n.slots[i].key == e.key {
				n.slots[i] = e
				return n
			}
		}
		*added = true
		n.slots = append(n.slots, e)
		return n
	}
	bit := uint64(1) << (h >> shift & 63)
	i := bits.OnesCount64(n.bits & (bit - 1))
	if n.bits&bit == 0 {
		*added = true
		n.bits |= bit
		n.slots = append(n.slots, hslot[V]{})
		copy(n.slots[i+1:], n.slots[i:])
		n.slots[i] = e
		return n
	}
	s := &n.slots[i]
	switch {
	case s.child != nil:
		s.child = s.child.set(seed, gen, shift+hamtStep, h, e, added)
	case s.key == e.key:
		*s = e
	default:
		other, ignored := *s, false
		child := (&hamt[V]{gen: gen}).set(seed, gen, shift+hamtStep, maphash.String(seed, other.key), other, &ignored)
		*s = hslot[V]{child: child.set(seed, gen, shift+hamtStep, h, e, added)}
	}
	return n
}

// del returns the node without an entry that is there.
func (n *hamt[V]) del(gen uint64, shift uint, h uint64, key string) *hamt[V] {
	n = n.own(gen)
	i, bit := 0, uint64(0)
	if shift >= hamtEnd {
		for n.slots[i].key != key {
			i++
		}
	} else {
		bit = uint64(1) << (h >> shift & 63)
		i = bits.OnesCount64(n.bits & (bit - 1))
		if s := &n.slots[i]; s.child != nil {
			s.child = s.child.del(gen, shift+hamtStep, h, key)
			if len(s.child.slots) > 0 {
				return n
			}
		}
	}
	n.bits &^= bit
	copy(n.slots[i:], n.slots[i+1:])
	n.slots[len(n.slots)-1] = hslot[V]{}
	n.slots = n.slots[:len(n.slots)-1]
	return n
}
