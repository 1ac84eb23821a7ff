package compat

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime/serializer"
	"sigs.k8s.io/yaml"
)

// moduleDir is where the files of a module are.
func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		t.Fatalf("find module %s: %v", module, err)
	}
	return strings.TrimSpace(string(out))
}

// TestExamplesOfKubernetes migrates the manifests in old versions that Kubernetes'
// own tests apply.
func TestExamplesOfKubernetes(t *testing.T) {
	dir := filepath.Join(moduleDir(t, "k8s.io/kubernetes"), "test/fixtures/pkg/kubectl/cmd")
	for file, want := range map[string]string{
		"auth/rbac-v1beta1.yaml":            "ClusterRole testing-CR: rbac.authorization.k8s.io/v1beta1 is now rbac.authorization.k8s.io/v1",
		"convert/extensionsdeployment.yaml": "Deployment nginx-deployment: extensions/v1beta1 is now apps/v1",
		"convert/appsdeployment.yaml":       "Deployment nginx-deployment: apps/v1beta2 is now apps/v1",
		"convert/serviceandingress.yaml":    "Ingress test-ingress: extensions/v1beta1 is now networking.k8s.io/v1",
	} {
		data, err := os.ReadFile(filepath.Join(dir, file))
		if err != nil {
			t.Fatal(err)
		}
		var told []string
		for _, document := range Documents(data) {
			m, err := Migrate(document)
			if err != nil {
				t.Errorf("%s: %v", file, err)
			}
			told = append(told, m.Changes...)
			readToday(t, file, m.Document)
		}
		if !strings.Contains(strings.Join(told, "\n"), want) {
			t.Errorf("%s: got\n%s\nwant %s", file, strings.Join(told, "\n"), want)
		}
	}
	// This one mixes fields of both versions, and says so in its comment.
	data, err := os.ReadFile(filepath.Join(dir, "convert/v1beta1ingress.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Migrate(data); err == nil || !strings.Contains(err.Error(), `unknown field "spec.defaultBackend"`) {
		t.Errorf("an Ingress with a field of today's: %v", err)
	}
}

// TestEveryFieldMigrates migrates the objects that Kubernetes keeps for checks of its
// serialization, in which every field is set.
func TestEveryFieldMigrates(t *testing.T) {
	dir := filepath.Join(moduleDir(t, "k8s.io/api"), "testdata/HEAD")
	found := 0
	for _, r := range resources {
		group := r.old.Group
		data, err := os.ReadFile(filepath.Join(dir, group+"."+r.old.Version+"."+r.kind+".yaml"))
		if os.IsNotExist(err) {
			continue // upstream has deleted the version
		}
		if err != nil {
			t.Fatal(err)
		}
		found++
		m, err := Migrate(data)
		if err != nil {
			t.Errorf("%s %s: %v", r.old, r.kind, err)
			continue
		}
		if !strings.Contains(string(m.Document), "apiVersion: "+r.today.String()+"\n") {
			t.Errorf("%s %s is not %s", r.old, r.kind, r.today)
		}
		readToday(t, r.old.String()+" "+r.kind, m.Document)
	}
	if found < 30 {
		t.Errorf("there are %d objects in %s", found, dir)
	}
}

// readToday reads a document as an API server without old versions does, strictly.
func readToday(t *testing.T, name string, document []byte) {
	t.Helper()
	var header struct{ APIVersion, Kind string }
	if err := yaml.Unmarshal(document, &header); err != nil {
		t.Errorf("%s: %v", name, err)
		return
	}
	if header.Kind == "List" || header.Kind == "" {
		return
	}
	codecs := serializer.NewCodecFactory((&resource{}).scheme(), serializer.EnableStrict)
	_, gvk, err := codecs.UniversalDeserializer().Decode(document, nil, nil)
	if err != nil {
		t.Errorf("%s: what was printed can't be read: %v\n%s", name, err, document)
		return
	}
	if findKind(*gvk) != nil {
		t.Errorf("%s: what was printed is of %s", name, gvk)
	}
}
