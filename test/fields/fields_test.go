package fields

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/component-base/featuregate"
	_ "k8s.io/kubernetes/pkg/features" // registers the gates
)

// How a field is dealt with is one or more words of these kinds:
//
//	TestName        honoured, or refused, as that test of this repository shows: the
//	                file that it is in names the field
//	script:NAME     the same, of test/e2e/testdata/NAME.txtar
//	suite:TEXT      honoured, and specs of Kubernetes' own suite show it (see
//	                docs/conformance.md): a file of it has the name and the field.
//	                The text, with _ for blanks, is part of a spec's name
//	upstream:DIR    upstream's own package, run unchanged, acts upon the field and
//	                on all that is in it
//	gate:NAME       the API server drops the field: its feature gate is off
//	refused:NAME    such Pods are refused, with a reason and a message; that is
//	                exercised by the function of that name
//	parts           what is in it is honoured or refused field by field
//	name            names the thing that it is in, for others to refer to
//	nothing:WHY     there is nothing that it could be about, and why
//
// A field of a type that comes with a later Kubernetes fails the test until it is
// in the table, and so does an entry for a field that there is no more.

func TestEveryFieldOfAPod(t *testing.T) {
	w := &walker{t: t, seen: map[reflect.Type]bool{}, left: maps.Clone(table), evidence: readEvidence(t)}
	w.walk(reflect.TypeFor[v1.PodSpec]())
	w.walk(reflect.TypeFor[v1.PodStatus]())
	for _, key := range slices.Sorted(maps.Keys(w.left)) {
		t.Errorf("%s is in the table, but no such field is reached", key)
	}
}

type walker struct {
	t        *testing.T
	seen     map[reflect.Type]bool
	left     map[string]string
	evidence evidence
}

// walk looks at the fields of a type, and at those of the types in it.
func (w *walker) walk(typ reflect.Type) {
	for typ.Kind() == reflect.Pointer || typ.Kind() == reflect.Slice || typ.Kind() == reflect.Map {
		typ = typ.Elem()
	}
	if typ.Kind() != reflect.Struct || w.seen[typ] || typ.PkgPath() != reflect.TypeFor[v1.PodSpec]().PkgPath() {
		return
	}
	w.seen[typ] = true
	for i := range typ.NumField() {
		f := typ.Field(i)
		key := typ.Name() + "." + f.Name
		if typ == reflect.TypeFor[v1.EphemeralContainerCommon]() {
			key = "Container." + f.Name // "must be kept in sync", and node/spec converts one into the other
		}
		how, known := table[key]
		if !known {
			w.t.Errorf("%s: neither honoured nor refused", key)
			continue
		}
		delete(w.left, key)
		deeper := false
		for _, word := range strings.Fields(how) {
			w.check(key, f, word)
			kind, _, _ := strings.Cut(word, ":")
			deeper = deeper || kind != "upstream" && kind != "gate" && kind != "refused" && kind != "nothing"
		}
		if deeper {
			w.walk(f.Type)
		}
	}
}

// check looks whether one word of the table is true.
func (w *walker) check(key string, f reflect.StructField, word string) {
	kind, what, _ := strings.Cut(word, ":")
	var why string
	switch kind {
	case "parts", "name":
	case "script":
		why = w.evidence.in(w.evidence.scripts[what], f)
	case "suite":
		why = w.evidence.inSuite(strings.ReplaceAll(what, "_", " "), f)
	case "upstream":
		if _, err := os.Stat(filepath.Join(w.evidence.kubernetes, what)); err != nil {
			why = err.Error()
		}
	case "gate":
		if utilfeature.DefaultFeatureGate.Enabled(featuregate.Feature(what)) {
			why = "the gate is on"
		}
	case "refused":
		if refuse := refusals[what]; refuse == nil {
			why = "there is no such refusal"
		} else if err := refuse(); err == nil || strings.TrimSpace(err.Error()) == "" {
			why = "it is accepted"
		}
	case "nothing":
		if what == "" {
			why = "it is not told why"
		}
	default:
		why = w.evidence.in(w.evidence.tests[word], f)
	}
	if why != "" {
		w.t.Errorf("%s: %s: %s", key, word, why)
	}
}

// evidence has the texts of what shows that fields are honoured, by name.
type evidence struct {
	tests, scripts map[string]string
	suite          []string
	kubernetes     string // the directory of upstream's module
}

var testFunc = regexp.MustCompile(`(?m)^func (Test\w+)\(`)

func readEvidence(t *testing.T) evidence {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes").Output()
	if err != nil {
		t.Fatal(err)
	}
	e := evidence{tests: map[string]string{}, scripts: map[string]string{}, kubernetes: strings.TrimSpace(string(out))}
	for _, dir := range []string{"../../internal/node", "../../internal/runtime", "../../internal/controlplane", "../../internal/service"} {
		eachFile(t, dir, "_test.go", func(_, text string) {
			for _, m := range testFunc.FindAllStringSubmatch(text, -1) {
				e.tests[m[1]] += text
			}
		})
	}
	eachFile(t, "../e2e/testdata", ".txtar", func(path, text string) {
		e.scripts[strings.TrimSuffix(filepath.Base(path), ".txtar")] = text
	})
	for _, dir := range []string{"common", "node", "storage", "apps"} {
		eachFile(t, filepath.Join(e.kubernetes, "test/e2e", dir), ".go", func(_, text string) { e.suite = append(e.suite, text) })
	}
	return e
}

func eachFile(t *testing.T, dir, suffix string, fn func(path, text string)) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, suffix) {
			return err
		}
		text, err := os.ReadFile(path)
		fn(path, string(text))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// in tells why a text does not show that the field is honoured.
func (evidence) in(text string, f reflect.StructField) string {
	if text == "" {
		return "there is no such test"
	}
	if !mentions(text, f) {
		return "it does not name the field"
	}
	return ""
}

func (e evidence) inSuite(spec string, f reflect.StructField) string {
	found := false
	for _, text := range e.suite {
		if !strings.Contains(text, spec) {
			continue
		}
		found = true
		if mentions(text, f) {
			return ""
		}
	}
	if !found {
		return "there is no such spec"
	}
	return "it does not name the field"
}

// mentions looks for the field by its name in Go or in YAML.
func mentions(text string, f reflect.StructField) bool {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	for _, word := range []string{f.Name, name} {
		if word != "" && regexp.MustCompile(`\b`+regexp.QuoteMeta(word)+`\b`).MatchString(text) {
			return true
		}
	}
	return f.Anonymous && strings.Contains(text, f.Type.Name())
}
