package config

import (
	"encoding/json"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// objects reads YAML documents. One of kind ConfigMap is that of MetalLB.
func objects(t testing.TB, text string) Objects {
	t.Helper()
	var all Objects
	for _, content := range contents(t, text) {
		if content["kind"] == "ConfigMap" {
			config := content["data"].(map[string]any)["config"].(string)
			all.ConfigMap = &config
			continue
		}
		_ = all.Add(content) // an error is a problem as well
	}
	return all
}

func contents(t testing.TB, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for _, doc := range strings.Split(text, "\n---\n") {
		var content map[string]any
		if err := yaml.Unmarshal([]byte(doc), &content); err != nil {
			t.Fatalf("%v in %s", err, doc)
		}
		whole(content)
		all = append(all, content)
	}
	return all
}

// whole makes int64 of whole numbers, as the API server's decoder does.
func whole(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = whole(v[k])
		}
	case []any:
		for i := range v {
			v[i] = whole(v[i])
		}
	case float64:
		return int64(v)
	}
	return v
}

// object is a YAML document of MetalLB's kinds.
func objectText(kind, name, spec string) string {
	return "apiVersion: metallb.io/v1beta1\nkind: " + kind + "\nmetadata: {name: " + name + ", namespace: metallb-system}\nspec: " + spec
}

func configMapText(text string) string {
	quoted, _ := json.Marshal(text)
	return "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: config, namespace: metallb-system}\ndata: {config: " + string(quoted) + "}"
}

func join2(docs ...string) string { return strings.Join(docs, "\n---\n") }

// expectProblems compares problems with expectations of the form "part|part|...", each part of which must be in the
// problem's text; a first part "left" or "kept" says whether the object is left out.
func expectProblems(t testing.TB, got []Problem, want ...string) {
	t.Helper()
	for i, w := range want {
		if i >= len(got) {
			t.Errorf("missing problem %q", w)
			continue
		}
		parts := strings.Split(w, "|")
		if left := parts[0] == "left"; left != got[i].Unused {
			t.Errorf("problem %q: Unused is %v", got[i], got[i].Unused)
		}
		for _, part := range parts[1:] {
			if !strings.Contains(got[i].String(), part) {
				t.Errorf("problem %q has no %q", got[i], part)
			}
		}
	}
	for _, p := range got[min(len(want), len(got)):] {
		t.Errorf("unexpected problem %q (left out: %v)", p, p.Unused)
	}
}
