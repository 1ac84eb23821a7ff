package regex

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
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
	Code    int     `json:"code,omitempty"`
	Error   string  `json:"error,omitempty"`
	Results [][]int `json:"results,omitempty"`
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

var update = flag.Bool("update", false, "ask PCRE2 again for what testdata/pcre.json has")

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
	for i, a := range askPCRE(t, questions) {
		compare(t, questions[i], a, func(got outcome, want []int, problem string) {
			if problem != "" {
				if failures++; failures <= 20 {
					t.Error(problem)
				}
			}
			if got.err != nil {
				gaveUp++
				return
			}
			if compared++; want != nil {
				matched++
			}
		})
	}
	t.Logf("compared %d, of these %d matches; gave up %d; %d differ", compared, matched, gaveUp, failures)
	if compared < count || matched < count/10 || gaveUp > compared/100 {
		t.Errorf("compared %d, matched %d, gave up %d: the patterns show too little", compared, matched, gaveUp)
	}
}

// compare tells each of the ways to match a question, what PCRE answers, and
// what is wrong, if anything is.
func compare(t *testing.T, q question, a answer, tell func(got outcome, want []int, problem string)) {
	re, err := Compile(q.pattern, Options{IgnoreCase: q.fold})
	if a.Error != "" || err != nil {
		if (a.Error != "") != (err != nil) && a.Code != lookBehindError {
			t.Errorf("pattern %q: PCRE says %q, and this package says %v", q.pattern, a.Error, err)
		}
		return
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
			problem := ""
			if got.err == nil && !reflect.DeepEqual(got.caps, want) {
				problem = fmt.Sprintf("pattern %q fold %v on %q, %s: got %v, PCRE %v", q.pattern, q.fold, s, name, got.caps, want)
			}
			tell(got, want, problem)
		}
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

// TestAsPCREKnew compares with what PCRE2 has answered, for where it is not.
// Run it with -update to ask again.
func TestAsPCREKnew(t *testing.T) {
	const file = "testdata/pcre.json"
	questions := knownQuestions()
	if *update {
		var out bytes.Buffer
		enc := json.NewEncoder(&out)
		for _, a := range askPCRE(t, questions) {
			if err := enc.Encode(a); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(file, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	in, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	dec := json.NewDecoder(in)
	for _, q := range questions {
		var a answer
		if err := dec.Decode(&a); err != nil {
			t.Fatal(err)
		}
		compare(t, q, a, func(got outcome, want []int, problem string) {
			if problem != "" {
				t.Error(problem)
			}
		})
	}
}

// knownQuestions are patterns as people write them on paths that fit, and
// random ones.
func knownQuestions() []question {
	paths := []string{
		"", "/", "/app", "/app/", "/App/x/y", "/appx", "/api/v1/users/42", "/api/v10/users/42/", "/foo/bar", "/foo//bar", "/foo/bar/bar",
		"/static/main.css", "/static/MAIN.JS", "/a.php", "/index.php/x", "/de/de-de", "/en/de", "/.well-known/acme-challenge/x", "/x\n", "/x\ny",
		"/é/É", "/\xff\xfe", "/a b", "/a+b", "/(a(b)c)", "/{x}", "/v2.0/a", "/k\u212a", "www.example.com", "api.EXAMPLE.com",
	}
	var all []question
	for _, pattern := range []string{
		`^/`, `^/app(/|$)(.*)`, `^/app/?(.*)`, `^/(?!api)(.*)`, `^/(?!api/|app)([^/]*)`, `^/(.*?)/(.*)$`, `^/api/v(\d+)/([a-z]+)/(\d+)/?$`,
		`^/(api|app)(?:/(.*))?$`, `\.(css|js)$`, `^/.+\.php(/|$)`, `^/(?<l>[a-z]{2})/(?P=l)`, `^/([a-z]+)/\1`, `^/foo/+bar`, `^/foo(/bar){2}$`, `^/foo(?=/bar$)`,
		`(?<=/foo)/bar`, `(?<!/foo)/bar`, `^/(?>[a-z]+)p`, `^/[a-z]++/`, `^/(?i:APP)/`, `^/(?-i)App`, `^/[^.]*$`, `^/\S+$`, `^/.$`, `^/..$`, `^/....$`, `^/[^a-z/]+`,
		`^/x$`, `^/x\Z`, `^/x\z`, `(?m)^/x$`, `(?s)^/x.y`, `^/x.y`, `^/\W+`, `^/\x{e9}|/\xc3`, `^/[é]`, `^/É`, `^/k.`, `^/k\W`, `^/\Qa+b\E`, `^/a\+b|^/a\ b`, `^/{x}`, `^/\{x\}`,
		`^/(\((?:[^()]++|(?1))*+\))`, `^(www|api)\.example\.com$`, `^/(v)?(?(1)\d\.\d|[a-z]+)`, `^/v\d{1,}`, `^/(?:(?:app|api)/?)*`, `^/(a|ap|app)(x|/x)?`, `^/((a*)*)*p`, `^/foo\K/bar`,
		`^/[[:alpha:]]+$`, `^/[[:^alpha:]]+`, `^/[\w.-]+$`, `^/[]x{]`, `^/$|^/foo`, `\bx\b`, `\Bo`, `^/(?|(a)pp|(f)oo)/\1?`, `(?x) ^/ app # all`, `^/?$`, `^$`, ``,
		`^/a{2`, `^/(a`, `^/a)`, `^/[a`, `^/a**`, `^/[z-a]`, `^/\y`, `^/(?<n>a)(?<n>b)`, `^/\2(a)`, `^/a{3,1}`, `^/(?z)`, `^/[[:none:]]`, `+`, `^/\`,
	} {
		for _, fold := range []bool{false, true} {
			all = append(all, question{pattern: pattern, fold: fold, subjects: paths})
		}
	}
	for i := range 1000 {
		g := &generator{rand: rand.New(rand.NewPCG(7, uint64(i)))}
		q := question{pattern: g.pattern(), fold: i%3 == 0}
		for range 4 {
			q.subjects = append(q.subjects, g.subject())
		}
		all = append(all, q)
	}
	return all
}
