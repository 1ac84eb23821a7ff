package table

import "hash/maphash"

// pmap is a map from strings of which each edit makes a new version: versions share all but the bucket of the entry and
// the list of buckets, so an edit costs one copy of that list, and readers of an older version are not disturbed. What
// was made with the same generation is edited in place. The order of its entries is arbitrary. Its look-ups touch few
// lines of memory, as those cost more than anything else where there are many routes.
type pmap[V any] struct {
	seed    maphash.Seed
	buckets []*bucket[V] // as many as a power of two
	len     int
	gen     uint64 // of the list
}

const bucketSize = 8

type bucket[V any] struct {
	tags [bucketSize]uint32 // the upper half of the hashes
	n    int
	more *bucket[V]
	gen  uint64
	all  [bucketSize]struct {
		key   string
		value *V
	}
}

func newPmap[V any](seed maphash.Seed) pmap[V] { return pmap[V]{seed: seed} }

// get returns the value of a key, nil if there is none.
func (m *pmap[V]) get(key string) *V {
	if m.len == 0 {
		return nil
	}
	h := maphash.String(m.seed, key)
	tag := uint32(h >> 32)
	for b := m.buckets[h&uint64(len(m.buckets)-1)]; b != nil; b = b.more {
		for i := range b.n {
			if b.tags[i] == tag && b.all[i].key == key {
				return b.all[i].value
			}
		}
	}
	return nil
}

// set returns the map with the entry.
func (m pmap[V]) set(gen uint64, key string, v *V) pmap[V] {
	if m.len >= 5*len(m.buckets) {
		m = m.resized(gen, max(1, 2*len(m.buckets)))
	}
	m = m.own(gen)
	if m.put(maphash.String(m.seed, key), key, v) {
		m.len++
	}
	return m
}

// del returns the map without the entry.
func (m pmap[V]) del(gen uint64, key string) pmap[V] {
	if m.get(key) == nil {
		return m
	}
	m = m.own(gen)
	h := maphash.String(m.seed, key)
	for p := &m.buckets[h&uint64(len(m.buckets)-1)]; ; p = &(*p).more {
		b := ownBucket(p, gen)
		for i := range b.n {
			if b.all[i].key != key {
				continue
			}
			b.n--
			b.tags[i], b.all[i] = b.tags[b.n], b.all[b.n]
			b.all[b.n].key, b.all[b.n].value = "", nil
			if b.n == 0 {
				*p = b.more
			}
			m.len--
			if n := len(m.buckets); n > 1 && m.len < n {
				m = m.resized(gen, n/2)
			}
			return m
		}
	}
}

// all calls f for each entry.
func (m *pmap[V]) all(f func(key string, v *V)) {
	for _, b := range m.buckets {
		for ; b != nil; b = b.more {
			for i := range b.n {
				f(b.all[i].key, b.all[i].value)
			}
		}
	}
}

func (m pmap[V]) own(gen uint64) pmap[V] {
	if m.gen != gen {
		m.gen, m.buckets = gen, append([]*bucket[V](nil), m.buckets...)
	}
	return m
}

// put writes an entry into a map whose list is its own, and tells whether it is new.
func (m *pmap[V]) put(h uint64, key string, v *V) bool {
	tag := uint32(h >> 32)
	p := &m.buckets[h&uint64(len(m.buckets)-1)]
	before := 0
	for b := *p; b != nil; b = b.more {
		for i := range b.n {
			if b.tags[i] == tag && b.all[i].key == key {
				for range before {
					p = &ownBucket(p, m.gen).more
				}
				ownBucket(p, m.gen).all[i].value = v
				return false
			}
		}
		before++
	}
	for ; *p != nil && (*p).n == bucketSize; p = &(*p).more {
		ownBucket(p, m.gen)
	}
	if *p == nil {
		*p = &bucket[V]{gen: m.gen}
	}
	b := ownBucket(p, m.gen)
	b.tags[b.n], b.all[b.n].key, b.all[b.n].value = tag, key, v
	b.n++
	return true
}

// ownBucket makes a bucket one that may be changed.
func ownBucket[V any](p **bucket[V], gen uint64) *bucket[V] {
	if (*p).gen != gen {
		c := **p
		c.gen = gen
		*p = &c
	}
	return *p
}

func (m pmap[V]) resized(gen uint64, n int) pmap[V] {
	r := pmap[V]{seed: m.seed, gen: gen, len: m.len, buckets: make([]*bucket[V], n)}
	m.all(func(key string, v *V) { r.put(maphash.String(r.seed, key), key, v) })
	return r
}
