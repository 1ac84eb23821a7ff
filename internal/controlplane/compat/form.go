package compat

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// The API server cuts warnings of a response to 256 characters each once they
// have 4096 together.
const (
	budget  = 600 // bytes of examples in one warning
	longest = 900 // characters of one warning
)

// plain matches what YAML takes for a string without quotes, in a flow mapping as
// well, unless it is a word of YAML's own.
var plain = regexp.MustCompile(`^[A-Za-z/][A-Za-z0-9/_.*$-]*$`)

// words are those that YAML takes for something else than a string.
var words = map[string]bool{"true": true, "false": true, "yes": true, "no": true, "on": true, "off": true, "y": true, "n": true, "null": true}

// text writes a string as YAML, with quotes where it needs them.
func text(s string) string {
	_, err := strconv.ParseFloat(s, 64) // a port may be named 1e3
	if plain.MatchString(s) && !words[strings.ToLower(s)] && err != nil {
		return s
	}
	return strconv.Quote(s)
}

// cut shortens what is too long to be read in a warning.
func cut(s string) string {
	if r := []rune(s); len(r) > longest {
		return string(r[:longest-1]) + "…"
	}
	return s
}

// flow is one entry of a mapping; its value is YAML already.
type flow struct{ key, value string }

// mapping writes a mapping in YAML's flow style, which fits in a line.
func mapping(fields ...flow) string {
	var b strings.Builder
	for i, f := range fields {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(f.key + ": " + f.value)
	}
	return "{" + b.String() + "}"
}

// value writes a value of an object's fields as YAML in flow style.
func value(v any) string {
	switch v := v.(type) {
	case map[string]any:
		var fields []flow
		for _, name := range names(v) {
			fields = append(fields, flow{text(name), value(v[name])})
		}
		return mapping(fields...)
	case []any:
		all := make([]string, len(v))
		for i := range v {
			all[i] = value(v[i])
		}
		return "[" + strings.Join(all, ", ") + "]"
	case string:
		return text(v)
	}
	return fmt.Sprint(v)
}

// join lists examples of one kind of change: the first, and as many more as the
// budget allows.
func join(examples []string) string {
	var b strings.Builder
	for i, e := range examples {
		if i > 0 && b.Len()+len(e) > budget {
			fmt.Fprintf(&b, "; and %d more alike", len(examples)-i)
			break
		}
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(e)
	}
	return b.String()
}
