package spec

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	v1 "k8s.io/api/core/v1"
)

func TestEnvFileValue(t *testing.T) {
	const text = "# comment\n\n  A='one'\nB='two words # and more' # comment\nLINES='first\n second\nthird'\nEMPTY=''\nBLANK= 'x'\nA='again'\nNEXT='n'"
	for key, want := range map[string]string{
		"A": "one", "B": "two words # and more", "LINES": "first\n second\nthird", "EMPTY": "", "BLANK": "", "NEXT": "n", "NONE": "",
	} {
		if got, err := envFileValue(text, key); err != nil || got != want {
			t.Errorf("%s = %q, %v; want %q", key, got, err, want)
		}
	}
	for text, want := range map[string]string{
		"A":                    "line 1 has no =",
		"\nA ='x'":             "line 2 has no name",
		"='x'":                 "line 1 has no name",
		"A=x":                  "line 1 is not in single quotes",
		"A=\"x\"":              "not in single quotes",
		"B='b'\nA='x":          "quote in line 2 is never closed",
		"B='1\n2' x\nA='x'":    "behind the value in line 2",
		"B='1\n2'\n\nC\nA='x'": "line 4 has no =",
	} {
		if got, err := envFileValue(text, "A"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %q, %v; want %q", text, got, err, want)
		}
	}
	if got, err := envFileValue("A='x'\nnonsense", "A"); err != nil || got != "x" {
		t.Errorf("before a line that is wrong: %q, %v", got, err)
	}
}

func FuzzEnvFileValue(f *testing.F) {
	f.Add("A='x'\nB='y\nz' # c", "B")
	f.Fuzz(func(t *testing.T, text, key string) {
		if got, err := envFileValue(text, key); err == nil && !strings.Contains(text, got) {
			t.Errorf("%q of %q = %q", key, text, got)
		}
	})
}

type oneFile struct{ text string }

func (o oneFile) ReadFile(_ context.Context, _ *v1.Pod, volume, path string) (string, error) {
	if volume != "config" || path != "dir/env" {
		return "", fmt.Errorf("%s in %s: %w", path, volume, fs.ErrNotExist)
	}
	return o.text, nil
}

// A variable that comes from a file of a volume, by fileKeyRef.
func TestEnvironmentFromFiles(t *testing.T) {
	yes := true
	for name, tc := range map[string]struct {
		ref        v1.FileKeySelector
		want, fail string
	}{
		"there":             {v1.FileKeySelector{VolumeName: "config", Path: "dir/env", Key: "A"}, "X=one", ""},
		"not there":         {v1.FileKeySelector{VolumeName: "config", Path: "dir/env", Key: "B"}, "", `key "B" not found in file "dir/env"`},
		"optional":          {v1.FileKeySelector{VolumeName: "config", Path: "dir/env", Key: "B", Optional: &yes}, "", ""},
		"no such file":      {v1.FileKeySelector{VolumeName: "config", Path: "other", Key: "A"}, "", "read file other of volume config"},
		"optional, no file": {v1.FileKeySelector{VolumeName: "none", Path: "other", Key: "A", Optional: &yes}, "", ""},
	} {
		c := &v1.Container{Env: []v1.EnvVar{{Name: "X", ValueFrom: &v1.EnvVarSource{FileKeyRef: &tc.ref}}}}
		env, err := Environment(t.Context(), EnvInput{Pod: &v1.Pod{}, Container: c, Files: oneFile{"A='one'"}})
		got := ""
		for _, kv := range env {
			got += kv.Key + "=" + string(kv.Value)
		}
		if tc.fail == "" && err != nil || tc.fail != "" && (err == nil || !strings.Contains(err.Error(), tc.fail)) || got != tc.want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
