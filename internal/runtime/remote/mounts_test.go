package remote

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// What was mounted for a container's start is gone when it has started, or else a
// volume would be in use after the container's end; that of another one is not.
func TestMountsAreHidden(t *testing.T) {
	_, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	sandbox := sandboxOf(r, "web", runtimeapi.NamespaceMode_POD)
	config := &runtimeapi.ContainerConfig{Metadata: &runtimeapi.ContainerMetadata{Name: "web"}}
	id, err := r.CreateContainer(t.Context(), "sandbox", config, sandbox)
	if err != nil {
		t.Fatal(err)
	}
	volume, dir := t.TempDir(), r.mountsDir("uid-web")
	if err := os.WriteFile(filepath.Join(volume, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := host.UnmountAllUnder(dir); err != nil {
			t.Error(err)
		}
	})
	for _, of := range []*runtimeapi.ContainerMetadata{config.Metadata, {Name: "web-0", Attempt: 1}, {Name: "web", Attempt: 1}} {
		place := filepath.Join(dir, mountName(of)+"3")
		if err := errors.Join(os.MkdirAll(place, 0o700), host.BindMount(volume, place, false)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var left []string
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if want := []string{"web-0.1.3", "web.1.3"}; !slices.Equal(left, want) {
		t.Errorf("left are %q, want %q", left, want)
	}
	if err := r.hideAllMounts("uid-web"); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(volume, "file")); err != nil {
		t.Errorf("what is in the volume: %v", err)
	}
}
