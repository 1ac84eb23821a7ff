package regex

import (
	"strings"
)

// group reads what begins with a parenthesis; it returns nil for a change of
// flags.
func (p *parser) group() (*node, error) {
	at := p.pos
	if p.depth++; p.depth > maxNesting {
		return nil, p.fail(at, "simplify the pattern", "groups are nested more than %d deep", maxNesting)
	}
	defer func() { p.depth-- }()
	if p.take("(*") {
		return p.verb(at)
	}
	if !p.take("(?") {
		p.pos++
		if p.flags.noCapture {
			return p.body(at, false)
		}
		return p.capture(at, "")
	}
	switch {
	case p.take(":"):
		return p.body(at, false)
	case p.take("|"):
		return p.body(at, true)
	case p.take(">"):
		n, err := p.body(at, false)
		return atomic(at, n), err
	case p.take("="):
		return p.look(at, false, false)
	case p.take("!"):
		return p.look(at, false, true)
	case p.take("<="):
		return p.look(at, true, false)
	case p.take("<!"):
		return p.look(at, true, true)
	case p.has("*"), p.has("<*"):
		return nil, p.fail(at, "use (?=…) or (?<=…)", "look-arounds that give back are not served")
	case p.take("("):
		return p.condition(at)
	case p.take("P="):
		return p.named(at, kReference, ")", false)
	case p.take("P>"), p.take("&"):
		return p.named(at, kCall, ")", false)
	case p.take("R"):
		if !p.take(")") {
			return nil, p.fail(at, "write (?R)", "the recursion does not end")
		}
		return p.refer(&node{kind: kCall, at: at}, ""), nil
	case p.more() && (isDigit(p.src[p.pos]) || p.has("+")), p.has("-") && len(p.src) > p.pos+1 && isDigit(p.src[p.pos+1]):
		return p.named(at, kCall, ")", true)
	case p.has("C"):
		return nil, p.fail(at, "remove it", "callouts are not served")
	}
	for _, form := range []struct{ open, closer string }{{"P<", ">"}, {"<", ">"}, {"'", "'"}} {
		if p.take(form.open) {
			name, err := p.name(form.closer)
			if err != nil {
				return nil, err
			}
			return p.capture(at, name)
		}
	}
	return p.setFlags(at)
}

// body reads alternatives and the closing parenthesis; flags that are set
// within end with it.
func (p *parser) body(at int, reset bool) (*node, error) {
	before := p.flags
	n, err := p.alternatives(reset)
	if err != nil {
		return nil, err
	}
	p.flags = before
	if !quantifiable(n) {
		n = &node{kind: kConcat, at: at, subs: []*node{n}} // the group as such can be repeated
	}
	return n, p.close(at)
}

func (p *parser) close(at int) error {
	if !p.take(")") {
		return p.fail(at, `close it with a parenthesis, or write \( for the character itself`, "the group does not end")
	}
	return nil
}

func (p *parser) capture(at int, name string) (*node, error) {
	p.groups++
	n := &node{kind: kGroup, at: at, n: p.groups}
	if name != "" {
		if other, ok := p.names[name]; ok && other != n.n {
			return nil, p.fail(at, "give each group its own name", "two groups have the name %q", name)
		}
		if other, ok := p.numbered[n.n]; ok && other != name {
			return nil, p.fail(at, "use one name", "group %d has two names, %q and %q", n.n, other, name)
		}
		p.names[name], p.numbered[n.n] = n.n, name
	}
	if p.bodies[n.n] == nil {
		p.bodies[n.n] = n
	}
	body, err := p.body(at, false)
	n.subs = []*node{body}
	return n, err
}

func (p *parser) look(at int, behind, not bool) (*node, error) {
	p.looking++
	body, err := p.body(at, false)
	p.looking--
	if err != nil {
		return nil, err
	}
	if least, most := body.width(); behind && least != most && (most == unbounded || most > maxLookBehind) || behind && least > maxRepeat {
		return nil, p.fail(at, "bound what it looks for, or look ahead instead", "a look-behind of varying length goes back %d bytes at most", maxLookBehind)
	}
	return &node{kind: kLook, at: at, behind: behind, not: not, subs: []*node{body}}, nil
}

