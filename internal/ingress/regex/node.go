package regex

// kind says what a node of a parsed pattern is.
type kind uint8

const (
	kEmpty     kind = iota // matches the empty string
	kFail                  // never matches
	kByte                  // one byte b, in either case with fold
	kSet                   // one byte of set
	kBegin                 // start of the subject
	kEnd                   // end of the subject
	kDollar                // end of the subject, or before a newline that ends it
	kLineBegin             // start of a line
	kLineEnd               // end of a line
	kWord                  // word boundary
	kNotWord               // no word boundary
	kKeep                  // \K: the match starts here
	kConcat                // subs one after the other
	kAlternate             // the first of subs that leads to a match
	kGroup                 // capture number n around subs[0]
	kRepeat                // subs[0], min to max times (max -1: no end)
	kAtomic                // subs[0], and what it took is not given back
	kLook                  // look-ahead, with behind: look-behind; negated with not
	kReference             // what capture n took
	kCall                  // the pattern of capture n again; 0: the whole
	kCondition             // with n >= 0: capture n is set; else subs[2] holds. subs[0] then, subs[1] otherwise
)

// mode says in which order a repetition tries its counts.
type mode uint8

const (
	greedy mode = iota
	lazy
	possessive
)

type node struct {
	kind     kind
	b        byte
	fold     bool
	behind   bool
	not      bool
	mode     mode
	min, max int
	n        int
	at       int // offset in the pattern
	set      *charset
	subs     []*node
}

const unbounded = -1

// single returns the set of bytes of a node that always takes one byte.
func (n *node) single() (*charset, bool) {
	switch n.kind {
	case kSet:
		return n.set, true
	case kByte:
		s := &charset{}
		s.add(n.b)
		if n.fold {
			s.fold()
		}
		return s, true
	}
	return nil, false
}

// width returns the least and the greatest length of what the node takes;
// the greatest is unbounded where it has no end or depends on the subject.
func (n *node) width() (least, most int) {
	switch n.kind {
	case kByte, kSet:
		return 1, 1
	case kConcat:
		for _, s := range n.subs {
			a, b := s.width()
			least, most = clampWidth(least+a), addWidth(most, b)
		}
		return least, most
	case kAlternate:
		return widthOf(n.subs)
	case kGroup, kAtomic:
		return n.subs[0].width()
	case kRepeat:
		a, b := n.subs[0].width()
		least = clampWidth(a * n.min)
		switch {
		case b == 0 || n.max == 0:
			most = 0
		case n.max == unbounded || b == unbounded:
			most = unbounded
		default:
			most = clampWidth(b * n.max)
		}
		return least, most
	case kReference, kCall:
		return 0, unbounded
	case kCondition:
		return widthOf(n.subs[:2])
	}
	return 0, 0
}

func widthOf(alternatives []*node) (least, most int) {
	for i, s := range alternatives {
		a, b := s.width()
		if i == 0 {
			least, most = a, b
			continue
		}
		least = min(least, a)
		if most != unbounded && (b == unbounded || b > most) {
			most = b
		}
	}
	return least, most
}

func addWidth(a, b int) int {
	if a == unbounded || b == unbounded {
		return unbounded
	}
	return clampWidth(a + b)
}

// clampWidth keeps sums and products of lengths far from overflow; lengths
// beyond it make no difference, since no pattern may look back so far.
func clampWidth(n int) int { return min(n, 1<<20) }

// anchored tells whether a match of the node can only begin at the start of
// the subject.
func (n *node) anchored() bool {
	switch n.kind {
	case kBegin:
		return true
	case kConcat:
		for _, s := range n.subs {
			if s.anchored() {
				return true
			}
			if _, most := s.width(); most != 0 {
				return false
			}
		}
	case kAlternate:
		for _, s := range n.subs {
			if !s.anchored() {
				return false
			}
		}
		return true
	case kGroup, kAtomic:
		return n.subs[0].anchored()
	case kRepeat:
		return n.min > 0 && n.subs[0].anchored()
	}
	return false
}
