package nginx

import (
	"fmt"
	"strings"
)

// directive is one directive of a snippet: a name and arguments, and what is in its braces.
type directive struct {
	name  string
	args  []string
	line  int
	block []directive
}

// maxDepth bounds how deep braces are followed; what is deeper is taken as if it were beside.
const maxDepth = 16

// parseSnippet cuts text of nginx's configuration into directives. It takes any text: what is not finished at the end is
// a directive too, and a "}" too many is passed over. Comments are left out; code of Lua is one argument.
func parseSnippet(s string) []directive {
	t := tokens{s: s, line: 1}
	var out []directive
	for t.s != "" {
		out = append(out, t.block(0)...)
	}
	return out
}

// tokens reads words, strings and signs.
type tokens struct {
	s    string
	line int
}

// block reads directives up to a "}" or the end.
func (t *tokens) block(depth int) []directive {
	var out []directive
	var d directive
	end := func() {
		if d.name != "" {
			out = append(out, d)
		}
		d = directive{}
	}
	for {
		t.space()
		if t.s == "" {
			end()
			return out
		}
		line := t.line
		switch t.s[0] {
		case ';':
			t.skip(1)
			end()
		case '}':
			t.skip(1)
			end()
			return out
		case '{':
			t.skip(1)
			if strings.HasSuffix(d.name, "_by_lua_block") {
				d.args = append(d.args, t.code())
				end()
				continue
			}
			if depth < maxDepth {
				d.block = t.block(depth + 1)
			}
			end()
		default:
			word := t.word()
			if d.name == "" {
				d.name, d.line = word, line
			} else {
				d.args = append(d.args, word)
			}
		}
	}
}

func (t *tokens) skip(n int) {
	t.line += strings.Count(t.s[:n], "\n")
	t.s = t.s[n:]
}

// space passes over white space and comments.
func (t *tokens) space() {
	for t.s != "" {
		switch {
		case strings.IndexByte(" \t\r\n", t.s[0]) >= 0:
			t.skip(1)
		case t.s[0] == '#':
			if i := strings.IndexByte(t.s, '\n'); i >= 0 {
				t.skip(i)
			} else {
				t.s = ""
			}
		default:
			return
		}
	}
}

// word reads a word or a string in quotes. It takes one byte at least.
func (t *tokens) word() string {
	if q := t.s[0]; q == '"' || q == '\'' {
		for i := 1; i < len(t.s); i++ {
			switch t.s[i] {
			case '\\':
				i++
			case q:
				w := t.s[1:i]
				t.skip(i + 1)
				return w
			}
		}
		w := t.s[1:]
		t.skip(len(t.s))
		return w
	}
	i := 0
	for i < len(t.s) && strings.IndexByte(" \t\r\n;}", t.s[i]) < 0 {
		switch {
		case t.s[i] == '\\':
			i++
		case t.s[i] == '{' && i > 0 && t.s[i-1] == '$': // ${name}
			if j := strings.IndexByte(t.s[i:], '}'); j > 0 {
				i += j
			}
		case t.s[i] == '{':
			w := t.s[:i]
			t.skip(i)
			return w
		}
		i++
	}
	i = min(i, len(t.s))
	w := t.s[:i]
	t.skip(i)
	return w
}

// code reads up to the "}" that closes what has been opened, whatever is in it.
func (t *tokens) code() string {
	depth := 1
	for i := range len(t.s) {
		switch t.s[i] {
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				c := t.s[:i]
				t.skip(i + 1)
				return c
			}
		}
	}
	c := t.s
	t.skip(len(t.s))
	return c
}

// snippetAdvice says, for each directive of a snippet, what to use in its place. Directives of the same name with the
// same advice are told of once.
func snippetAdvice(s string) []string {
	var out []string
	seen := map[string]bool{}
	var walk func([]directive)
	walk = func(list []directive) {
		for _, d := range list {
			a := advice(d)
			if restricts(d) {
				a += " (until then the paths are open to those whom this keeps out)"
			}
			if key := d.name + a; !seen[key] {
				seen[key] = true
				out = append(out, fmt.Sprintf("line %d, %s: %s", d.line, shown(d), a))
			}
			walk(d.block)
		}
	}
	walk(parseSnippet(s))
	return out
}

// shown is a directive with its arguments, cut to a length that fits an event.
func shown(d directive) string {
	text := strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, strings.Join(append([]string{d.name}, d.args...), " "))
	const limit = 48
	if runes := []rune(text); len(runes) > limit {
		text = string(runes[:limit]) + "…"
	}
	return text
}
