package dns

import (
	"fmt"
	"strings"
)

// directive is one line of a Corefile, with the lines in the braces after it.
type directive struct {
	line int
	args []string // the first is the directive's name, or a server block's names
	body []directive
}

type token struct {
	text  string
	line  int
	brace bool // a { or } that is not in quotes
}

// readCorefile splits the text into its server blocks.
func readCorefile(text string) ([]directive, error) {
	tokens, err := corefileTokens(text)
	if err != nil {
		return nil, err
	}
	blocks, rest, err := directives(tokens, 0)
	if err == nil && len(rest) > 0 {
		err = fmt.Errorf("line %d: a } without a {", rest[0].line)
	}
	return blocks, err
}

// maxBlocks bounds how deep braces may be nested.
const maxBlocks = 8

func directives(tokens []token, depth int) (out []directive, rest []token, err error) {
	if depth > maxBlocks {
		return nil, nil, fmt.Errorf("line %d: braces are nested more than %d deep", tokens[0].line, maxBlocks)
	}
	for len(tokens) > 0 {
		if t := tokens[0]; t.brace && t.text == "}" {
			return out, tokens, nil
		}
		d := directive{line: tokens[0].line}
		for len(tokens) > 0 && !tokens[0].brace && (tokens[0].line == d.line || continues(d.args)) {
			d.args = append(d.args, tokens[0].text)
			d.line = tokens[0].line
			tokens = tokens[1:]
		}
		if len(tokens) > 0 && tokens[0].brace && tokens[0].text == "{" && tokens[0].line == d.line {
			open := tokens[0].line
			if len(d.args) == 0 {
				return nil, nil, fmt.Errorf("line %d: a { without a name before it", open)
			}
			if d.body, tokens, err = directives(tokens[1:], depth+1); err != nil {
				return nil, nil, err
			}
			if len(tokens) == 0 {
				return nil, nil, fmt.Errorf("line %d: a { without a }", open)
			}
			tokens = tokens[1:]
		} else if len(tokens) > 0 && tokens[0].brace && tokens[0].text == "{" {
			return nil, nil, fmt.Errorf("line %d: a { at the start of a line; write it at the end of the line before", tokens[0].line)
		}
		out = append(out, d)
	}
	return out, nil, nil
}

// continues reports whether a list of server block names goes on in the next line.
func continues(args []string) bool {
	return len(args) > 0 && strings.HasSuffix(args[len(args)-1], ",")
}

func corefileTokens(text string) ([]token, error) {
	var out []token
	line := 1
	for i := 0; i < len(text); {
		switch c := text[i]; {
		case c == '\n':
			line++
			i++
		case c == ' ' || c == '\t' || c == '\r':
			i++
		case c == '#':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '"':
			t := token{line: line}
			i++
			for ; i < len(text) && text[i] != '"'; i++ {
				if text[i] == '\\' && i+1 < len(text) && text[i+1] == '"' {
					i++
				}
				if text[i] == '\n' {
					line++
				}
				t.text += string(text[i])
			}
			if i == len(text) {
				return nil, fmt.Errorf("line %d: a quote without its end", t.line)
			}
			i++
			out = append(out, t)
		default:
			start := i
			for i < len(text) && !strings.ContainsRune(" \t\r\n", rune(text[i])) {
				i++
			}
			word := text[start:i]
			out = append(out, token{text: word, line: line, brace: word == "{" || word == "}"})
		}
	}
	return out, nil
}
