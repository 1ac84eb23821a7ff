package registry

import "strings"

// challenge is one way to log in that a registry names (RFC 9110, section 11).
type challenge struct {
	scheme string // in lower case
	params map[string]string
}

// maxParams bounds what is read of one header.
const maxParams = 64

// parseChallenges reads a WWW-Authenticate header. What is not well-formed ends
// it: what was read before counts.
func parseChallenges(header string) []challenge {
	var out []challenge
	rest := header
	for n := 0; n < maxParams; n++ {
		rest = strings.TrimLeft(rest, " \t,")
		var word string
		word, rest = cutToken(rest)
		if word == "" {
			break
		}
		after := strings.TrimLeft(rest, " \t")
		if !strings.HasPrefix(after, "=") || strings.HasPrefix(after, "==") {
			out = append(out, challenge{scheme: strings.ToLower(word), params: map[string]string{}})
			continue
		}
		if len(out) == 0 {
			break
		}
		var value string
		var ok bool
		if value, rest, ok = cutValue(strings.TrimLeft(after[1:], " \t")); !ok {
			break
		}
		out[len(out)-1].params[strings.ToLower(word)] = value
	}
	return out
}

// cutToken cuts a token off the beginning.
func cutToken(s string) (token, rest string) {
	i := 0
	for i < len(s) && (s[i] >= 'a' && s[i] <= 'z' || s[i] >= 'A' && s[i] <= 'Z' || s[i] >= '0' && s[i] <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", s[i]) >= 0) {
		i++
	}
	return s[:i], s[i:]
}

// cutValue cuts a token or a quoted string off the beginning.
func cutValue(s string) (value, rest string, ok bool) {
	if !strings.HasPrefix(s, `"`) {
		value, rest = cutToken(s)
		return value, rest, value != ""
	}
	var b strings.Builder
	for i := 1; i < len(s); i++ {
		switch {
		case s[i] == '"':
			return b.String(), s[i+1:], true
		case s[i] == '\\' && i+1 < len(s):
			i++
		}
		b.WriteByte(s[i])
	}
	return "", "", false
}
