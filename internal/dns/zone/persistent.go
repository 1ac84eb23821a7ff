package zone

import "math/bits"

// A key of a persistent map hashes and compares itself, so that names can be
// matched without regard to case and without making a lower-case copy first.
type key[K any] interface {
	hash() uint64
	equal(K) bool
}

// persistentMap is an immutable hash array mapped trie. set and remove return a
// new map that shares all but the path to the changed entry: a change costs a
// few small node copies whatever the number of entries, and readers of the old
// map never notice.
type persistentMap[K key[K], V any] struct {
	root *trieNode[K, V]
	size int
}

const (
	trieBits = 5
	trieMask = 1<<trieBits - 1
)

type trieNode[K key[K], V any] struct {
	bitmap uint32
	slots  []trieSlot[K, V]
}

// trieSlot holds either a child or a leaf.
type trieSlot[K key[K], V any] struct {
	child *trieNode[K, V]
	leaf  *trieLeaf[K, V]
}

// trieLeaf is one entry; next chains entries whose whole hash is the same.
type trieLeaf[K key[K], V any] struct {
	hash  uint64
	key   K
	value V
	next  *trieLeaf[K, V]
}

func (m persistentMap[K, V]) get(k K) (V, bool) {
	h := k.hash()
	n := m.root
	for shift := uint(0); n != nil; shift += trieBits {
		bit := uint32(1) << (h >> shift & trieMask)
		if n.bitmap&bit == 0 {
			break
		}
		s := n.slots[bits.OnesCount32(n.bitmap&(bit-1))]
		if s.leaf != nil {
			for l := s.leaf; l != nil; l = l.next {
				if l.hash == h && l.key.equal(k) {
					return l.value, true
				}
			}
			break
		}
		n = s.child
	}
	var zero V
	return zero, false
}

func (m persistentMap[K, V]) set(k K, v V) persistentMap[K, V] {
	leaf := &trieLeaf[K, V]{hash: k.hash(), key: k, value: v}
	root, added := m.root.with(leaf, 0)
	if added {
		m.size++
	}
	m.root = root
	return m
}

func (m persistentMap[K, V]) remove(k K) persistentMap[K, V] {
	root, removed := m.root.without(k, k.hash(), 0)
	if removed {
		m.size--
		m.root = root
	}
	return m
}

// each calls fn for every entry until it returns false.
func (m persistentMap[K, V]) each(fn func(K, V) bool) {
	m.root.each(fn)
}

func (n *trieNode[K, V]) with(leaf *trieLeaf[K, V], shift uint) (*trieNode[K, V], bool) {
	if n == nil {
		n = &trieNode[K, V]{}
	}
	bit := uint32(1) << (leaf.hash >> shift & trieMask)
	at := bits.OnesCount32(n.bitmap & (bit - 1))
	if n.bitmap&bit == 0 {
		slots := make([]trieSlot[K, V], len(n.slots)+1)
		copy(slots, n.slots[:at])
		slots[at].leaf = leaf
		copy(slots[at+1:], n.slots[at:])
		return &trieNode[K, V]{bitmap: n.bitmap | bit, slots: slots}, true
	}
	old := n.slots[at]
	var fresh trieSlot[K, V]
	added := true
	switch {
	case old.child != nil:
		fresh.child, added = old.child.with(leaf, shift+trieBits)
	case old.leaf.hash == leaf.hash:
		fresh.leaf, added = old.leaf.with(leaf)
	default:
		// Two different hashes meet here: push both one level down.
		child := &trieNode[K, V]{
			bitmap: 1 << (old.leaf.hash >> (shift + trieBits) & trieMask),
			slots:  []trieSlot[K, V]{old},
		}
		fresh.child, _ = child.with(leaf, shift+trieBits)
	}
	return n.replace(at, fresh), added
}

func (n *trieNode[K, V]) without(k K, h uint64, shift uint) (*trieNode[K, V], bool) {
	if n == nil {
		return nil, false
	}
	bit := uint32(1) << (h >> shift & trieMask)
	if n.bitmap&bit == 0 {
		return n, false
	}
	at := bits.OnesCount32(n.bitmap & (bit - 1))
	old := n.slots[at]
	var fresh trieSlot[K, V]
	removed := false
	if old.child != nil {
		fresh.child, removed = old.child.without(k, h, shift+trieBits)
	} else {
		fresh.leaf, removed = old.leaf.without(k, h)
	}
	if !removed {
		return n, false
	}
	if fresh.child != nil || fresh.leaf != nil {
		return n.replace(at, fresh), true
	}
	if len(n.slots) == 1 {
		return nil, true
	}
	slots := make([]trieSlot[K, V], 0, len(n.slots)-1)
	slots = append(append(slots, n.slots[:at]...), n.slots[at+1:]...)
	return &trieNode[K, V]{bitmap: n.bitmap &^ bit, slots: slots}, true
}

func (n *trieNode[K, V]) replace(at int, s trieSlot[K, V]) *trieNode[K, V] {
	slots := make([]trieSlot[K, V], len(n.slots))
	copy(slots, n.slots)
	slots[at] = s
	return &trieNode[K, V]{bitmap: n.bitmap, slots: slots}
}

func (n *trieNode[K, V]) each(fn func(K, V) bool) bool {
	if n == nil {
		return true
	}
	for _, s := range n.slots {
		if s.child != nil && !s.child.each(fn) {
			return false
		}
		for l := s.leaf; l != nil; l = l.next {
			if !fn(l.key, l.value) {
				return false
			}
		}
	}
	return true
}

// with returns the chain with leaf in it, replacing an entry of the same key.
func (l *trieLeaf[K, V]) with(leaf *trieLeaf[K, V]) (*trieLeaf[K, V], bool) {
	rest, replaced := l.without(leaf.key, leaf.hash)
	leaf.next = rest
	return leaf, !replaced
}

func (l *trieLeaf[K, V]) without(k K, h uint64) (*trieLeaf[K, V], bool) {
	if l == nil {
		return nil, false
	}
	if l.hash == h && l.key.equal(k) {
		return l.next, true
	}
	rest, removed := l.next.without(k, h)
	if !removed {
		return l, false
	}
	return &trieLeaf[K, V]{hash: l.hash, key: l.key, value: l.value, next: rest}, true
}
