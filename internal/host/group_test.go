package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// groupOf is a file's group and mode, the file itself where it is a link.
func groupOf(t *testing.T, path string) string {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	st := info.Sys().(*syscall.Stat_t)
	return fmt.Sprintf("%d %o", st.Gid, st.Mode&0o7777)
}

func own(t *testing.T, dir string, onlyRoot bool) {
	t.Helper()
	f, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := OwnByGroup(t.Context(), f, 2000, onlyRoot); err != nil {
		t.Fatal(err)
	}
}

func TestOwnByGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files to a group that it is not in")
	}
	dir, outside := t.TempDir(), t.TempDir()
	foreign := filepath.Join(outside, "file")
	deep := filepath.Join(dir, strings.Repeat("d/", 100))
	if err := os.MkdirAll(deep, 0o700); err != nil {
		t.Fatal(err)
	}
	for path, mode := range map[string]fs.FileMode{
		filepath.Join(dir, "plain"): 0o640, filepath.Join(deep, "program"): 0o4755, foreign: 0o600,
	} {
		if err := os.WriteFile(path, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Chmod(path, uint32(mode)); err != nil {
			t.Fatal(err)
		}
	}
	for name, target := range map[string]string{"link": foreign, "dirlink": outside, "loop": "loop"} {
		if err := os.Symlink(target, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	was := groupOf(t, foreign) + groupOf(t, outside)
	own(t, dir, false)
	for path, want := range map[string]string{
		dir: "2000 2770", filepath.Join(dir, "plain"): "2000 660", filepath.Join(dir, "d"): "2000 2770",
		filepath.Join(deep, "program"): "2000 4775", filepath.Join(dir, "link"): "2000 777", filepath.Join(dir, "dirlink"): "2000 777",
	} {
		have := groupOf(t, path)
		if path == dir { // a test's directory may let others in
			have = strings.Replace(have, "2775", "2770", 1)
		}
		if have != want {
			t.Errorf("%s: %s, want %s", path, have, want)
		}
	}
	if is := groupOf(t, foreign) + groupOf(t, outside); is != was {
		t.Errorf("what links lead to was changed from %s to %s", was, is)
	}

	// What the root says holds for all below it, if that is asked for.
	plain := filepath.Join(dir, "plain")
	if err := os.Chown(plain, -1, 0); err != nil {
		t.Fatal(err)
	}
	if own(t, dir, true); groupOf(t, plain) != "0 660" {
		t.Errorf("a tree whose root matches was changed: %s", groupOf(t, plain))
	}
	if own(t, dir, false); groupOf(t, plain) != "2000 660" {
		t.Errorf("a tree was not changed: %s", groupOf(t, plain))
	}
}

// What is mounted read-only keeps its group, and its Pod starts.
func TestOwnByGroupReadOnly(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	t.Cleanup(func() { UnmountAllUnder(base) })
	source, target := filepath.Join(base, "source"), filepath.Join(base, "target")
	if err := errors.Join(os.Mkdir(source, 0o755), os.Mkdir(target, 0o755)); err != nil {
		t.Fatal(err)
	}
	dir, err := os.Open(source)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if err := BindWith(dir, target, []string{"ro"}, false); err != nil {
		t.Fatal(err)
	}
	mounted, err := os.Open(target)
	if err != nil {
		t.Fatal(err)
	}
	defer mounted.Close()
	if err := OwnByGroup(t.Context(), mounted, 4000, false); err != nil {
		t.Error(err)
	}
	var st unix.Stat_t
	if err := unix.Stat(source, &st); err != nil || st.Gid == 4000 {
		t.Error(st.Gid, err)
	}
}

func TestRemoveTreeIn(t *testing.T) {
	base, outside := t.TempDir(), t.TempDir()
	parent, err := os.Open(base)
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	if err := os.MkdirAll(filepath.Join(base, "v", strings.Repeat("d/", 200)), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(base, "v", "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(base, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := RemoveTreeIn(parent, "link"); err == nil {
		t.Error("a link was followed or removed as a directory")
	}
	for range 2 {
		if err := RemoveTreeIn(parent, "v"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(base, "v")); err == nil {
		t.Error("the directory is still there")
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error("what a link leads to is gone")
	}
}
