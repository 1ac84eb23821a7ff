package logbook

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Attr is one key and its value.
type Attr struct{ Key, Value string }

// Line is a line of the log. Text is the whole of it, without the line's end.
type Line struct {
	Text  string
	Time  time.Time // zero for a line that goes on with the one before, as those of a stack do
	Attrs []Attr    // without the time
}

// Parse reads a line.
func Parse(text string) Line {
	l := Line{Text: text}
	attrs, ok := scan(text)
	if !ok || len(attrs) == 0 || attrs[0].Key != "time" {
		return l
	}
	t, err := time.Parse(time.RFC3339Nano, attrs[0].Value)
	if err != nil {
		return l
	}
	l.Time, l.Attrs = t, attrs[1:]
	return l
}

// scan splits key=value pairs; a value with spaces is quoted as Go quotes it.
func scan(text string) (attrs []Attr, ok bool) {
	for text != "" {
		key, rest, found := strings.Cut(text, "=")
		if !found || key == "" || strings.ContainsAny(key, " \"") {
			return attrs, false
		}
		var value string
		if strings.HasPrefix(rest, `"`) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return attrs, false
			}
			if value, err = strconv.Unquote(quoted); err != nil {
				return attrs, false
			}
			rest = rest[len(quoted):]
			if rest != "" && rest[0] != ' ' {
				return attrs, false
			}
		} else {
			end := strings.IndexByte(rest, ' ')
			if end < 0 {
				end = len(rest)
			}
			value, rest = rest[:end], rest[end:]
		}
		attrs = append(attrs, Attr{key, value})
		text = strings.TrimPrefix(rest, " ")
	}
	return attrs, true
}

// Node is the node that the line is about, empty for none.
func (l Line) Node() string {
	for _, a := range l.Attrs {
		if a.Key == "node" {
			return a.Value
		}
	}
	return ""
}

// Parts are the parts that the line is about: the feature that writes it, a
// program in it, or a part that was started again.
func (l Line) Parts() []string {
	var out []string
	for _, a := range l.Attrs {
		if (a.Key == "part" || a.Key == "component") && !slices.Contains(out, a.Value) {
			out = append(out, a.Value)
		}
	}
	return out
}

// MarshalJSON has the line's pairs as an object; a key that comes twice has a list.
// A line without a time has its text as the message.
func (l Line) MarshalJSON() ([]byte, error) {
	if l.Time.IsZero() {
		return json.Marshal(map[string]string{"msg": l.Text})
	}
	out := map[string]any{"time": l.Time}
	for _, a := range l.Attrs {
		switch have := out[a.Key].(type) {
		case nil:
			out[a.Key] = a.Value
		case string:
			out[a.Key] = []string{have, a.Value}
		case []string:
			out[a.Key] = append(have, a.Value)
		}
	}
	return json.Marshal(out)
}
