package main

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"sigs.k8s.io/yaml"

	"minato/test/images"
)

// What the suite asks for by the list of registries is what was in the archive.
func TestRegistryServesTheImages(t *testing.T) {
	recipes := []images.Recipe{
		{Name: "e2e-a", Tags: []string{"registry.k8s.io/e2e-test-images/a:1.0", "registry.k8s.io/e2e-test-images/a:2.0"}},
		{Name: "e2e-b", Tags: []string{"registry.k8s.io/b:3.0"}},
	}
	dir := t.TempDir()
	want := map[string]v1.Hash{}
	for _, r := range recipes {
		img, err := random.Image(100, 2)
		if err != nil {
			t.Fatal(err)
		}
		refs := map[name.Tag]v1.Image{}
		for _, text := range r.Tags {
			tag, err := name.NewTag(text)
			if err != nil {
				t.Fatal(err)
			}
			refs[tag] = img
			if want[text], err = img.ConfigName(); err != nil {
				t.Fatal(err)
			}
		}
		if err := tarball.MultiWriteToFile(filepath.Join(dir, r.Name+".tar"), refs); err != nil {
			t.Fatal(err)
		}
	}
	blobs := filepath.Join(dir, "blobs")
	for range 2 { // the second time with blobs that are there
		served, err := serveImages(t.Context(), dir, blobs, recipes)
		if err != nil {
			t.Fatal(err)
		}
		var list map[string]string
		if err := yaml.Unmarshal(served.list(), &list); err != nil {
			t.Fatal(err)
		}
		for text, place := range map[string]string{
			recipes[0].Tags[0]: list["promoterE2eRegistry"] + "/a:1.0", recipes[0].Tags[1]: list["promoterE2eRegistry"] + "/a:2.0",
			recipes[1].Tags[0]: list["gcEtcdRegistry"] + "/b:3.0",
		} {
			tag, err := name.NewTag(place)
			if err != nil {
				t.Fatal(err)
			}
			img, err := remote.Image(tag)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := img.ConfigName(); err != nil || got != want[text] {
				t.Errorf("%s is %v, not %v: %v", place, got, want[text], err)
			}
		}
		if err := served.Close(); err != nil {
			t.Error(err)
		}
		if _, err := http.Get("http://" + served.address + "/v2/"); err == nil {
			t.Error("the registry answers after its end")
		}
	}
	if _, err := serveImages(t.Context(), dir, blobs, []images.Recipe{{Name: "e2e-none", Tags: recipes[0].Tags}}); err == nil {
		t.Error("an image without an archive is no error")
	}
}
