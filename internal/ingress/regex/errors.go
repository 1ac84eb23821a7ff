package regex

import (
	"errors"
	"fmt"
)

// ErrSteps tells that a match was given up because it took more steps than
// Options.MaxSteps, or more memory than such a match may take. Whether the
// subject matches is not known, so that a caller can't go on to the next
// pattern. nginx logs an alert then, and answers the request with 500, for a
// location as for a rewrite (measured with 1.22: "pcre2_match() failed: -47").
var ErrSteps = errors.New("the match was given up because it took more steps than its bound allows")

// SyntaxError tells why a pattern or a template is not taken.
type SyntaxError struct {
	Text    string // the whole pattern or template
	Offset  int    // in bytes, where the fault begins
	Problem string // a sentence without its full stop
	Remedy  string // what to write instead, or ""
}

// Error gives the fault, its place and the remedy in one line.
func (e *SyntaxError) Error() string {
	at := "at its end"
	if e.Offset < len(e.Text) {
		rest := e.Text[e.Offset:]
		if len(rest) > 20 {
			rest = rest[:20] + "…"
		}
		at = fmt.Sprintf("at byte %d, %q", e.Offset+1, rest)
	}
	text := e.Text
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	s := fmt.Sprintf("%q is not taken: %s: %s", text, at, e.Problem)
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}
