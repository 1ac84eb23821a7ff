package regex

import (
	"fmt"
	"strings"
)

const (
	// maxPattern is the length of the longest pattern, in bytes: a parameter
	// of nginx's configuration can't be longer either.
	maxPattern = 4096
	// maxNesting bounds the depth of groups, as PCRE2 does (its
	// PARENS_NEST_LIMIT is 250).
	maxNesting = 250
	// maxRepeat is PCRE2's greatest count in a quantifier.
	maxRepeat = 65535
	// maxLookBehind is how far a look-behind may go back (PCRE2 10.43).
	maxLookBehind = 255
)

// flags are the options that a pattern can switch within itself.
type flags struct {
	fold      bool // i
	multiline bool // m
	dotAll    bool // s
	extended  bool // x
	classes   bool // xx: blanks in classes are ignored too
	noCapture bool // n
	ungreedy  bool // U
}

// reference is a use of a group that is resolved when all groups are known.
type reference struct {
	node *node
	name string // or "", then node.n is the number
}

type parser struct {
	src      string
	pos      int
	flags    flags
	groups   int // captures opened so far
	highest  int // captures of the whole pattern
	names    map[string]int
	numbered map[int]string // the name of each group that has one
	bodies   map[int]*node  // the first group of each number
	refs     []reference
	depth    int
	looking  int  // depth of look-arounds
	quoted   bool // between \Q and \E

	backtracks bool // has back references or conditions on groups
	recurses   bool
}

func (p *parser) fail(at int, remedy, problem string, args ...any) error {
	return &SyntaxError{Text: p.src, Offset: at, Problem: fmt.Sprintf(problem, args...), Remedy: remedy}
}

func (p *parser) more() bool { return p.pos < len(p.src) }

func (p *parser) has(prefix string) bool { return strings.HasPrefix(p.src[p.pos:], prefix) }

// take skips prefix, if it comes next.
func (p *parser) take(prefix string) bool {
	if !p.has(prefix) {
		return false
	}
	p.pos += len(prefix)
	return true
}

// parse reads the whole pattern.
func (p *parser) parse() (*node, error) {
	if len(p.src) > maxPattern {
		return nil, p.fail(maxPattern, "split the pattern over several paths", "a pattern has at most %d bytes, this one has %d", maxPattern, len(p.src))
	}
	if err := p.startVerbs(); err != nil {
		return nil, err
	}
	root, err := p.alternatives(false)
	if err != nil {
		return nil, err
	}
	if p.more() {
		return nil, p.fail(p.pos, `write \) for a literal parenthesis`, "the parenthesis closes no group")
	}
	p.highest = max(p.highest, p.groups)
	return root, p.resolve()
}

// startVerbs reads items such as (*NO_JIT) that may only come first.
func (p *parser) startVerbs() error {
	for p.has("(*") {
		end := strings.IndexByte(p.src[p.pos:], ')')
		if end < 0 {
			return nil
		}
		switch verb := p.src[p.pos+2 : p.pos+end]; verb {
		case "LF", "NO_JIT", "NO_START_OPT", "NO_AUTO_POSSESS", "NO_DOTSTAR_ANCHOR", "BSR_UNICODE":
			p.pos += end + 1
		case "UTF", "UTF8", "UCP", "CR", "CRLF", "ANYCRLF", "ANY", "NUL", "BSR_ANYCRLF", "NOTEMPTY", "NOTEMPTY_ATSTART":
			return p.fail(p.pos, "remove it and match bytes, with a newline being LF", "the option (*%s) is not served", verb)
		default:
			return nil
		}
	}
	return nil
}

// resolve gives references by name their number and checks that every
// referenced group exists.
func (p *parser) resolve() error {
	for _, r := range p.refs {
		if r.name != "" {
			n, ok := p.names[r.name]
			if !ok {
				return p.fail(r.node.at, fmt.Sprintf("name a group (?<%s>…) or correct the name", r.name), "the pattern has no group of the name %q", r.name)
			}
			r.node.n = n
		}
		if r.node.n > p.highest {
			return p.fail(r.node.at, "correct the number", "the pattern has %d groups, and the reference is to group %d", p.highest, r.node.n)
		}
	}
	return nil
}

// alternatives reads branches up to a closing parenthesis or the end. With
// reset each branch numbers its groups from the same start.
func (p *parser) alternatives(reset bool) (*node, error) {
	at := p.pos
	branches, err := p.branches(reset)
	if err != nil || len(branches) > 1 {
		return &node{kind: kAlternate, at: at, subs: branches}, err
	}
	return branches[0], nil
}

func (p *parser) branches(reset bool) ([]*node, error) {
	first, highest := p.groups, p.groups
	var branches []*node
	for {
		b, err := p.branch()
		if err != nil {
			return nil, err
		}
		branches = append(branches, b)
		highest = max(highest, p.groups)
		if !p.take("|") {
			break
		}
		if reset {
			p.groups = first
		}
	}
	p.groups = highest
	p.highest = max(p.highest, highest)
	return branches, nil
}

func (p *parser) branch() (*node, error) {
	seq := &node{kind: kConcat, at: p.pos}
	for {
		if err := p.skip(); err != nil {
			return nil, err
		}
		if !p.more() || !p.quoted && (p.src[p.pos] == '|' || p.src[p.pos] == ')') {
			break
		}
		n, err := p.item()
		if err != nil {
			return nil, err
		}
		if n != nil {
			seq.subs = append(seq.subs, n)
		}
	}
	if len(seq.subs) == 1 {
		return seq.subs[0], nil
	}
	return seq, nil
}

