package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestRemoveTree(t *testing.T) {
	base := t.TempDir()
	kept := filepath.Join(base, "kept")
	dir := filepath.Join(base, "dir")
	for _, d := range []string{kept, filepath.Join(dir, "a", "b"), filepath.Join(dir, ".being-removed-1")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 3000 {
		if err := os.WriteFile(filepath.Join(dir, "a", fmt.Sprint("f", i)), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(kept, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"link": kept, "a/b/link": filepath.Join(kept, "file"), "up": ".."} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	makeDeep(t, dir, 1000)
	for range 2 { // one that is not there is fine
		if err := RemoveTree(dir); err != nil {
			t.Fatal(err)
		}
	}
	link := filepath.Join(base, "link")
	if err := os.Symlink(kept, link); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTree(link); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(kept, "file")); err != nil {
		t.Errorf("what a link leads to is gone: %v", err)
	}
	if names, _ := os.ReadDir(base); len(names) != 1 {
		t.Errorf("left %v, want what the links led to only", names)
	}
}

// makeDeep makes a chain of directories that no path is long enough for.
func makeDeep(t *testing.T, dir string, depth int) {
	t.Helper()
	at, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { unix.Close(at) }()
	for range depth {
		name := strings.Repeat("d", 200)
		if err := unix.Mkdirat(at, name, 0o700); err != nil {
			t.Fatal(err)
		}
		next, err := unix.Openat(at, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		unix.Close(at)
		at = next
	}
}

func TestRemoveTreeStopsAtMounts(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	users, dir := filepath.Join(base, "users"), filepath.Join(base, "dir")
	point := filepath.Join(dir, "below", "mount")
	for _, d := range []string{users, point} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	file := filepath.Join(users, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := BindMount(users, point, false); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { UnmountAllUnder(base) })
	for _, d := range []string{dir, filepath.Dir(point), point} {
		if err := RemoveTree(d); !errors.Is(err, ErrMounted) || !strings.Contains(err.Error(), "umount "+point) {
			t.Errorf("RemoveTree(%s) = %v, want an error that names the mount", d, err)
		}
		// Also a mount that came after the list of mounts was read.
		if err := removeTree(d); !errors.Is(err, ErrMounted) {
			t.Errorf("removeTree(%s) = %v, want ErrMounted", d, err)
		}
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("what is mounted was removed: %v", err)
	}
	if err := Unmount(point); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTree(dir); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("what was mounted was removed: %v", err)
	}
}

func TestClearTree(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	t.Cleanup(func() { UnmountAllUnder(base) })
	users := filepath.Join(base, "users")
	if err := os.MkdirAll(filepath.Join(users, "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	kept := filepath.Join(users, "below", "file")
	if err := os.WriteFile(kept, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, mounts := range [][]string{nil, {""}, {"a"}, {"a/b", "c"}, {"a", "a", "a/below"}, {"a/file"}} {
		dir := filepath.Join(base, "dir")
		for _, d := range []string{"a/b", "a/below", "c/d"} {
			if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "a", "file"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range mounts {
			source := users
			if name == "a/file" {
				source = kept
			}
			if err := BindMount(source, filepath.Join(dir, name), false); err != nil {
				t.Fatal(err)
			}
		}
		if err := ClearTree(dir); err != nil {
			t.Errorf("with mounts at %q: %v", mounts, err)
		}
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			t.Errorf("with mounts at %q it is still there: %v", mounts, err)
		}
		if left, err := MountsUnder(base); err != nil || len(left) > 0 {
			t.Errorf("with mounts at %q, %q is left: %v", mounts, left, err)
		}
		if _, err := os.Stat(kept); err != nil {
			t.Fatalf("with mounts at %q, what was mounted was removed: %v", mounts, err)
		}
	}
	if err := ClearTree(filepath.Join(base, "nothing")); err != nil {
		t.Error(err)
	}
}

func TestUnmountEntries(t *testing.T) {
	requireRoot(t)
	dir := t.TempDir()
	t.Cleanup(func() { UnmountAllUnder(dir) })
	for _, name := range []string{"a", "a", "a/b", "c d", "d"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if name == "d" {
			continue
		}
		if err := MountTmpfs(path, "size=64k"); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("a", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := UnmountEntries(dir); err != nil {
			t.Fatal(err)
		}
	}
	if points, err := MountsUnder(dir); err != nil || len(points) != 0 {
		t.Errorf("mounts after = %q, %v", points, err)
	}
	if err := UnmountEntries(filepath.Join(dir, "nothing")); err != nil {
		t.Error(err)
	}
}