// verb reads an item such as (*FAIL) or (*atomic:…).
func (p *parser) verb(at int) (*node, error) {
	end := strings.IndexAny(p.src[p.pos:], ":)")
	if end < 0 {
		return nil, p.fail(at, `write \( and \* for the characters themselves`, "the item does not end")
	}
	name := p.src[p.pos : p.pos+end]
	p.pos += end + 1
	if p.src[p.pos-1] == ')' {
		if name == "F" || name == "FAIL" {
			return &node{kind: kFail, at: at}, nil
		}
		return nil, p.fail(at, "remove it", "the verb (*%s) is not served", name)
	}
	switch name {
	case "pla", "positive_lookahead":
		return p.look(at, false, false)
	case "nla", "negative_lookahead":
		return p.look(at, false, true)
	case "plb", "positive_lookbehind":
		return p.look(at, true, false)
	case "nlb", "negative_lookbehind":
		return p.look(at, true, true)
	case "atomic":
		n, err := p.body(at, false)
		return atomic(at, n), err
	}
	return nil, p.fail(at, "remove it", "the verb (*%s:…) is not served", name)
}

// condition reads (?(…)then|otherwise) from behind its second parenthesis.
func (p *parser) condition(at int) (*node, error) {
	n := &node{kind: kCondition, at: at, n: unbounded}
	test := p.pos - 1
	define := false
	switch {
	case p.has("?=") || p.has("?!") || p.has("?<=") || p.has("?<!") || p.has("*"):
		p.pos--
		look, err := p.group()
		if err != nil {
			return nil, err
		}
		if look.kind != kLook {
			return nil, p.fail(test, "use a look-around or the number of a group", "the condition is no assertion")
		}
		n.subs = []*node{nil, nil, look}
	case p.take("DEFINE)"):
		define = true
		n.subs = []*node{nil, nil, {kind: kFail}}
	case p.has("R") || p.has("VERSION"):
		return nil, p.fail(test, "use a look-around or the number of a group", "conditions on recursion or a version are not served")
	default:
		if err := p.groupCondition(n); err != nil {
			return nil, err
		}
		n.subs = []*node{nil, nil}
	}
	before := p.flags
	branches, err := p.branches(false)
	if err != nil {
		return nil, err
	}
	p.flags = before
	if len(branches) > 2 || define && len(branches) > 1 {
		return nil, p.fail(at, "put alternatives in parentheses", "the condition has too many branches")
	}
	n.subs[0], n.subs[1] = branches[0], &node{kind: kEmpty}
	if len(branches) == 2 {
		n.subs[1] = branches[1]
	}
	return n, p.close(at)
}

// groupCondition reads the number or the name of the group that a condition
// asks about.
func (p *parser) groupCondition(n *node) error {
	closer := ")"
	switch {
	case p.take("<"):
		closer = ">)"
	case p.take("'"):
		closer = "')"
	case p.more() && (isDigit(p.src[p.pos]) || p.has("+") || p.has("-")):
		number, err := p.groupNumber(n.at)
		if err != nil {
			return err
		}
		if number == 0 || !p.take(")") {
			return p.fail(n.at, "write (?(1)…|…)", "the condition asks about no group")
		}
		n.n = number
		p.refer(n, "")
		return nil
	}
	name, err := p.name(closer)
	if err != nil {
		return err
	}
	p.refer(n, name)
	return nil
}

// setFlags reads (?flags) or (?flags:…).
func (p *parser) setFlags(at int) (*node, error) {
	before, on := p.flags, true
	f := p.flags
	if p.take("^") {
		f.fold, f.multiline, f.dotAll, f.extended, f.classes, f.noCapture = false, false, false, false, false, false
	}
	for p.more() {
		c := p.src[p.pos]
		p.pos++
		switch c {
		case 'i':
			f.fold = on
		case 'm':
			f.multiline = on
		case 's':
			f.dotAll = on
		case 'n':
			f.noCapture = on
		case 'U':
			f.ungreedy = on
		case 'x':
			f.extended, f.classes = on, on && p.take("x")
		case '-':
			on = false
		case ')':
			p.flags = f
			return nil, nil
		case ':':
			p.flags = f
			n, err := p.body(at, false)
			p.flags = before
			return n, err
		default:
			return nil, p.fail(at, "use i, m, s, x, n or U, or one of the groups of PCRE", "there is no option or group (?%c", c)
		}
	}
	return nil, p.fail(at, "close it with a parenthesis", "the options do not end")
}
