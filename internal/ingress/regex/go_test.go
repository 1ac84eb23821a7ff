package regex

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"regexp"
	"regexp/syntax"
	"testing"
)

// TestAsGo compares random patterns with Go's regexp, which is an engine of
// another kind: on ASCII, and without loops whose iterations may be empty,
// the two are to agree in every capture.
func TestAsGo(t *testing.T) {
	compared, matched := 0, 0
	for i := range 5000 {
		g := &generator{rand: rand.New(rand.NewPCG(3, uint64(i))), re2: true}
		pattern, fold := g.pattern(), g.rand.IntN(3) == 0
		options := ""
		if fold {
			options = "(?i)"
		}
		parsed, err := syntax.Parse(options+pattern, syntax.Perl)
		if err != nil {
			if _, err := Compile(pattern, Options{}); err == nil {
				t.Errorf("%q: Go says %v, and this package says nothing", pattern, err)
			}
			continue
		}
		re, err := Compile(pattern, Options{IgnoreCase: fold})
		if err != nil {
			t.Errorf("%q: %v", pattern, err)
			continue
		}
		if emptyLoop(parsed) {
			continue
		}
		want := regexp.MustCompile(options + pattern)
		for range 5 {
			s := g.subject()
			expected := want.FindStringSubmatchIndex(s)
			for name, got := range everyWay(re, s) {
				if errors.Is(got.err, ErrSteps) {
					continue
				}
				compared++
				if expected != nil {
					matched++
				}
				if !reflect.DeepEqual(got.caps, expected) {
					t.Errorf("%q fold %v on %q, %s: got %v, Go %v", pattern, fold, s, name, got.caps, expected)
				}
			}
		}
	}
	t.Logf("compared %d, of these %d matches", compared, matched)
	if compared < 30000 || matched < 10000 {
		t.Errorf("compared %d, of these %d matches: the patterns show too little", compared, matched)
	}
}

// emptyLoop tells whether the pattern repeats what may be empty: there the
// captures of Go's regexp are not PCRE's.
func emptyLoop(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpStar, syntax.OpPlus, syntax.OpRepeat:
		if empty, err := regexp.MatchString(`^(?:`+re.Sub[0].String()+`)\z`, ""); err != nil || empty || hasPlace(re.Sub[0]) {
			return true
		}
	}
	for _, sub := range re.Sub {
		if emptyLoop(sub) {
			return true
		}
	}
	return false
}

func hasPlace(re *syntax.Regexp) bool {
	switch re.Op {
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpEmptyMatch:
		return true
	}
	for _, sub := range re.Sub {
		if hasPlace(sub) {
			return true
		}
	}
	return false
}
