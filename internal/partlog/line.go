package partlog

import (
	"strconv"
	"strings"
	"time"
)

// Line is one line of the log.
type Line struct {
	// Time is zero for a line that has none, such as one of a stack.
	Time time.Time
	// Parts are the values of the attributes part and component, Node that of node.
	Parts []string
	Node  string
}

// Parse reads what a line is about. A line of another form is about nothing.
func Parse(text string) Line {
	var l Line
	for text != "" {
		key, rest, ok := strings.Cut(text, "=")
		if !ok || strings.ContainsAny(key, " \"") {
			return l
		}
		value, after := value(rest)
		switch key {
		case "time":
			if t, err := time.Parse(time.RFC3339Nano, value); err == nil {
				l.Time = t
			}
		case "part", "component":
			l.Parts = append(l.Parts, value)
		case "node":
			if l.Node == "" {
				l.Node = value
			}
		}
		text = after
	}
	return l
}

// value cuts the first value off, which is quoted where it has to be.
func value(s string) (value, rest string) {
	if strings.HasPrefix(s, `"`) {
		if quoted, err := strconv.QuotedPrefix(s); err == nil {
			if text, err := strconv.Unquote(quoted); err == nil {
				return text, strings.TrimPrefix(s[len(quoted):], " ")
			}
		}
	}
	value, rest, _ = strings.Cut(s, " ")
	return value, rest
}

// Selector chooses lines: those of any of the parts, on the node or on none in
// particular.
type Selector struct {
	Parts []string
	Node  string
}

// Matches tells whether a line is chosen.
func (s Selector) Matches(l Line) bool {
	if l.Node != "" && s.Node != "" && l.Node != s.Node {
		return false
	}
	for _, have := range l.Parts {
		for _, want := range s.Parts {
			if have == want {
				return true
			}
		}
	}
	return false
}
