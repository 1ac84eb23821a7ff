package regex

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"os/exec"
	"reflect"
	"testing"
)

// question is a pattern and the subjects to try it on.
type question struct {
	pattern  string
	fold     bool
	subjects []string
}

func (q question) MarshalJSON() ([]byte, error) {
	subjects := []string{}
	for _, s := range q.subjects {
		subjects = append(subjects, hex.EncodeToString([]byte(s)))
	}
	return json.Marshal(map[string]any{"pattern": hex.EncodeToString([]byte(q.pattern)), "fold": q.fold, "subjects": subjects})
}

// answer is what PCRE makes of a question: an error, or for each subject the
// offsets of the match, or a negative code.
type answer struct {
	Code    int
	Error   string
	Results [][]int
}

// askPCRE has PCRE2 itself answer, by way of Python's ctypes.
func askPCRE(t *testing.T, questions []question) []answer {
	t.Helper()
	var in bytes.Buffer
	enc := json.NewEncoder(&in)
	for _, q := range questions {
		if err := enc.Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("this test compares with PCRE2 by way of python3, which is not here")
	}
	if err := exec.Command(python, "-c", `import ctypes; ctypes.CDLL("libpcre2-8.so.0")`).Run(); err != nil {
		t.Skip("this test compares with PCRE2, and libpcre2-8.so.0 is not here")
	}
	cmd := exec.Command(python, "testdata/pcre.py")
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var answers []answer
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatal(err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(questions) {
		t.Fatalf("PCRE answered %d of %d questions", len(answers), len(questions))
	}
	return answers
}

var pcreSeed = flag.Uint64("pcre-seed", 0, "compare ten times as many random patterns, of this seed, with PCRE2")

// lookBehindError is PCRE2's code for a look-behind of no fixed length, which
// 10.42 refuses and both 10.43 and this package take.
const lookBehindError = 125

// TestAsPCRE compares random patterns of all features with PCRE2: whether
// they compile, whether they match, and every capture; both engines.
func TestAsPCRE(t *testing.T) {
	count, seed := 20000, uint64(1)
	if testing.Short() {
		count = 2000
	}
	if *pcreSeed > 0 {
		count, seed = 200000, *pcreSeed
	}
	var questions []question
	for i := range count {
		g := &generator{rand: rand.New(rand.NewPCG(seed, uint64(i)))}
		q := question{pattern: g.pattern(), fold: g.rand.IntN(3) == 0}
		for range 6 {
			q.subjects = append(q.subjects, g.subject())
		}
		questions = append(questions, q)
	}
	failures, compared, matched, gaveUp := 0, 0, 0, 0
	fail := func(format string, args ...any) {
		if failures++; failures <= 20 {
			t.Errorf(format, args...)
		}
	}
	for i, a := range askPCRE(t, questions) {
		q := questions[i]
		re, err := Compile(q.pattern, Options{IgnoreCase: q.fold})
		if a.Error != "" || err != nil {
			if (a.Error != "") != (err != nil) && a.Code != lookBehindError {
				fail("pattern %q: PCRE says %q, and this package says %v", q.pattern, a.Error, err)
			}
			continue
		}
		for j, s := range q.subjects {
			want := a.Results[j]
			if want[0] < -1 {
				continue // PCRE gave up
			}
			if want[0] == -1 {
				want = nil
			}
			for name, got := range everyWay(re, s) {
				if errors.Is(got.err, ErrSteps) {
					gaveUp++
					continue
				}
				compared++
				if want != nil {
					matched++
				}
				if !reflect.DeepEqual(got.caps, want) {
					fail("pattern %q fold %v on %q, %s: got %v, PCRE %v", q.pattern, q.fold, s, name, got.caps, want)
				}
			}
		}
	}
	t.Logf("compared %d, of these %d matches; gave up %d; %d differ", compared, matched, gaveUp, failures)
	if compared < count || matched < count/10 || gaveUp > compared/100 {
		t.Errorf("compared %d, matched %d, gave up %d: the patterns show too little", compared, matched, gaveUp)
	}
}

type outcome struct {
	caps []int
	err  error
}

// everyWay runs the pattern as callers do, by plain backtracking alone, and
// with failed states remembered from the start.
func everyWay(re *Regexp, s string) map[string]outcome {
	caps, err := re.MatchInto(s, nil)
	all := map[string]outcome{"match": {caps, err}, "fast": oneWay(re, re.fast, s, false)}
	if re.plain != nil {
		all["remembering"] = oneWay(re, re.plain, s, true)
	}
	return all
}

func oneWay(re *Regexp, p *program, s string, remember bool) outcome {
	m := &machine{}
	ok, left := m.search(p, s, re.anchored, remember, 1<<20)
	if left < 0 {
		return outcome{err: ErrSteps}
	}
	if !ok {
		return outcome{}
	}
	var caps []int
	for _, v := range m.slots[:2*(re.captures+1)] {
		caps = append(caps, int(v))
	}
	return outcome{caps: caps}
}
