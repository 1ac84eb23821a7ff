package regex

import (
	"reflect"
	"strings"
	"testing"
)

func TestTemplate(t *testing.T) {
	re, err := Compile(`^/app(/|$)(?<rest>[^/]*)(/x)?`, Options{IgnoreCase: true})
	if err != nil {
		t.Fatal(err)
	}
	const subject = "/App/one"
	caps, err := re.MatchInto(subject, nil)
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]string{
		// ingress-nginx, Rewrite.
		"/$2":     "/one",
		"/new/$1": "/new//",
		"/":       "/",
		// nginx reads one digit: the capture 1, and a zero.
		"/$2$10":      "/one/0",
		"/a$2b":       "/aoneb",
		"/${2}0":      "/one0",
		"/$3/$9":      "//", // took no part, and not in the pattern
		"/$rest":      "/one",
		"/${rest}_":   "/one_",
		"/$REST":      "/one",
		"/$host/$2":   "/<host>/one",
		"https://h/":  "https://h/",
		"/$1$1":       "///",
		"":            "",
		"/é$2":        "/éone",
		"$2-$2.$host": "one-one.<host>",
	} {
		tmpl, err := ParseTemplate(target)
		if err != nil {
			t.Errorf("%q: %v", target, err)
			continue
		}
		got := string(tmpl.Bind(re).Append([]byte("="), subject, caps, func(dst []byte, name string) []byte {
			return append(append(append(dst, '<'), name...), '>')
		}))
		if got != "="+want {
			t.Errorf("%q gives %q, want %q", target, got, want)
		}
		if literal, ok := tmpl.Literal(); ok != !strings.Contains(target, "$") || ok && literal != target {
			t.Errorf("%q is literal %q, %v", target, literal, ok)
		}
		if tmpl.String() != target {
			t.Errorf("%q became %q", target, tmpl)
		}
	}
}

func TestTemplateVariables(t *testing.T) {
	tmpl, err := ParseTemplate("/$4/${uri}x/$host$uri/$2")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := tmpl.Variables(), []string{"host", "uri"}; !reflect.DeepEqual(got, want) {
		t.Errorf("variables %q, want %q", got, want)
	}
	if tmpl.MaxCapture() != 4 {
		t.Errorf("greatest capture %d, want 4", tmpl.MaxCapture())
	}
	if got, want := string(tmpl.Append(nil, "", nil, nil)), "//${uri}x/${host}${uri}/"; got != want {
		t.Errorf("variables left alone give %q, want %q", got, want)
	}
}

// nginx refuses each of these with "invalid variable name", "the closing
// bracket … is missing" or "unknown variable".
func TestTemplateErrors(t *testing.T) {
	for target, want := range map[string]string{
		"/a$":     `"/a$" is not taken: at byte 3, "$": the $ is followed by no name; write $1 to $9 for a capture, or the name of a variable`,
		"/$/x":    `at byte 2, "$/x": the $ is followed by no name`,
		"/${2":    "the brace behind the $ is not closed behind a name",
		"/${a-b}": "the brace behind the $ is not closed behind a name",
		"/${}":    "the $ is followed by no name",
		"/$0":     "there is no capture $0",
		"/${10}":  "there is no capture $10",
	} {
		if _, err := ParseTemplate(target); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want an error with %s", target, err, want)
		}
	}
}

func TestTemplateMemory(t *testing.T) {
	tmpl, err := ParseTemplate("/new/$1/$2")
	if err != nil {
		t.Fatal(err)
	}
	dst, caps := make([]byte, 0, 64), []int{0, 6, 1, 2, 3, 6}
	if n := testing.AllocsPerRun(100, func() { dst = tmpl.Append(dst[:0], "/a/bcd", caps, nil) }); n > 0 || string(dst) != "/new/a/bcd" {
		t.Errorf("%q took %v allocations", dst, n)
	}
}

// nginx, ngx_conf_read_token: the escapes of a quoted parameter.
func TestUnquote(t *testing.T) {
	for s, want := range map[string]string{
		`/a\.b`: `/a\.b`, `/a\\.b`: `/a\.b`, `/\"`: `/"`, `/\'`: `/'`, `/\t\r\n`: "/\t\r\n", `/a\`: `/a\`, `/\d+\\\\`: `/\d+\\`, `/`: `/`, ``: ``,
	} {
		if got := Unquote(s); got != want {
			t.Errorf("Unquote(%s) = %q, want %q", s, got, want)
		}
	}
}
