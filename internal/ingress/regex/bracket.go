package regex

import "strings"

// member is one item of a class: a byte that may begin a range, or a set.
type member struct {
	b      byte
	set    *charset
	closed bool // the set is not subject to case folding
}

// bracket reads a class such as [^a-z\d[:alpha:]].
func (p *parser) bracket() (*node, error) {
	at := p.pos
	if p.has("[[:<:]]") || p.has("[[:>:]]") {
		return nil, p.fail(at, `write \b with a look-around`, "this form of a word boundary is not served")
	}
	if _, end := posixSyntax(p.src[at:]); end > 0 {
		return nil, p.fail(at, "put it in brackets once more, such as [[:alpha:]]", "a class of POSIX stands only within a class")
	}
	p.pos++
	not := p.take("^")
	var set, closed charset
	for first := true; ; first = false {
		m, ok, err := p.member(at, first)
		if err != nil {
			return nil, err
		}
		if !ok {
			break
		}
		lo, hi := m.b, m.b
		if p.dash() {
			dash := p.pos
			p.pos++
			end, ok, err := p.member(at, false)
			if err != nil {
				return nil, err
			}
			if !ok || m.set != nil || end.set != nil {
				return nil, p.fail(dash, `write \- for a hyphen, or put it at the end of the class`, "the range in the class does not go from a character to a character")
			}
			if hi = end.b; hi < lo {
				return nil, p.fail(dash-1, "swap its ends", "the range in the class is out of order")
			}
		}
		switch {
		case m.set == nil:
			set.addRange(lo, hi)
		case m.closed:
			closed.addSet(m.set)
		default:
			set.addSet(m.set)
		}
	}
	if p.flags.fold {
		set.fold()
	}
	set.addSet(&closed)
	if not {
		set.negate()
	}
	return &node{kind: kSet, at: at, set: &set}, nil
}

// dash tells whether a hyphen comes next that is not the last of its class.
func (p *parser) dash() bool {
	for p.take(`\E`) {
		p.quoted = false
	}
	if p.quoted || !p.has("-") {
		return false
	}
	rest := p.src[p.pos+1:]
	for strings.HasPrefix(rest, `\E`) {
		rest = rest[2:]
	}
	return rest != "" && rest[0] != ']'
}

// member reads the next item of a class; ok is false at its end.
func (p *parser) member(at int, first bool) (m member, ok bool, err error) {
	for p.more() {
		if p.quoted {
			if p.take(`\E`) {
				p.quoted = false
				continue
			}
			p.pos++
			return member{b: p.src[p.pos-1]}, true, nil
		}
		c := p.src[p.pos]
		switch {
		case c == ']' && !first:
			p.pos++
			return m, false, nil
		case p.flags.classes && (c == ' ' || c == '\t'):
			p.pos++
			continue
		case c == '[':
			if set, found, err := p.posixClass(); found || err != nil {
				return member{set: set}, true, err
			}
		case p.take(`\E`):
			continue
		case p.take(`\Q`):
			p.quoted = true
			continue
		case c == '\\':
			m, err := p.memberEscape()
			return m, true, err
		}
		p.pos++
		return member{b: c}, true, nil
	}
	return m, false, p.fail(at, `end it with ], or write \[ for the character itself`, "the class does not end")
}

func (p *parser) memberEscape() (member, error) {
	at := p.pos
	if at+1 == len(p.src) {
		_, err := p.byteEscape()
		return member{}, err
	}
	switch c := p.src[at+1]; c {
	case 'b':
		p.pos += 2
		return member{b: '\b'}, nil
	case 'g':
		p.pos += 2
		return member{b: 'g'}, nil // PCRE2 takes it for the letter here
	case 'N', 'R', 'X', 'B':
		return member{}, p.fail(at, "use it outside of a class", `\%c has no meaning in a class`, c)
	}
	if set, ok, err := p.classEscape(); ok || err != nil {
		return member{set: set, closed: true}, err
	}
	b, err := p.byteEscape()
	return member{b: b}, err
}

// posixClass reads [:name:] or [:^name:], if that comes next.
func (p *parser) posixClass() (*charset, bool, error) {
	rest := p.src[p.pos:]
	name, end := posixSyntax(rest)
	if end == 0 {
		return nil, false, nil
	}
	if rest[1] != ':' {
		return nil, false, p.fail(p.pos, "list the characters", "collating elements of POSIX are not served")
	}
	name, not := strings.CutPrefix(name, "^")
	set, ok := posix(name, p.flags.fold)
	if !ok {
		return nil, false, p.fail(p.pos, "use one such as [:alpha:] or [:digit:]", "there is no class of the name %q", name)
	}
	if not {
		set.negate()
	}
	p.pos += end
	return &set, true, nil
}

// posixSyntax returns the name in a text such as [:name:] at the start of s,
// and the length of the text, or 0 if there is none.
func posixSyntax(s string) (name string, length int) {
	if len(s) < 2 || strings.IndexByte(":.=", s[1]) < 0 {
		return "", 0
	}
	for i := 2; i+1 < len(s); i++ {
		switch c, next := s[i], s[i+1]; {
		case c == '\\' && (next == ']' || next == '\\'):
			i++
		case c == ']' || c == '[' && next == s[1]:
			return "", 0
		case c == s[1] && next == ']':
			return s[2:i], i + 2
		}
	}
	return "", 0
}
