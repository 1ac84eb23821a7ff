package ctlline

import (
	"fmt"
	"strings"
)

// Words splits a line as a shell does, with quotes and backslashes. What a shell
// would do beyond starting one command with these words is an error.
func Words(line string) ([]string, error) {
	var words []string
	var word strings.Builder
	inWord := false
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case c == ' ' || c == '\t' || c == '\n':
			if inWord {
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case c == '\'' || c == '"':
			n, err := quoted(line[i:], &word)
			if err != nil {
				return nil, err
			}
			i += n - 1
			inWord = true
		case c == '\\':
			if i++; i == len(line) {
				return nil, fmt.Errorf("a backslash ends the line %q", line)
			}
			if line[i] != '\n' {
				word.WriteByte(line[i])
				inWord = true
			}
		case strings.IndexByte("|&;<>()$`#*?[]{}~!", c) >= 0:
			return nil, fmt.Errorf("%q: there is no shell here that would act on %q; quote it, or type one command alone", line, string(c))
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, nil
}

// quoted adds what is between the quotes that s begins with, and returns how long
// that is with them.
func quoted(s string, word *strings.Builder) (int, error) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		c := s[i]
		switch {
		case c == quote:
			return i + 1, nil
		case quote == '"' && (c == '$' || c == '`'):
			return 0, fmt.Errorf("%q: there is no shell here that would act on %q", s, string(c))
		case quote == '"' && c == '\\' && i+1 < len(s) && strings.IndexByte("\\\"$`", s[i+1]) >= 0:
			i++
			word.WriteByte(s[i])
		default:
			word.WriteByte(c)
		}
	}
	return 0, fmt.Errorf("the quotation %s has no end", s)
}
