package remote

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A sandbox may take minutes: its image is pulled first. What is there for its Pod is
// not taken away meanwhile, and is if nothing comes of it.
func TestSweepLeavesWhatIsBeingMade(t *testing.T) {
	f, endpoint := serve(t)
	r := open(t, endpoint, "node-1")
	f.address = "10.122.1.5"
	looks := 0
	r.cfg.Listed = func(context.Context, map[string]bool) error { looks++; return nil }
	sweeps := func() {
		for range 3 {
			if err := r.sweep(t.Context(), nil); err != nil {
				t.Error(err)
			}
		}
	}
	record := filepath.Join(r.cfg.Records.Dir, "uid-web")
	f.making = func() {
		sweeps()
		if _, err := os.Stat(record); err != nil {
			t.Errorf("the record of a Pod that is being made: %v", err)
		}
		if _, err := os.Stat(r.PodCgroup("uid-web").V2()); err != nil {
			t.Errorf("the cgroup of a Pod that is being made: %v", err)
		}
	}
	if _, err := r.RunPodSandbox(t.Context(), sandboxOf(r, "web", runtimeapi.NamespaceMode_POD), ""); err != nil {
		t.Fatal(err)
	}
	if looks != 0 {
		t.Errorf("interfaces that belong to no sandbox were looked for %d times while one was made", looks)
	}
	if err := r.sweep(t.Context(), nil); err != nil { // of a list that is older than the sandbox
		t.Error(err)
	}
	if _, err := os.Stat(record); err != nil {
		t.Errorf("the record of a Pod that was made: %v", err)
	}
	f.mu.Lock()
	clear(f.sandboxes)
	f.mu.Unlock()
	sweeps()
	if _, err := os.Stat(record); !errors.Is(err, os.ErrNotExist) || looks == 0 {
		t.Errorf("after the Pod's end: %v, %d looks", err, looks)
	}
}
