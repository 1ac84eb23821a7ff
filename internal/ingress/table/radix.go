package table

import "strings"

// radix holds the paths of one host by their text, or in a host of patterns by the lower-case text that each pattern
// begins with. As with pmap, an edit makes a new version that shares all but the nodes on its way. Its form depends on
// its keys alone, not on the order in which they came.
type radix struct {
	root *rnode
}

type rnode struct {
	label  string
	firsts string // the first byte of each kid's label, ascending
	kids   []*rnode
	place  *place // nil where no key ends
	gen    uint64
}

// place is what is known of one key. It is immutable.
type place struct {
	exact, prefix *Route
	// patterns are in the order in which they are tried.
	patterns []*pattern
	// exactRivals and prefixRivals are the Ingresses that ask for the path too and don't have it.
	exactRivals, prefixRivals []Rival
}

func (p *place) empty() bool {
	return p == nil || p.exact == nil && p.prefix == nil && len(p.patterns) == 0
}

// update returns the version in which the place of key is what f makes of the old one; either may be nil.
func (r radix) update(gen uint64, key string, f func(*place) *place) radix {
	root := r.root
	if root == nil {
		root = &rnode{gen: gen}
	}
	return radix{root.update(gen, key, f)}
}

func (n *rnode) own(gen uint64) *rnode {
	if n.gen == gen {
		return n
	}
	c := *n
	c.gen = gen
	c.kids = append(make([]*rnode, 0, len(n.kids)+1), n.kids...)
	return &c
}

// update works on the key's rest below n.
func (n *rnode) update(gen uint64, key string, f func(*place) *place) *rnode {
	n = n.own(gen)
	if key == "" {
		n.place = f(n.place)
		if n.place.empty() {
			n.place = nil
		}
		return n
	}
	i := strings.IndexByte(n.firsts, key[0])
	if i < 0 {
		if p := f(nil); !p.empty() {
			n.insert(&rnode{gen: gen, label: strings.Clone(key), place: p})
		}
		return n
	}
	kid := n.kids[i]
	if l := common(kid.label, key); l < len(kid.label) {
		lower := kid.own(gen)
		upper := &rnode{gen: gen, label: kid.label[:l], firsts: kid.label[l : l+1], kids: []*rnode{lower}}
		lower.label = kid.label[l:]
		kid = upper
	}
	kid = kid.update(gen, key[len(kid.label):], f)
	switch {
	case kid.place == nil && len(kid.kids) == 0:
		n.firsts = n.firsts[:i] + n.firsts[i+1:]
		n.kids = append(n.kids[:i], n.kids[i+1:]...)
		return n
	case kid.place == nil && len(kid.kids) == 1:
		lower := kid.kids[0].own(gen)
		lower.label = kid.label + lower.label
		kid = lower
	}
	n.kids[i] = kid
	return n
}

func (n *rnode) insert(kid *rnode) {
	first, i := kid.label[0], 0
	for i < len(n.firsts) && n.firsts[i] < first {
		i++
	}
	n.firsts = n.firsts[:i] + string([]byte{first}) + n.firsts[i:]
	n.kids = append(n.kids, nil)
	copy(n.kids[i+1:], n.kids[i:])
	n.kids[i] = kid
}

func common(a, b string) int {
	n := min(len(a), len(b))
	for i := range n {
		if a[i] != b[i] {
			return i
		}
	}
	return n
}

// longest returns the route of a path in a host of plain paths: the exact one, else that of the longest prefix of whole
// elements; nil if there is none. Prefix /foo/ has /foo too, where nothing else has it.
func (r radix) longest(path string) *Route {
	n := r.root
	if n == nil {
		return nil
	}
	var best *Route
	for i := 0; ; {
		if p := n.place; p != nil {
			if i == len(path) {
				if p.exact != nil {
					return p.exact
				}
				if p.prefix != nil {
					return p.prefix
				}
			} else if p.prefix != nil && (path[i] == '/' || i > 0 && path[i-1] == '/') {
				best = p.prefix
			}
		}
		if i == len(path) {
			return withSlash(n, "", best)
		}
		k := strings.IndexByte(n.firsts, path[i])
		if k < 0 {
			return best
		}
		kid := n.kids[k]
		if len(path)-i < len(kid.label) {
			return withSlash(n, path[i:], best)
		}
		if path[i:i+len(kid.label)] != kid.label {
			return best
		}
		i += len(kid.label)
		n = kid
	}
}

// withSlash looks for the prefix whose key is one slash longer than the path, of which rest is below n.
func withSlash(n *rnode, rest string, best *Route) *Route {
	first := byte('/')
	if rest != "" {
		first = rest[0]
	}
	k := strings.IndexByte(n.firsts, first)
	if k < 0 {
		return best
	}
	kid := n.kids[k]
	if len(kid.label) == len(rest)+1 && kid.label[len(rest)] == '/' && kid.label[:len(rest)] == rest && kid.place != nil && kid.place.prefix != nil {
		return kid.place.prefix
	}
	return best
}

// all calls f for each place, in the order of keys.
func (r radix) all(f func(key string, p *place)) {
	if r.root != nil {
		r.root.all("", f)
	}
}

func (n *rnode) all(above string, f func(string, *place)) {
	key := above + n.label
	if n.place != nil {
		f(key, n.place)
	}
	for _, k := range n.kids {
		k.all(key, f)
	}
}
