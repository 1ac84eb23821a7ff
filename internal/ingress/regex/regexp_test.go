package regex

import (
	"errors"
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// matches are rows of subject and what is taken: the whole match and the
// captures, "-" standing for a capture that took no part; nil for no match.
type matches map[string][]string

func TestMatch(t *testing.T) {
	for name, tt := range map[string]struct {
		pattern string
		fold    bool
		want    matches
	}{
		// ingress-nginx, Rewrite: the usual target is /$2.
		"rewrite": {`^/app(/|$)(.*)`, true, matches{
			"/app": {"/app", "", ""}, "/app/": {"/app/", "/", ""}, "/App/x/y": {"/App/x/y", "/", "x/y"}, "/appx": nil, "/x/app": nil,
		}},
		// ingress-nginx, Ingress Path Matching.
		"unanchored at its end": {`^/id/[0-9]+`, true, matches{"/id/123a": {"/id/123"}, "/id/a": nil}},
		"anchored at its end":   {`^/id/[0-9]+$`, true, matches{"/id/123a": nil, "/ID/7": {"/ID/7"}}},
		"counted":               {`^/foo/bar/[a-z]{3}`, true, matches{"/foo/bar/bar": {"/foo/bar/bar"}, "/foo/bar/ba": nil}},
		"greedy":                {`^/foo/bar/(.+)`, true, matches{"/foo/bar/a/b": {"/foo/bar/a/b", "a/b"}, "/foo/bar/": nil}},
		// pcre2pattern, "Lookahead assertions" and "Lookbehind assertions".
		"not below api":       {`^/(?!api(/|$))(.*)`, true, matches{"/web/x": {"/web/x", "-", "web/x"}, "/API/x": nil, "/api": nil, "/apix": {"/apix", "-", "apix"}}},
		"look-behind":         {`^/.*(?<!\.php)$`, true, matches{"/a.html": {"/a.html"}, "/a.php": nil, "/a.PHP": nil}},
		"look-behind, widths": {`(?<=^/(?:v1|beta))/x`, false, matches{"/v1/x": {"/x"}, "/beta/x": {"/x"}, "/v2/x": nil}},
		// pcre2pattern, "Backreferences".
		"back reference":          {`^/([a-z]+)/\1$`, true, matches{"/a/a": {"/a/a", "a"}, "/ab/AB": {"/ab/AB", "ab"}, "/a/b": nil}},
		"named reference":         {`^/(?<l>[a-z]{2})/(?P=l)-\k{l}`, false, matches{"/de/de-de": {"/de/de-de", "de"}, "/de/de-en": nil}},
		"reference within itself": {`^(a|b\1)+$`, false, matches{"aba": {"aba", "ba"}, "abab": nil}},
		// pcre2pattern, "Atomic grouping and possessive quantifiers".
		"atomic":     {`^(?>a+)ab`, false, matches{"aaab": nil}},
		"possessive": {`^[^/]++/?x`, false, matches{"ab/x": {"ab/x"}, "abx": nil}},
		// pcre2pattern, "Recursive patterns".
		"recursion": {`^(\((?:[^()]|(?1))*\))$`, false, matches{"(a(b)c)": {"(a(b)c)", "(a(b)c)"}, "(a(b c)": nil}},
		// pcre2pattern, "Conditional groups".
		"condition": {`^/(v)?(?(1)\d|x)$`, false, matches{"/v1": {"/v1", "v"}, "/x": {"/x", "-"}, "/1": nil}},
		"keep":      {`^/foo\K/bar`, false, matches{"/foo/bar": {"/bar"}}},
		"reset":     {`^(?|a(.)|b(.))\1`, false, matches{"axx": {"axx", "x"}, "byy": {"byy", "y"}, "axy": nil}},
		// pcre2pattern, "Circumflex and dollar".
		"dollar before a newline": {`^/a$`, false, matches{"/a\n": {"/a"}, "/a\nb": nil}},
		"only the end":            {`^/a\z`, false, matches{"/a\n": nil, "/a": {"/a"}}},
		"dot and newline":         {`^/a.b`, false, matches{"/a\nb": nil, "/a\rb": {"/a\rb"}}},
		"dot with s":              {`(?s)^/a.b`, false, matches{"/a\nb": {"/a\nb"}}},
		// Bytes: nginx compiles without UTF mode, in the C locale.
		"a dot is a byte":        {`^/(.)(.)`, false, matches{"/é": {"/é", "\xc3", "\xa9"}, "/\xff\xfe": {"/\xff\xfe", "\xff", "\xfe"}}},
		"case of ASCII alone":    {`^/Éks`, true, matches{"/Éks": {"/Éks"}, "/éks": nil, "/ÉKS": {"/ÉKS"}, "/É\u212as": nil, "/Ék\u017f": nil}},
		"word characters":        {`^\w+`, false, matches{"aé": {"a"}, "é": nil}},
		"any bytes in a class":   {`^[^/]+$`, false, matches{"\xe3\x81\x82\x00\xff": {"\xe3\x81\x82\x00\xff"}}},
		"bytes of a class":       {`^[é]$`, false, matches{"é": nil, "\xc3": {"\xc3"}}},
		"octal":                  {`^\57a\0`, false, matches{"/a\x00": {"/a\x00"}}},
		"quoted":                 {`^/\Qa.b*\E+`, false, matches{"/a.b**": {"/a.b**"}, "/axb": nil}},
		"flags of a part":        {`^/(?-i)A(?i:b)c`, true, matches{"/ABc": {"/ABc"}, "/aBc": nil, "/ABC": nil}},
		"flags go on in a":       {`^(?:/(?i)a|/b)c`, false, matches{"/Bc": {"/Bc"}, "/BC": nil}},
		"brace for itself":       {`^/{a}{`, false, matches{"/{a}{": {"/{a}{"}}},
		"count from none":        {`^/a{,2}$`, false, matches{"/aa": {"/aa"}, "/": {"/"}, "/aaa": nil}},
		"more than Go counts":    {`^[a-z]{1,2000}$`, false, matches{strings.Repeat("a", 2000): {strings.Repeat("a", 2000)}, strings.Repeat("a", 2001): nil}},
		"an empty last turn":     {`^(a*)+`, false, matches{"aa": {"aa", ""}}},
		"alternation's own end":  {`^/foo|/bar`, false, matches{"/x/bar": {"/bar"}, "/x/foo": nil}},
		"host alias":             {`^(www\d*|api)\.example\.(com|org)$`, true, matches{"WWW2.example.org": {"WWW2.example.org", "WWW2", "org"}, "www.example.net": nil}},
		"CN":                     {`CN=(alice|bob)(,|$)`, false, matches{"CN=alice,O=x": {"CN=alice,", "alice", ","}, "O=x,CN=bob": {"CN=bob", "bob", ""}, "CN=bobby": nil}},
		"extended":               {"(?x) ^/a  b # comment\n c", false, matches{"/abc": {"/abc"}}},
		"empty":                  {``, false, matches{"": {""}, "x": {""}}},
		"newlines as \\R":        {`^a\Rb`, false, matches{"a\r\nb": {"a\r\nb"}, "a\x85b": {"a\x85b"}}},
		"conditional look-ahead": {`^/(?(?=v)v\d|x)`, false, matches{"/v1": {"/v1"}, "/vx": nil, "/x": {"/x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			re, err := Compile(tt.pattern, Options{IgnoreCase: tt.fold})
			if err != nil {
				t.Fatal(err)
			}
			for s, want := range tt.want {
				caps, err := re.MatchInto(s, make([]int, 0, 20))
				if err != nil {
					t.Fatal(err)
				}
				if got := taken(s, caps); !reflect.DeepEqual(got, want) {
					t.Errorf("%q on %q took %q, want %q", tt.pattern, s, got, want)
				}
				if ok, err := re.Match(s); ok != (want != nil) || err != nil {
					t.Errorf("Match(%q) = %v, %v", s, ok, err)
				}
				if ok, err := re.MatchBytes([]byte(s)); ok != (want != nil) || err != nil {
					t.Errorf("MatchBytes(%q) = %v, %v", s, ok, err)
				}
			}
		})
	}
}

func taken(s string, caps []int) []string {
	var texts []string
	for i := 0; i < len(caps); i += 2 {
		if caps[i] < 0 {
			texts = append(texts, "-")
			continue
		}
		texts = append(texts, s[caps[i]:caps[i+1]])
	}
	return texts
}

func TestCompileErrors(t *testing.T) {
	for pattern, want := range map[string]string{
		`(?:(?:(?:){65535}){65535}){65535}`: `takes more than 8192 instructions`,
		`/a(b`:                              `"/a(b" is not taken: at byte 3, "(b": the group does not end; close it with a parenthesis, or write \( for the character itself`,
		`/a)b`:                              `at byte 3, ")b": the parenthesis closes no group; write \) for a literal parenthesis`,
		`/[a`:                               `at byte 2, "[a": the class does not end`,
		`/*`:                                "", // a slash any number of times
		`*.html`:                            `at byte 1, "*.html": the quantifier follows nothing that could be repeated; write \* for the character itself`,
		`/a**`:                              `at byte 4, "*": the quantifier follows nothing`,
		`/a{3,2}`:                           `at byte 3, "{3,2}": the quantifier's least count is above its greatest; swap them`,
		`/a{70000}`:                         `a quantifier counts to 65535 at most`,
		`/a\`:                               `at byte 3, "\\": the pattern ends in a backslash; write \\ for the character itself`,
		`/\y`:                               `the escape \y means nothing; write y for the letter itself`,
		`/(a)\2`:                            `at byte 5, "\\2": the pattern has 1 groups, and the reference is to group 2`,
		`/\k<x>`:                            `the pattern has no group of the name "x"`,
		`/[z-a]`:                            `the range in the class is out of order; swap its ends`,
		`/[\w-z]`:                           `the range in the class does not go from a character to a character`,
		`/[[:foo:]]`:                        `there is no class of the name "foo"`,
		`[:alpha:]`:                         `a class of POSIX stands only within a class`,
		`/(?<=a+)b`:                         `at byte 2, "(?<=a+)b": a look-behind of varying length goes back 255 bytes at most`,
		`/(?<n>a)(?<n>b)`:                   `two groups have the name "n"`,
		`/(?y)`:                             `there is no option or group (?y`,
		`(*UTF8)/é`:                         `the option (*UTF8) is not served; remove it and match bytes`,
		`/a(*SKIP)b`:                        `the verb (*SKIP) is not served`,
		`/\x{100}`:                          `matching is on bytes, and the value is above 255; write the bytes of its UTF-8 form`,
		`/\p{Nope}`:                         `there is no property of the name "Nope"`,
		`/(?:(?:a{99}b){99}){99}`:           `the pattern takes more than 8192 instructions`,
		strings.Repeat("a", 4097):           `a pattern has at most 4096 bytes, this one has 4097`,
		strings.Repeat("(", 251):            `groups are nested more than 250 deep`,
		`/(?C1)a`:                           `callouts are not served`,
		`/(?(1)a|b|c)(d)`:                   `the condition has too many branches`,
		`(?=a\K)`:                           `\K may not be in a look-around`,
	} {
		_, err := Compile(pattern, Options{})
		if want == "" {
			if err != nil {
				t.Errorf("Compile(%q): %v", pattern, err)
			}
			continue
		}
		var syntax *SyntaxError
		if !errors.As(err, &syntax) || !strings.Contains(err.Error(), want) {
			t.Errorf("Compile(%q): %v; want an error with %s", pattern, err, want)
		}
	}
}

// TestBoundedSteps has patterns whose plain backtracking takes time that is
// exponential or a high power of the subject's length.
func TestBoundedSteps(t *testing.T) {
	as := strings.Repeat("a", 8000)
	for name, tt := range map[string]struct {
		pattern, subject string
		max              int
		want             error
		match            bool
	}{
		"nested plus":        {pattern: `^(a+)+$`, subject: as + "b"},
		"nested plus, found": {pattern: `^(a+)+$`, subject: as, match: true},
		"nested star":        {pattern: `^(a*)*$`, subject: as + "b"},
		"nested twice":       {pattern: `((a*)*)*b`, subject: as[:4000]},
		"alternatives":       {pattern: `^(a|a)*$`, subject: as + "b"},
		"overlap":            {pattern: `^(a|aa)+$`, subject: as + "b"},
		"stars":              {pattern: `^.*a.*a.*a.*b`, subject: as},
		"unanchored":         {pattern: `a*a*a*b`, subject: as},
		"optional":           {pattern: strings.Repeat("a?", 40) + strings.Repeat("a", 40) + "$", subject: as[:40] + "b"},
		"with a look-ahead":  {pattern: `^(?!x)(a+)+$`, subject: as + "b"},
		"back reference":     {pattern: `^(a+)+\1$`, subject: as[:1000] + "b", want: ErrSteps},
		"in a look-ahead":    {pattern: `^(?=(a+)+$)`, subject: as[:1000] + "b", want: ErrSteps},
		"recursion":          {pattern: `^((?1)a|a)`, subject: as, want: ErrSteps},
		"recursion for ever": {pattern: `(?R)`, subject: as, want: ErrSteps},
		"few steps":          {pattern: `^(a|b)*c`, subject: as, max: 1000, want: ErrSteps},
	} {
		t.Run(name, func(t *testing.T) {
			re, err := Compile(tt.pattern, Options{MaxSteps: tt.max})
			if err != nil {
				t.Fatal(err)
			}
			caps, err := re.MatchInto(tt.subject, nil)
			if !errors.Is(err, tt.want) || (caps != nil) != tt.match {
				t.Errorf("%q: %v, %v; want a match %v and error %v", tt.pattern, caps, err, tt.match, tt.want)
			}
			m := re.machines.Get().(*machine)
			if cap(m.stack) > keepStack || cap(m.saved) > keepStack || len(m.failed) > maxFailed/64 {
				t.Errorf("the machine keeps %d frames, %d saved values and %d words", cap(m.stack), cap(m.saved), len(m.failed))
			}
		})
	}
}

func TestPrefix(t *testing.T) {
	for pattern, want := range map[string]Prefix{
		`^/foo`:              {Text: "/foo", Anchored: true, Complete: true},
		`^/foo(/|$)(.*)`:     {Text: "/foo", Anchored: true},
		`(?i)^/Foo(/|$)`:     {Text: "/foo", Fold: true, Anchored: true},
		`(?i)^/Foo`:          {Text: "/foo", Fold: true, Anchored: true, Complete: true},
		`^/foo/?`:            {Text: "/foo", Anchored: true},
		`^/Foo(?i)bar`:       {Text: "/Foo", Anchored: true},
		`^/foo|/bar`:         {},
		`^/foo|^/bar`:        {Anchored: true},
		`^(/foo)bar`:         {Text: "/foobar", Anchored: true},
		`^`:                  {Anchored: true, Complete: true},
		`/foo`:               {Text: "/foo"},
		`^/(?!api)`:          {Text: "/", Anchored: true},
		`^/foo$`:             {Text: "/foo", Anchored: true},
		`^(?:/ab){2}c`:       {Text: "/ab", Anchored: true},
		`\A/a\.b`:            {Text: "/a.b", Anchored: true, Complete: true},
		`(^/foo)?/bar`:       {},
		``:                   {},
		`^\Q/a.b\E[0-9]`:     {Text: "/a.b", Anchored: true},
		`(?=^/x)/xy`:         {},
		`(?m)^/foo`:          {},
		`^/a(*F)`:            {Text: "/a", Anchored: true},
		`^/a\K/b`:            {Text: "/a", Anchored: true},
		`a^`:                 {},
		`^(?<n>/foo)(?&n)`:   {Text: "/foo", Anchored: true},
		`^(?:/foo|/bar)/baz`: {Anchored: true},
	} {
		re, err := Compile(pattern, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := re.Prefix(); got != want {
			t.Errorf("%q has the prefix %+v, want %+v", pattern, got, want)
		}
	}
}

// TestMatchMemory shows that a match takes no memory of its own once the
// machine has grown.
func TestMatchMemory(t *testing.T) {
	for _, pattern := range []string{`^/app(/|$)(.*)`, `^/(?!api)([a-z]+)/\1`, `^(a+)+$`, `^/literal`} {
		re, err := Compile(pattern, Options{IgnoreCase: true})
		if err != nil {
			t.Fatal(err)
		}
		caps := make([]int, 0, 8)
		for _, s := range []string{"/app/some/path", "/abc/abc", strings.Repeat("a", 300) + "b"} {
			n := testing.AllocsPerRun(100, func() {
				if _, err := re.MatchInto(s, caps); err != nil {
					t.Fatal(err)
				}
			})
			if n >= 1 {
				t.Errorf("%q on %q allocates %v times", pattern, s, n)
			}
		}
	}
}

func TestConcurrentUse(t *testing.T) {
	re, err := Compile(`^/([a-z]+)/(?!x)\1(.*)`, Options{})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	for g := range 4 {
		go func() {
			word := strings.Repeat("ab", g+1)
			s := "/" + word + "/" + word + "rest"
			for range 1000 {
				caps, err := re.MatchInto(s, nil)
				if got := taken(s, caps); err == nil && !reflect.DeepEqual(got, []string{s, word, "rest"}) {
					err = errors.New("took " + strings.Join(got, ", "))
				}
				if err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range 4 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
}

func TestNames(t *testing.T) {
	re, err := Compile(`(?<b>x)(?'a'y)(?P<c>z)(w)`, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if want := map[string]int{"b": 1, "a": 2, "c": 3}; !reflect.DeepEqual(re.names, want) {
		t.Errorf("names %v, want %v", re.names, want)
	}
	if re.captures != 4 || re.String() != `(?<b>x)(?'a'y)(?P<c>z)(w)` {
		t.Errorf("%d captures in %s", re.captures, re)
	}
}

func BenchmarkMatch(b *testing.B) {
	for _, bm := range []struct{ name, pattern, subject string }{
		{"rewrite", `^/app(/|$)(.*)`, "/app/some/longer/path/index.html"},
		{"rewrite-other-path", `^/app(/|$)(.*)`, "/other/some/longer/path/index.html"},
		{"literal", `^/app`, "/app/some/longer/path/index.html"},
		{"segments", `^/api/v[0-9]+/([^/]+)/items/([^/]+)$`, "/api/v1/customer/items/123456"},
		{"alternatives", `^/(users|orders|items|carts)/[0-9]+`, "/carts/123456"},
		{"extension", `^/.*\.(js|css|png|jpg)$`, "/static/assets/vendor/main.0123456789.css"},
		{"look-ahead", `^/(?!api(/|$))(.*)`, "/web/some/longer/path/index.html"},
		{"back-reference", `^/([a-z]+)/\1/(.*)`, "/some/some/longer/path/index.html"},
	} {
		b.Run(bm.name, func(b *testing.B) {
			re, err := Compile(bm.pattern, Options{IgnoreCase: true})
			if err != nil {
				b.Fatal(err)
			}
			caps := make([]int, 0, 8)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := re.MatchInto(bm.subject, caps); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(bm.name+"/go", func(b *testing.B) {
			re, err := regexp.Compile("(?i)" + bm.pattern)
			if err != nil {
				b.Skip("Go's regexp does not take this pattern")
			}
			b.ReportAllocs()
			for b.Loop() {
				re.FindStringSubmatchIndex(bm.subject)
			}
		})
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, pattern := range []string{`^/app(/|$)(.*)`, `^/(?!api(/|$))([a-z]+)/\1/(.*)`} {
		b.Run(pattern, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Compile(pattern, Options{IgnoreCase: true}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkCatastrophic(b *testing.B) {
	for name, pattern := range map[string]string{"remembering": `^(a+)+$`, "ErrSteps": `^(a+)+\1$`} {
		re, err := Compile(pattern, Options{})
		if err != nil {
			b.Fatal(err)
		}
		s := strings.Repeat("a", 4000) + "b"
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				_, _ = re.Match(s)
			}
		})
	}
}