// item reads an atom and the quantifier on it; it returns nil for what only
// changes flags.
func (p *parser) item() (*node, error) {
	at := p.pos
	atom, err := p.atom()
	if err != nil || atom == nil {
		return nil, err
	}
	if err := p.skip(); err != nil {
		return nil, err
	}
	lo, hi, ok, err := p.quantifier()
	if err != nil || !ok {
		return atom, err
	}
	if !quantifiable(atom) {
		return nil, p.fail(at, "remove the quantifier, or put what it is for in parentheses", "an assertion of a place can't be repeated")
	}
	rep := &node{kind: kRepeat, at: at, min: lo, max: hi, subs: []*node{atom}}
	if err := p.skip(); err != nil {
		return nil, err
	}
	switch {
	case p.quoted:
	case p.take("+"):
		rep.mode = possessive
	case p.take("?") != p.flags.ungreedy:
		rep.mode = lazy
	}
	return rep, nil
}

func quantifiable(n *node) bool {
	switch n.kind {
	case kBegin, kEnd, kDollar, kLineBegin, kLineEnd, kWord, kNotWord, kKeep, kFail:
		return false
	}
	return true
}

// skip passes over comments, \E, and with (?x) blanks.
func (p *parser) skip() error {
	for p.more() {
		if p.quoted {
			if !p.take(`\E`) {
				return nil
			}
			p.quoted = false
			continue
		}
		switch c := p.src[p.pos]; {
		case c == '\\' && (p.take(`\E`)):
		case c == '\\' && p.take(`\Q`):
			p.quoted = true
		case c == '(' && p.has("(?#"):
			end := strings.IndexByte(p.src[p.pos:], ')')
			if end < 0 {
				return p.fail(p.pos, "close it with a parenthesis", "the comment does not end")
			}
			p.pos += end + 1
		case p.flags.extended && strings.IndexByte(" \t\n\v\f\r", c) >= 0:
			p.pos++
		case p.flags.extended && c == '#':
			end := strings.IndexByte(p.src[p.pos:], '\n')
			if end < 0 {
				p.pos = len(p.src)
			} else {
				p.pos += end + 1
			}
		default:
			return nil
		}
	}
	return nil
}

// quantifier reads *, +, ? or a count in braces, if one comes next.
func (p *parser) quantifier() (lo, hi int, ok bool, err error) {
	if !p.more() || p.quoted {
		return 0, 0, false, nil
	}
	switch p.src[p.pos] {
	case '*':
		p.pos++
		return 0, unbounded, true, nil
	case '+':
		p.pos++
		return 1, unbounded, true, nil
	case '?':
		p.pos++
		return 0, 1, true, nil
	case '{':
		at := p.pos
		lo, hi, length := braces(p.src[p.pos:])
		if length == 0 {
			return 0, 0, false, nil
		}
		p.pos += length
		switch {
		case lo > maxRepeat || hi > maxRepeat:
			return 0, 0, false, p.fail(at, "use + or * where the count has no real limit", "a quantifier counts to %d at most", maxRepeat)
		case hi != unbounded && lo > hi:
			return 0, 0, false, p.fail(at, "swap them", "the quantifier's least count is above its greatest")
		}
		return lo, hi, true, nil
	}
	return 0, 0, false, nil
}

// braces reads {n}, {n,}, {n,m} or {,m} at the start of s and returns its
// length, or 0 if the brace stands for itself. {,m} counts from 0, as in
// PCRE2 from 10.43 on, which the last releases of ingress-nginx had.
func braces(s string) (lo, hi, length int) {
	number := func(i int) (int, int) {
		n, start := 0, i
		for ; i < len(s) && isDigit(s[i]); i++ {
			n = min(n*10+int(s[i]-'0'), maxRepeat+1)
		}
		if i == start {
			return -1, i
		}
		return n, i
	}
	lo, i := number(1)
	hi = lo
	if i < len(s) && s[i] == ',' {
		hi, i = number(i + 1)
		if lo < 0 && hi < 0 {
			return 0, 0, 0
		}
	} else if lo < 0 {
		return 0, 0, 0
	}
	if i >= len(s) || s[i] != '}' {
		return 0, 0, 0
	}
	return max(lo, 0), hi, i + 1
}

// atom reads one item without its quantifier.
func (p *parser) atom() (*node, error) {
	at, c := p.pos, p.src[p.pos]
	if p.quoted {
		p.pos++
		return p.literal(at, c), nil
	}
	switch c {
	case '\\':
		return p.escape()
	case '[':
		return p.bracket()
	case '(':
		return p.group()
	case '*', '+', '?':
		return nil, p.fail(at, fmt.Sprintf(`write \%c for the character itself`, c), "the quantifier follows nothing that could be repeated")
	case '{':
		if _, _, length := braces(p.src[at:]); length > 0 {
			return nil, p.fail(at, `write \{ for the character itself`, "the quantifier follows nothing that could be repeated")
		}
	}
	p.pos++
	switch c {
	case '^':
		if p.flags.multiline {
			return &node{kind: kLineBegin, at: at}, nil
		}
		return &node{kind: kBegin, at: at}, nil
	case '$':
		if p.flags.multiline {
			return &node{kind: kLineEnd, at: at}, nil
		}
		return &node{kind: kDollar, at: at}, nil
	case '.':
		set := setOf("\n\n")
		if p.flags.dotAll {
			set = charset{}
		}
		set.negate()
		return &node{kind: kSet, at: at, set: &set}, nil
	}
	return p.literal(at, c), nil
}

func (p *parser) literal(at int, c byte) *node {
	return &node{kind: kByte, at: at, b: c, fold: p.flags.fold && isLetter(c)}
}
