package cluster

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestMigrate(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml": "# kept\napiVersion: v1\nkind:   ConfigMap\n---\napiVersion: policy/v1beta1\nkind: PodDisruptionBudget\nmetadata: {name: p}\nspec: {selector: {matchLabels: {a: b}}}",
		"b.json": `{"apiVersion":"policy/v1beta1","kind":"PodSecurityPolicy","metadata":{"name":"psp"}}`,
		"c.txt":  "no manifest",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var out, told bytes.Buffer
	problems, err := Migrate{Files: []string{dir}}.Write(&out, &told)
	if err != nil || problems != 1 {
		t.Errorf("%d problems, %v", problems, err)
	}
	const want = "# kept\napiVersion: v1\nkind:   ConfigMap\n---\napiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: p}\nspec: {selector: {matchLabels: {a: b}}}\n---\n" +
		`{"apiVersion":"policy/v1beta1","kind":"PodSecurityPolicy","metadata":{"name":"psp"}}` + "\n"
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}
	for _, want := range []string{
		filepath.Join(dir, "a.yaml") + ": PodDisruptionBudget p: policy/v1beta1 is now policy/v1\n",
		filepath.Join(dir, "b.json") + ": PodSecurityPolicy psp: Kubernetes v1.25 removed PodSecurityPolicy",
	} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("told %q, want %q", told.String(), want)
		}
	}
	out.Reset()
	if _, err := (Migrate{Files: []string{filepath.Join(dir, "a.yaml")}, JSON: true}).Write(&out, &told); err != nil || !strings.Contains(out.String(), `"kind": "List"`) || !strings.Contains(out.String(), `"apiVersion": "policy/v1"`) {
		t.Errorf("as JSON: %v\n%s", err, out.String())
	}
	if _, err := (Migrate{Files: []string{filepath.Join(dir, "none.yaml")}}).Write(&out, &told); err == nil {
		t.Error("a file that is not there is no error")
	}
}
