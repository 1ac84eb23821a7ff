package table

import (
	"strings"

	"minato/internal/ingress/regex"
)

// pattern is one location of a host of patterns: it matches paths that begin with what it describes, in any case of
// letters. It is immutable.
type pattern struct {
	text  string
	exact bool
	// re is nil where text has no operator: then it is compared as it is.
	re     *regex.Regexp
	route  *Route
	rivals []Rival
}

// before is the order in which patterns are tried: by length descending, then by text descending (ingress-nginx's order
// of locations). Of equal texts, Exact comes first.
func (p *pattern) before(o *pattern) bool {
	if len(p.text) != len(o.text) {
		return len(p.text) > len(o.text)
	}
	if p.text != o.text {
		return p.text > o.text
	}
	return p.exact && !o.exact
}

// literal returns the text that all matches begin with, and whether that is all of the pattern.
func (p *pattern) literal() (prefix string, whole bool) {
	if p.re == nil {
		return p.text, true
	}
	return literalOf(p.text)
}

// operators are the bytes that mean something else than themselves in a pattern.
const operators = `\.+*?()|[]{}^$`

// literalOf returns the text that all matches of a path's pattern begin with, and whether that is the whole pattern.
func literalOf(path string) (prefix string, whole bool) {
	i := strings.IndexAny(path, operators)
	if i < 0 {
		return path, true
	}
	// An alternative may begin otherwise, and what follows a group or a comment may still repeat the byte before it.
	if strings.IndexByte(path, '|') >= 0 && alternates(path) {
		return "", false
	}
	switch path[i] {
	case '*', '?', '{', '+', '(':
		i = max(i-1, 0)
	}
	return path[:i], false
}

// alternates tells whether a pattern may have alternatives outside of groups. When in doubt it does.
func alternates(p string) bool {
	depth := 0
	for i := 0; i < len(p); i++ {
		switch p[i] {
		case '\\', '[':
			return true
		case '(':
			depth++
		case ')':
			depth--
		case '|':
			if depth <= 0 {
				return true
			}
		}
	}
	return false
}

// firstPattern finds the first pattern of the host that matches the path. Only those are tried whose literal beginning the path has.
func (r radix) firstPattern(path string, m *Match) {
	var space [32][]*pattern
	heads := r.patternsOn(path, space[:0])
	for {
		best := -1
		for i, h := range heads {
			if len(h) > 0 && (best < 0 || h[0].before(heads[best][0])) {
				best = i
			}
		}
		if best < 0 {
			return
		}
		p := heads[best][0]
		heads[best] = heads[best][1:]
		if p.re == nil {
			m.Route, m.Captures = p.route, append(m.Captures[:0], 0, len(p.text))
			return
		}
		caps, err := p.re.MatchInto(path, m.Captures[:0])
		if err != nil {
			m.Route, m.Err = p.route, err
			return
		}
		if caps != nil {
			m.Route, m.Captures = p.route, caps
			return
		}
	}
}

// patternsOn returns the lists of patterns whose literal beginning the path has, each in order.
func (r radix) patternsOn(path string, heads [][]*pattern) [][]*pattern {
	n := r.root
	for i := 0; n != nil; {
		if n.place != nil && len(n.place.patterns) > 0 {
			heads = append(heads, n.place.patterns)
		}
		if i == len(path) {
			break
		}
		k := strings.IndexByte(n.firsts, lower(path[i]))
		if k < 0 {
			break
		}
		n = n.kids[k]
		if !hasPrefixFold(path[i:], n.label) {
			break
		}
		i += len(n.label)
	}
	return heads
}

// hasPrefixFold tells whether s begins with a prefix in lower case. Only ASCII letters have case, as in the patterns.
func hasPrefixFold(s, prefix string) bool {
	if len(s) < len(prefix) {
		return false
	}
	for i := range len(prefix) {
		if lower(s[i]) != prefix[i] {
			return false
		}
	}
	return true
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		c += 'a' - 'A'
	}
	return c
}

// lowerASCII is strings.ToLower for ASCII letters alone.
func lowerASCII(s string) string {
	for i := range len(s) {
		if lower(s[i]) != s[i] {
			b := []byte(s)
			for j := range b {
				b[j] = lower(b[j])
			}
			return string(b)
		}
	}
	return s
}
