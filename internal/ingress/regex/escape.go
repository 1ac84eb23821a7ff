package regex

import (
	"fmt"
	"strings"
	"unicode"
)

// escape reads an item that begins with a backslash, outside of a class.
func (p *parser) escape() (*node, error) {
	at := p.pos
	if at+1 == len(p.src) {
		return nil, p.fail(at, `write \\ for the character itself`, "the pattern ends in a backslash")
	}
	c := p.src[at+1]
	if k, ok := place(c); ok {
		p.pos += 2
		if k == kKeep && p.looking > 0 {
			return nil, p.fail(at, "use it outside of look-arounds", `\K may not be in a look-around`)
		}
		return &node{kind: k, at: at}, nil
	}
	switch c {
	case 'R':
		p.pos += 2
		crlf := &node{kind: kConcat, at: at, subs: []*node{{kind: kByte, b: '\r'}, {kind: kByte, b: '\n'}}}
		set := setOf("\n\r\x85\x85")
		return atomic(at, &node{kind: kAlternate, at: at, subs: []*node{crlf, {kind: kSet, set: &set}}}), nil
	case 'X', 'C':
		p.pos += 2
		all := inverse(charset{})
		one := &node{kind: kSet, at: at, set: &all}
		if c == 'C' {
			return one, nil
		}
		crlf := &node{kind: kConcat, at: at, subs: []*node{{kind: kByte, b: '\r'}, {kind: kByte, b: '\n'}}}
		return atomic(at, &node{kind: kAlternate, at: at, subs: []*node{crlf, one}}), nil
	case 'g', 'k':
		return p.referenceEscape(c)
	}
	if '1' <= c && c <= '9' {
		if n, length := number(p.src[at+1:]); n < 10 || c >= '8' || n <= p.groups {
			p.pos += 1 + length
			return p.refer(&node{kind: kReference, at: at, n: n}, ""), nil
		}
	}
	if set, ok, err := p.classEscape(); ok || err != nil {
		return &node{kind: kSet, at: at, set: set}, err
	}
	b, err := p.byteEscape()
	if err != nil {
		return nil, err
	}
	return p.literal(at, b), nil
}

// place returns what an escape for a place stands for. \G is the start of
// the search, which is the start of the subject here.
func place(c byte) (kind, bool) {
	switch c {
	case 'A', 'G':
		return kBegin, true
	case 'z':
		return kEnd, true
	case 'Z':
		return kDollar, true
	case 'b':
		return kWord, true
	case 'B':
		return kNotWord, true
	case 'K':
		return kKeep, true
	}
	return kEmpty, false
}

func atomic(at int, n *node) *node { return &node{kind: kAtomic, at: at, subs: []*node{n}} }

// number reads decimal digits; values that no pattern can have come back as
// one that is too large for every use.
func number(s string) (n, length int) {
	for length < len(s) && isDigit(s[length]) {
		n = min(n*10+int(s[length]-'0'), maxRepeat+1)
		length++
	}
	return n, length
}

// refer notes a use of a group, to be resolved at the end.
func (p *parser) refer(n *node, name string) *node {
	switch n.kind {
	case kCall:
		p.recurses = true
	default:
		p.backtracks = true
	}
	n.fold = p.flags.fold
	p.refs = append(p.refs, reference{node: n, name: name})
	return n
}

// referenceEscape reads \g and \k in all of their forms.
func (p *parser) referenceEscape(letter byte) (*node, error) {
	at := p.pos
	p.pos += 2
	kindOf, closer := kReference, ""
	switch {
	case p.take("{"):
		closer = "}"
	case p.take("<"):
		closer = ">"
	case p.take("'"):
		closer = "'"
	}
	if letter == 'g' && (closer == ">" || closer == "'") {
		kindOf = kCall
	}
	if closer == "" {
		if letter == 'k' {
			return nil, p.fail(at, `write \k<name>`, `\k is followed by no name`)
		}
		n, err := p.groupNumber(at)
		if err != nil {
			return nil, err
		}
		return p.refer(&node{kind: kReference, at: at, n: n}, ""), nil
	}
	return p.named(at, kindOf, closer, letter == 'g')
}

