package table

import "strings"

// radix holds the patterns of one host by the lower-case text that each begins with. As with pmap, an edit makes a new
// version that shares all but the nodes on its way. Its form depends on its keys alone, not on the order in which they
// came.
type radix struct {
	root *rnode
}

// rnode is as large as a line of memory.
type rnode struct {
	// text is the label, of which the length is given, and behind it the first byte of each kid's label, ascending.
	text  string
	label int
	kids  []*rnode
	place *place // nil where no key ends
	gen   uint64
}

// place has the patterns of one key in the order in which they are tried. It is immutable.
type place struct {
	patterns []*pattern
}

func (p *place) empty() bool { return p == nil || len(p.patterns) == 0 }

func (n *rnode) labelText() string { return n.text[:n.label] }
func (n *rnode) firsts() string    { return n.text[n.label:] }

func (n *rnode) setLabel(label string) { n.text, n.label = label+n.firsts(), len(label) }

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
	i := strings.IndexByte(n.firsts(), key[0])
	if i < 0 {
		if p := f(nil); !p.empty() {
			n.insert(&rnode{gen: gen, text: strings.Clone(key), label: len(key), place: p})
		}
		return n
	}
	kid := n.kids[i]
	if l := common(kid.labelText(), key); l < kid.label {
		upper := &rnode{gen: gen, text: kid.text[:l+1], label: l}
		lower := kid.own(gen)
		lower.setLabel(kid.labelText()[l:])
		upper.kids = []*rnode{lower}
		kid = upper
	}
	kid = kid.update(gen, key[kid.label:], f)
	switch {
	case kid.place == nil && len(kid.kids) == 0:
		n.text = n.text[:n.label+i] + n.text[n.label+i+1:]
		n.kids = append(n.kids[:i], n.kids[i+1:]...)
		return n
	case kid.place == nil && len(kid.kids) == 1:
		lower := kid.kids[0].own(gen)
		lower.setLabel(kid.labelText() + lower.labelText())
		kid = lower
	}
	n.kids[i] = kid
	return n
}

func (n *rnode) insert(kid *rnode) {
	first, i := kid.text[0], n.label
	for i < len(n.text) && n.text[i] < first {
		i++
	}
	n.text = n.text[:i] + string([]byte{first}) + n.text[i:]
	i -= n.label
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

// patternsOn returns the lists of patterns whose literal beginning the path has, each in order.
func (r radix) patternsOn(path string, heads [][]*pattern) [][]*pattern {
	n := r.root
	for i := 0; n != nil; {
		if n.place != nil {
			heads = append(heads, n.place.patterns)
		}
		if i == len(path) {
			break
		}
		k := strings.IndexByte(n.firsts(), lower(path[i]))
		if k < 0 {
			break
		}
		n = n.kids[k]
		if !hasPrefixFold(path[i:], n.labelText()) {
			break
		}
		i += n.label
	}
	return heads
}

// all calls f for each place, in the order of keys.
func (r radix) all(f func(key string, p *place)) {
	if r.root != nil {
		r.root.all("", f)
	}
}

func (n *rnode) all(above string, f func(string, *place)) {
	key := above + n.labelText()
	if n.place != nil {
		f(key, n.place)
	}
	for _, k := range n.kids {
		k.all(key, f)
	}
}
