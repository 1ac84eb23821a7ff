package regex

import (
	"fmt"
	"math/rand/v2"
	"strings"
)

// generator makes random patterns and subjects over few bytes, so that they
// match each other often.
type generator struct {
	rand   *rand.Rand
	groups int
	re2    bool // only what Go's regexp takes with the same meaning
}

func (g *generator) pick(of ...string) string { return of[g.rand.IntN(len(of))] }

func (g *generator) subject() string {
	var b strings.Builder
	for range g.rand.IntN(12) {
		if g.re2 {
			b.WriteString(g.pick("a", "b", "c", "ab", "/", "A", "_", " ", "\n", "1"))
		} else {
			b.WriteString(g.pick("a", "b", "c", "ab", "aa", "/", "A", "B", "k", "_", " ", "\n", "\r\n", "1", "\x80", "\xe9", "K", "é"))
		}
	}
	return b.String()
}

func (g *generator) pattern() string {
	s := g.alternatives(3)
	if g.rand.IntN(4) == 0 {
		s = "^" + s
	}
	return s
}

func (g *generator) alternatives(depth int) string {
	s := g.branch(depth)
	for g.rand.IntN(4) == 0 {
		s += "|" + g.branch(depth)
	}
	return s
}

func (g *generator) branch(depth int) string {
	var b strings.Builder
	for range g.rand.IntN(4) + g.rand.IntN(2) {
		b.WriteString(g.item(depth))
	}
	return b.String()
}

func (g *generator) item(depth int) string {
	s := g.atom(depth)
	if g.rand.IntN(3) > 0 || s == "" {
		return s
	}
	if g.re2 && strings.Contains(`^ \z \b \B`, s) {
		return s // PCRE refuses to repeat these, Go does not
	}
	s += g.pick("*", "+", "?", "{2}", "{1,2}", "{0,2}", "{1,}", "{0,3}", "{2,}")
	if g.re2 {
		return s + g.pick("", "", "?")
	}
	return s + g.pick("", "", "", "?", "+")
}

func (g *generator) atom(depth int) string {
	if depth > 0 && g.rand.IntN(5) < 2 {
		return g.group(depth - 1)
	}
	if g.re2 {
		return g.pick("a", "b", "a", "b", "c", "/", ".", "[ab]", "[^a]", `\w`, `\d`, `\s`, `\W`, "^", `\z`, `\b`, `\B`, "[[:alpha:]]", "_", `\n`)
	}
	switch g.rand.IntN(12) {
	case 0:
		return g.pick(`\w`, `\d`, `\s`, `\W`, `\D`, `\S`, `\h`, `\H`, `\v`, `\V`, `\N`, `\R`, `\X`, ".", `\p{Lu}`, `\pL`, `\PL`, `\p{^N}`, `\C`)
	case 1:
		return g.pick("^", "$", `\A`, `\z`, `\Z`, `\b`, `\B`, `\G`)
	case 2:
		return g.class()
	case 3:
		return g.pick(`\x61`, `\141`, `\x{62}`, `\o{141}`, `\x80`, `\xe9`, `\Qa.\E`, `\Q\E`, `\/`, `\_`, `\n`, `\cA`, `\e`, `\0`, `\x`, "\xe9", "(?#c)", "{", "{a", "a{,", "]", "}", `\10`, `\18`, `\377`, `\400`, "é", "K")
	case 4:
		if g.rand.IntN(2) > 0 {
			return g.reference()
		}
	case 5:
		return g.pick("(?i)", "(?-i)", "(?s)", "(?m)", "(?x) ", "(?U)", "(?n)", "(?xx)", "(?^)", "(?i-s)", "(?-x)", `\K`, "(*F)", "#")
	}
	return g.pick("a", "b", "a", "b", "c", "/", "A", "ab", ".", "k", "_", "1", " ")
}

func (g *generator) reference() string {
	n := 1 + g.rand.IntN(max(g.groups, 1)+1)
	switch g.rand.IntN(9) {
	case 0:
		return fmt.Sprintf(`\g{%d}`, n)
	case 1:
		return fmt.Sprintf(`\g{-%d}`, n)
	case 2:
		return fmt.Sprintf(`(?%d)`, n)
	case 3:
		return fmt.Sprintf(`\g<%d>`, n)
	case 4:
		return g.pick("(?R)", "(?-1)", "(?+1)", `\k<n>`, "(?&n)", "(?P=n)", "(?P>n)", `\g{n}`)
	}
	return fmt.Sprintf(`\%d`, n)
}

func (g *generator) class() string {
	var b strings.Builder
	b.WriteString(g.pick("[", "[", "[^"))
	for range 1 + g.rand.IntN(3) {
		b.WriteString(g.pick("a", "b", "a-c", "A-Z", "a-z", "/", "]", "-", `\d`, `\w`, `\W`, `\s`, `\b`, `\]`, `\-`, "[:alpha:]", "[:^digit:]", "[:upper:]", "[:foo:]", "[", `\x80-\xff`, `\n`, `\101`, `\Q]\E`, "^", " ", `\h`, `\p{Ll}`, `\8`, "b-a", `\R`, "\xe9", "k", "#", "[:a"))
	}
	return b.String() + g.pick("]", "]", "]", "]", "]", "]", "]", "]", "]", "")
}

func (g *generator) group(depth int) string {
	kind := g.rand.IntN(4)
	if !g.re2 {
		kind = g.rand.IntN(16)
	}
	switch kind {
	case 0, 1, 2:
		g.groups++
		return "(" + g.alternatives(depth) + ")"
	case 3:
		return "(?:" + g.alternatives(depth) + ")"
	case 4:
		g.groups++
		return g.pick("(?<n>", "(?P<n>", "(?'n'", "(?<n>", "(?<m>") + g.alternatives(depth) + ")"
	case 5:
		return "(?|" + g.alternatives(depth) + ")"
	case 6, 7:
		return "(?=" + g.alternatives(depth) + ")"
	case 8:
		return "(?!" + g.alternatives(depth) + ")"
	case 9:
		return g.pick("(?<=", "(?<!") + g.pick(`a`, `\d`, `ab`, `a|bc`, `^`, `\b`, `^a|b`, `\n`, `[^a]`, `(a)`, `(?:a|bc)d`, `(?=a)`, `(?<!b)a`, `a{2}`, `a?`) + ")"
	case 10:
		return "(?>" + g.alternatives(depth) + ")"
	case 11:
		return g.pick("(?i:", "(?s:", "(?-i:", "(?x: ", "(?m:", "(?^:", "(?U:") + g.alternatives(depth) + ")"
	case 12:
		test := g.pick("(?(1)", "(?(1)", "(?(2)", "(?(<n>)", "(?(-1)", "(?(?=a)", "(?(?!a)", "(?(?<=a)", "(?(?<!b)", "(?(+1)")
		return test + g.branch(depth) + g.pick("", "|"+g.branch(depth)) + ")"
	}
	g.groups++
	return "(" + g.alternatives(depth) + ")"
}
