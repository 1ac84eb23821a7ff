package regex

// Prefix is the literal text that every match begins with.
type Prefix struct {
	// Text is "" where there is none. With Fold it is lower-case and stands
	// for ASCII letters in either case.
	Text string
	Fold bool
	// Anchored tells that a match begins at the start of the subject: a
	// subject that does not begin with Text does not match.
	Anchored bool
	// Complete tells, of an anchored pattern, that every subject that begins
	// with Text matches.
	Complete bool
}

// prefixOf walks over what each match must take first.
func prefixOf(root *node) Prefix {
	w := &prefixWalk{}
	complete := w.node(root)
	p := Prefix{Text: string(w.text), Fold: w.fold, Anchored: root.anchored()}
	p.Complete = p.Anchored && complete && !w.grouped
	if !p.Anchored && w.began {
		p = Prefix{}
	}
	return p
}

type prefixWalk struct {
	text    []byte
	fold    bool
	exact   bool // the text has a letter that matches in one case alone
	began   bool // the start of the subject was asked for
	grouped bool
}

// node adds what n takes for sure; it returns false if more may come of
// which nothing is sure.
func (w *prefixWalk) node(n *node) bool {
	switch n.kind {
	case kEmpty:
		return true
	case kBegin:
		w.began = true
		return len(w.text) == 0
	case kByte:
		if n.fold && w.exact || !n.fold && isLetter(n.b) && w.fold {
			return false
		}
		b := n.b
		if n.fold {
			w.fold = true
			b = lower(b)
		} else if isLetter(b) {
			w.exact = true
		}
		w.text = append(w.text, b)
		return true
	case kConcat:
		for _, s := range n.subs {
			if !w.node(s) {
				return false
			}
		}
		return true
	case kGroup:
		w.grouped = true
		return w.node(n.subs[0])
	case kRepeat:
		if n.min == 0 {
			return false
		}
		w.grouped = true
		w.node(n.subs[0])
	}
	return false
}
