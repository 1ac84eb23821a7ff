package node

import (
	"os"
	"path/filepath"
	"testing"

	"k8s.io/utils/clock"

	"minato/internal/node/evict"
	"minato/internal/node/fakecri"
)

func TestWithinStorage(t *testing.T) {
	for _, c := range []struct {
		name        string
		fs          evict.Observation
		limit, used int64
		want        evict.Observation
	}{
		{"half of the limit", evict.Observation{Available: 100, Capacity: 200}, 50, 25, evict.Observation{Available: 25, Capacity: 50}},
		{"a fuller disk", evict.Observation{Available: 10, Capacity: 200}, 50, 25, evict.Observation{Available: 10, Capacity: 50}},
		{"more than the limit", evict.Observation{Available: 100, Capacity: 200}, 50, 75, evict.Observation{Available: 0, Capacity: 50}},
		{"a smaller disk", evict.Observation{Available: 100, Capacity: 200}, 500, 75, evict.Observation{Available: 100, Capacity: 200}},
	} {
		if got := withinStorage(c.fs, c.limit, c.used); got != c.want {
			t.Errorf("%s: %+v, want %+v", c.name, got, c.want)
		}
	}
}

// Claims are not the node's, and no link leads out of what is measured.
func TestStorageUsed(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	for path, size := range map[string]int{
		filepath.Join(dir, "pods/uid/volumes/file"): 1 << 20, filepath.Join(dir, "root/tmp/file"): 2 << 20, filepath.Join(dir, "users.json"): 100,
		filepath.Join(dir, claimsDir, "pvc-1/file"): 4 << 20, filepath.Join(elsewhere, "file"): 8 << 20,
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, link := range []string{"linked", "root/linked"} {
		if err := os.Symlink(elsewhere, filepath.Join(dir, link)); err != nil {
			t.Fatal(err)
		}
	}
	a := &Agent{cfg: Config{Dir: dir, Runtime: fakecri.New(clock.RealClock{}), StorageLimit: 4 << 20}}
	used, err := a.storageUsed(t.Context())
	if least := int64(3 << 20); err != nil || used < least || used > least+1<<20 {
		t.Errorf("used = %d, %v; want 3 MiB and the directories", used, err)
	}
	out := evict.Observations{}
	if err := a.observeStorage(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	if got := out[evict.NodeFsAvailable]; got.Capacity != 4<<20 || got.Available <= 0 || got.Available > 1<<20 {
		t.Errorf("observed %+v", got)
	}
	if _, ok := out[evict.NodeFsInodesFree]; !ok {
		t.Error("inodes are not observed")
	}
}
