package images

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The suite of the release in go.mod says which images it wants; a stand-in of
// another version would never be used.
func TestUpstreamNamesAreTheSuites(t *testing.T) {
	dir, err := moduleDir(t.Context(), "k8s.io/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(dir, "test/utils/image/manifest.go"))
	if err != nil {
		t.Fatal(err)
	}
	wanted := map[string]bool{}
	for _, m := range regexp.MustCompile(`Config\{list\.(\w+), "([^"]+)", "([^"]+)"\}`).FindAllStringSubmatch(string(source), -1) {
		switch m[1] {
		case "PromoterE2eRegistry":
			wanted[suiteRegistry+m[2]+":"+m[3]] = true
		case "GcRegistry", "GcEtcdRegistry":
			wanted["registry.k8s.io/"+m[2]+":"+m[3]] = true
		}
	}
	for _, image := range manifestImages(t, filepath.Join(dir, "test", "e2e", "testing-manifests")) {
		wanted[image] = true
	}
	names := map[string]bool{}
	for _, r := range Upstream() {
		if own := strings.HasPrefix(r.Name, "e2e-") || r.Name == pauseRecipe().Name; !own || names[r.Name] { // other tests run that one too
			t.Errorf("image %s: its archive should have a name of its own that begins with e2e-", r.Name)
		}
		names[r.Name] = true
		for _, tag := range r.Tags {
			if !wanted[tag] {
				t.Errorf("image %s: the suite does not ask for %s", r.Name, tag)
			}
		}
	}
}

// Specs with drivers of dynamic resources run a program by its path in an image that they
// name themselves.
func TestHostpathPluginIsWhereItIsRun(t *testing.T) {
	dir, err := moduleDir(t.Context(), "k8s.io/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	source, err := os.ReadFile(filepath.Join(dir, "test/e2e/dra/utils/deploy.go"))
	if err != nil {
		t.Fatal(err)
	}
	run := regexp.MustCompile(`Command: \[\]string\{\s*"/([^"]+)",\s*"--v`).FindSubmatch(source)
	r := hostpathPlugin()
	name, _, _ := strings.Cut(r.Tags[0], ":")
	if run == nil || !strings.Contains(string(source), `"`+name+`"`) {
		t.Fatalf("the suite no longer runs a program of the image %s", name)
	}
	made := &tree{entries: map[string]*entry{}}
	if err := r.layer.finish(nil, made); err != nil {
		t.Fatal(err)
	}
	e := made.entries[string(run[1])]
	if e == nil || e.header.Linkname != filepath.Base(r.layer.on.program) {
		t.Errorf("/%s is not the program %s", run[1], r.layer.on.program)
	}
}

// manifestImages are the images that the suite's manifests name.
func manifestImages(t *testing.T, dir string) (images []string) {
	t.Helper()
	named := regexp.MustCompile(`(?m)^[\s-]*image:\s*"?([^\s"]+)`)
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".yaml" {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			images = append(images, m[1])
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return images
}
