package regex

import (
	"errors"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// FuzzMatch shows that no pattern and no subject make the package panic or
// take more than its steps, that both engines agree, and that the prefix
// tells the truth.
func FuzzMatch(f *testing.F) {
	for i := range 200 {
		g := &generator{rand: rand.New(rand.NewPCG(9, uint64(i)))}
		f.Add(g.pattern(), g.subject(), i%2 == 0)
	}
	f.Add(`^(a+)+$`, strings.Repeat("a", 40)+"b", false)
	f.Add(`(?:(?:){65535}){65535}`, "", false)
	f.Fuzz(func(t *testing.T, pattern, subject string, fold bool) {
		re, err := Compile(pattern, Options{IgnoreCase: fold, MaxSteps: 20000})
		if err != nil {
			var syntax *SyntaxError
			if !errors.As(err, &syntax) || syntax.Offset < 0 || syntax.Offset > len(pattern) || err.Error() == "" {
				t.Errorf("%q: %#v", pattern, err)
			}
			return
		}
		caps, err := re.MatchInto(subject, nil)
		if err != nil {
			if !errors.Is(err, ErrSteps) {
				t.Errorf("%q on %q: %v", pattern, subject, err)
			}
			return
		}
		checkCaptures(t, re, subject, caps)
		if p := re.Prefix(); p.Anchored && p.Complete && (caps != nil) != beginsWith(subject, p) {
			t.Errorf("%q on %q: %v, in spite of the prefix %+v", pattern, subject, caps, p)
		}
		for name, got := range everyWay(re, subject) {
			if got.err == nil && !reflect.DeepEqual(got.caps, caps) {
				t.Errorf("%q on %q: %s gives %v, and MatchInto %v", pattern, subject, name, got.caps, caps)
			}
		}
	})
}

func checkCaptures(t *testing.T, re *Regexp, subject string, caps []int) {
	if caps == nil {
		return
	}
	if len(caps) != 2*(re.captures+1) || caps[0] < 0 {
		t.Fatalf("%q on %q: captures %v of %d", re, subject, caps, re.captures)
	}
	for i := 0; i < len(caps); i += 2 {
		if (caps[i] < 0) != (caps[i+1] < 0) || caps[i] > caps[i+1] || caps[i+1] > len(subject) {
			t.Errorf("%q on %q: capture %d of %v", re, subject, i/2, caps)
		}
	}
	if p := re.Prefix(); !strings.Contains(re.String(), `\K`) && !beginsWith(subject[caps[0]:], p) {
		t.Errorf("%q on %q matched at %d without the prefix %+v", re, subject, caps[0], p)
	}
}

func beginsWith(s string, p Prefix) bool {
	if p.Fold {
		return hasPrefixFold(s, p.Text)
	}
	return strings.HasPrefix(s, p.Text)
}