// named reads the name, or with numbers also a number, of a group up to
// closer and returns a use of that group.
func (p *parser) named(at int, k kind, closer string, numbers bool) (*node, error) {
	if numbers && p.more() && (isDigit(p.src[p.pos]) || p.has("+") || p.has("-")) {
		n, err := p.groupNumber(at)
		if err != nil {
			return nil, err
		}
		if n == 0 && k == kReference {
			return nil, p.fail(at, "correct the number", "a back reference can't be to the whole pattern")
		}
		if !p.take(closer) {
			return nil, p.fail(at, fmt.Sprintf("end it with %s", closer), "the number of the group does not end")
		}
		return p.refer(&node{kind: k, at: at, n: n}, ""), nil
	}
	name, err := p.name(closer)
	if err != nil {
		return nil, err
	}
	return p.refer(&node{kind: k, at: at}, name), nil
}

// groupNumber reads the number of a group; with a sign it counts from here.
func (p *parser) groupNumber(at int) (int, error) {
	sign := byte(0)
	if p.more() && (p.has("+") || p.has("-")) {
		sign = p.src[p.pos]
		p.pos++
	}
	n, length := number(p.src[p.pos:])
	if length == 0 {
		return 0, p.fail(at, "give the number or the name of a group", "the reference is to no group")
	}
	p.pos += length
	switch {
	case sign != 0 && n == 0, sign == '-' && n > p.groups:
		return 0, p.fail(at, "correct the number", "the reference is to a group that the pattern does not have")
	case sign == '-':
		return p.groups - n + 1, nil
	case sign == '+':
		return p.groups + n, nil
	}
	return n, nil
}

// name reads the name of a group and its closing text.
func (p *parser) name(closer string) (string, error) {
	start := p.pos
	for p.more() && isWord(p.src[p.pos]) {
		p.pos++
	}
	name := p.src[start:p.pos]
	switch {
	case name == "" || isDigit(name[0]):
		return "", p.fail(start, "use letters, digits and _", "the name of a group must begin with a letter or _")
	case len(name) > 32:
		return "", p.fail(start, "shorten it", "the name of a group has more than 32 characters")
	case !p.take(closer):
		return "", p.fail(p.pos, fmt.Sprintf("use letters, digits and _, and %s after the name", closer), "the name of the group does not end")
	}
	return name, nil
}

// classEscape reads an escape that stands for a set of bytes, if one is next.
func (p *parser) classEscape() (*charset, bool, error) {
	at, c := p.pos, p.src[p.pos+1]
	if c == 'p' || c == 'P' {
		return p.property()
	}
	set, ok := class(c)
	if !ok {
		return nil, false, nil
	}
	p.pos += 2
	if c == 'N' && p.has("{") {
		if _, _, length := braces(p.src[p.pos:]); length == 0 {
			return nil, false, p.fail(at, `write \xhh for a byte`, `\N{…} names a character, and matching is on bytes`)
		}
	}
	return &set, true, nil
}

// property reads \p{…} or \P{…}: bytes count as the code points of their
// value, as in PCRE without UTF mode.
func (p *parser) property() (*charset, bool, error) {
	at := p.pos
	not := p.src[at+1] == 'P'
	p.pos += 2
	var name string
	if p.take("{") {
		end := strings.IndexByte(p.src[p.pos:], '}')
		if end < 0 {
			return nil, false, p.fail(at, "end it with }", "the name of the property does not end")
		}
		name = p.src[p.pos : p.pos+end]
		p.pos += end + 1
		if strings.HasPrefix(name, "^") {
			not, name = !not, name[1:]
		}
	} else if p.more() {
		name = p.src[p.pos : p.pos+1]
		p.pos++
	}
	holds, ok := propertyOf(name)
	if !ok {
		return nil, false, p.fail(at, `name a general category or a script, such as \p{Lu} or \p{Greek}`, "there is no property of the name %q", name)
	}
	var set charset
	for c := 0; c < 256; c++ {
		if holds(rune(c)) != not {
			set.add(byte(c))
		}
	}
	return &set, true, nil
}

