package host

import (
	"os"
	"path/filepath"
	"testing"
)

func TestHugePages(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"hugepages-1048576kB": "2\n", "hugepages-2048kB": "512\n", "hugepages-64kB": "0\n"} {
		if err := os.MkdirAll(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "nr_hugepages"), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := readHugePages(dir)
	if err != nil || len(got) != 3 || got[0] != (HugePages{64 << 10, 0}) || got[1] != (HugePages{2 << 20, 512}) || got[2] != (HugePages{1 << 30, 2}) {
		t.Errorf("%v, %v", got, err)
	}
	for i, want := range []string{"64KB", "2MB", "1GB"} {
		if name := got[i].Name(); name != want {
			t.Errorf("%v is %s, want %s", got[i], name, want)
		}
	}
	if got, err := readHugePages(filepath.Join(dir, "none")); err != nil || len(got) != 0 {
		t.Errorf("a kernel without: %v, %v", got, err)
	}
}
