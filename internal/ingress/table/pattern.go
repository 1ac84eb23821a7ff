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
// of locations). Of equal texts, Exact comes first, and what a path says comes before the slash that is put behind a Prefix.
func (p *pattern) before(o *pattern) bool {
	if len(p.text) != len(o.text) {
		return len(p.text) > len(o.text)
	}
	if p.text != o.text {
		return p.text > o.text
	}
	if p.exact != o.exact {
		return p.exact
	}
	return p.route.Path == p.text && o.route.Path != o.text
}

// literal returns the text in lower case that all matches begin with.
func (p *pattern) literal() string {
	if p.re == nil {
		return lowerASCII(p.text)
	}
	if x := p.re.Prefix(); x.Anchored {
		return lowerASCII(x.Text)
	}
	return ""
}

// operators are the bytes that mean something else than themselves in a pattern.
const operators = `\.+*?()|[]{}^$`

// literalText tells whether a path means itself when it is read as a pattern.
func literalText(path string) bool { return !strings.ContainsAny(path, operators) }

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