func propertyOf(name string) (func(rune) bool, bool) {
	in := func(tables ...*unicode.RangeTable) func(rune) bool {
		return func(r rune) bool { return unicode.IsOneOf(tables, r) }
	}
	switch name {
	case "Any":
		return func(rune) bool { return true }, true
	case "L&":
		return in(unicode.Lu, unicode.Ll, unicode.Lt), true
	case "Xan":
		return in(unicode.L, unicode.N), true
	case "Xwd":
		return func(r rune) bool { return r == '_' || unicode.IsOneOf([]*unicode.RangeTable{unicode.L, unicode.N}, r) }, true
	case "Xsp", "Xps":
		return func(r rune) bool { return unicode.Is(unicode.Z, r) || '\t' <= r && r <= '\r' || r == 0x85 }, true
	}
	if t, ok := unicode.Categories[name]; ok && len(name) <= 2 {
		return in(t), true
	}
	if t, ok := unicode.Scripts[name]; ok {
		return in(t), true
	}
	return nil, false
}

// byteEscape reads an escape that stands for one byte.
func (p *parser) byteEscape() (byte, error) {
	at := p.pos
	if at+1 == len(p.src) {
		return 0, p.fail(at, `write \\ for the character itself`, "the pattern ends in a backslash")
	}
	c := p.src[at+1]
	p.pos += 2
	if i := strings.IndexByte("aefnrt", c); i >= 0 {
		return "\a\x1b\f\n\r\t"[i], nil
	}
	switch {
	case c == 'c':
		if !p.more() || p.src[p.pos] < ' ' || p.src[p.pos] > '~' {
			return 0, p.fail(at, `write \xhh for the byte`, `\c is followed by no printable ASCII character`)
		}
		x := p.src[p.pos]
		p.pos++
		if 'a' <= x && x <= 'z' {
			x -= 'a' - 'A'
		}
		return x ^ 0x40, nil
	case c == 'o' && p.has("{"):
		return p.braced(at, 8)
	case c == 'x' && p.has("{"):
		return p.braced(at, 16)
	case c == 'x':
		return p.digits(at, 16, 2)
	case '0' <= c && c <= '7':
		p.pos--
		return p.digits(at, 8, 3)
	case isDigit(c) || !isWord(c) || c == '_' || c >= 0x80:
		return c, nil
	}
	return 0, p.fail(at, fmt.Sprintf(`write %c for the letter itself`, c), `the escape \%c means nothing`, c)
}

// digits reads up to most digits; without any the value is 0, as in PCRE.
func (p *parser) digits(at, base, most int) (byte, error) {
	v := 0
	for i := 0; i < most && p.more(); i++ {
		d := digit(p.src[p.pos])
		if d >= base {
			break
		}
		v = v*base + d
		p.pos++
	}
	if v > 255 {
		return 0, p.fail(at, `write the bytes of its UTF-8 form, such as \xc3\xa9`, "matching is on bytes, and the value is above 255")
	}
	return byte(v), nil
}

// braced reads the digits and the closing brace of \x{…} and \o{…}.
func (p *parser) braced(at, base int) (byte, error) {
	p.pos++
	start := p.pos
	b, err := p.digits(at, base, 8)
	if err == nil && (p.pos == start || !p.take("}")) {
		err = p.fail(at, `write \x{hh} with hexadecimal, or \o{nnn} with octal digits`, "the escape has no digits, or other text between its braces")
	}
	return b, err
}

func digit(c byte) int {
	switch {
	case isDigit(c):
		return int(c - '0')
	case 'a' <= lower(c) && lower(c) <= 'f':
		return int(lower(c)-'a') + 10
	}
	return 99
}
