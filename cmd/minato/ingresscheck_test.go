package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

func runMinato(t *testing.T, args ...string) (string, error) {
	t.Helper()
	root := newRootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// What `minato ingress check` says of manifests as people have them: of several
// kinds and old versions, in files and directories. The exit status says whether
// something is refused.
func TestIngressCheck(t *testing.T) {
	const dir = "testdata/ingresscheck"
	for _, test := range []struct {
		name    string
		args    []string
		refused string
	}{
		{"file", []string{"-f", dir + "/shop.yaml"}, "refused: 1 of"},
		{"directory", []string{"-f", dir + "/more"}, ""},
		{"recursive", []string{"-R", "-f", dir + "/more"}, ""},
		{"both", []string{"-f", dir + "/shop.yaml", "-f", dir + "/more/list.yml"}, "refused: 1 of"},
		{"class", []string{"-f", dir + "/more/deep", "--controller-class", "example.test/internal", "--ingress-class", "internal"}, ""},
		{"json", []string{"-f", dir + "/shop.yaml", "-o", "json"}, "refused: 1 of"},
	} {
		t.Run(test.name, func(t *testing.T) {
			out, err := runMinato(t, append([]string{"ingress", "check"}, test.args...)...)
			if test.refused == "" && err != nil || test.refused != "" && (err == nil || !strings.Contains(err.Error(), test.refused)) {
				t.Errorf("error %v, want %q", err, test.refused)
			}
			var usage usageError
			if errors.As(err, &usage) {
				t.Errorf("%v would be told as an error of the command line", err)
			}
			if test.name == "json" && !json.Valid([]byte(out)) {
				t.Errorf("no JSON: %s", out)
			}
			golden := filepath.Join(dir, test.name+".golden")
			if *update {
				if err := os.WriteFile(golden, []byte(out), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), out); d != "" {
				t.Errorf("with -update the test writes it anew:\n%s", d)
			}
		})
	}
}

func TestIngressCheckRefuses(t *testing.T) {
	for _, test := range []struct {
		args  string
		want  string
		usage bool
	}{
		{"", "give manifests with -f, or --all", true},
		{"--all -f x.yaml", "give manifests with -f, or --all", true},
		{"-f x.yaml --kubeconfig y", "give it with --all", true},
		{"--all -R", "give it with -f", true},
		{"-f testdata/ingresscheck/none.yaml", "no such file", false},
		{"-f testdata/ingresscheck/more/notes.txt", "notes.txt: document 1", false},
		{"-f testdata", "no file in this directory ends in", false},
		{"-f testdata/ingresscheck/shop.yaml --configmap x", "write NAMESPACE/NAME", false},
		{"--all --kubeconfig testdata/none", "kubeconfig testdata/none", false},
	} {
		_, err := runMinato(t, append([]string{"ingress", "check"}, strings.Fields(test.args)...)...)
		var usage usageError
		if err == nil || !strings.Contains(err.Error(), test.want) || errors.As(err, &usage) != test.usage {
			t.Errorf("%s: %v, want %q", test.args, err, test.want)
		}
	}
}
