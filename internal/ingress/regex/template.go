package regex

import (
	"fmt"
	"slices"
	"strings"
)

// Template is a text with captures, such as a rewrite target "/new/$1".
type Template struct {
	src   string
	parts []part
}

// part is a literal text, a capture or a variable.
type part struct {
	text    string // a literal text, or with isVar the name of a variable
	capture int
	isVar   bool
}

// ParseTemplate reads a text in the way of nginx: $1 to $9 are captures, of
// one digit each, so that $10 is capture 1 and a zero; $name and ${name} are
// variables; a $ can't stand for itself. ${1} to ${9}, which nginx refuses as
// unknown variables, are captures too. The error is a *SyntaxError.
func ParseTemplate(s string) (*Template, error) {
	t := &Template{src: s}
	for i := 0; i < len(s); {
		if s[i] != '$' {
			end := strings.IndexByte(s[i:], '$')
			if end < 0 {
				end = len(s) - i
			}
			t.parts = append(t.parts, part{text: s[i : i+end]})
			i += end
			continue
		}
		p, length, problem := variable(s[i+1:])
		if problem != "" {
			return nil, &SyntaxError{Text: s, Offset: i, Problem: problem, Remedy: "write $1 to $9 for a capture, or the name of a variable"}
		}
		t.parts = append(t.parts, p)
		i += 1 + length
	}
	return t, nil
}

// variable reads what follows a $.
func variable(s string) (p part, length int, problem string) {
	if s != "" && '1' <= s[0] && s[0] <= '9' {
		return part{capture: int(s[0] - '0')}, 1, ""
	}
	brace := strings.HasPrefix(s, "{")
	if brace {
		length++
	}
	start := length
	for length < len(s) && isWord(s[length]) {
		length++
	}
	name := s[start:length]
	if brace {
		if length == len(s) || s[length] != '}' {
			return part{}, 0, "the brace behind the $ is not closed behind a name"
		}
		length++
	}
	switch {
	case name == "":
		return part{}, 0, "the $ is followed by no name"
	case len(name) == 1 && '1' <= name[0] && name[0] <= '9':
		return part{capture: int(name[0] - '0')}, length, ""
	case isDigit(name[0]):
		return part{}, 0, fmt.Sprintf("there is no capture $%s", name)
	}
	return part{text: name, isVar: true}, length, ""
}

// String returns the template as it was given.
func (t *Template) String() string { return t.src }

// Literal returns the text, if it has neither captures nor variables.
func (t *Template) Literal() (string, bool) {
	for _, p := range t.parts {
		if p.capture > 0 || p.isVar {
			return "", false
		}
	}
	return t.src, true
}

// MaxCapture returns the greatest number of a capture that the template
// uses, or 0.
func (t *Template) MaxCapture() int {
	n := 0
	for _, p := range t.parts {
		n = max(n, p.capture)
	}
	return n
}

// Variables returns the names of the variables that the template uses, in
// the order of the alphabet and each once.
func (t *Template) Variables() []string {
	var names []string
	for _, p := range t.parts {
		if p.isVar {
			names = append(names, p.text)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Bind returns the template with each variable that has the name of a group
// of re turned into that capture, as nginx has it for (?<name>…). As with all
// variables of nginx, case makes no difference.
func (t *Template) Bind(re *Regexp) *Template {
	bound := &Template{src: t.src, parts: slices.Clone(t.parts)}
	for _, name := range re.CaptureNames() {
		n, _ := re.CaptureIndex(name)
		for i, p := range bound.parts {
			if p.isVar && strings.EqualFold(p.text, name) {
				bound.parts[i] = part{capture: n}
			}
		}
	}
	return bound
}

// Append adds the template's text to dst. s and caps are the subject and the
// result of MatchInto; captures that took no part, or that the pattern does
// not have, are empty. variables adds the value of a variable; with nil they
// are left in the form ${name}.
func (t *Template) Append(dst []byte, s string, caps []int, variables func(dst []byte, name string) []byte) []byte {
	for i := range t.parts {
		switch p := &t.parts[i]; {
		case p.capture > 0:
			if 2*p.capture+1 < len(caps) && caps[2*p.capture] >= 0 {
				dst = append(dst, s[caps[2*p.capture]:caps[2*p.capture+1]]...)
			}
		case !p.isVar:
			dst = append(dst, p.text...)
		case variables != nil:
			dst = variables(dst, p.text)
		default:
			dst = append(append(append(dst, "${"...), p.text...), '}')
		}
	}
	return dst
}
