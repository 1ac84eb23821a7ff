package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// testRoot is a tree with links in it, the path of a file outside, and the tree
// as a root directory.
func testRoot(t *testing.T) (dir, outside string, r *InRoot) {
	t.Helper()
	dir, outside = filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "outside")
	for _, d := range []string{"a/b", "etc"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for path, text := range map[string]string{filepath.Join(dir, "a/b/file"): "inside", outside: "outside"} {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{
		"absolute": "/a/b", "relative": "a/b", "up": "../../../../a/b", "a/out": outside, "nowhere": "/absent", "loop": "loop",
	} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := OpenInRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return dir, outside, r
}

func TestInRootResolves(t *testing.T) {
	_, outside, r := testRoot(t)
	for path, want := range map[string]string{
		"/a/b/file": "/a/b/file", "/absolute/file": "/a/b/file", "relative/file": "/a/b/file", "/up/file": "/a/b/file",
		"/../../a": "/a", "/": "/", "/a/../etc": "/etc",
	} {
		if got, err := r.EvalSymlinks(path); got != want || err != nil {
			t.Errorf("EvalSymlinks(%s) = %s, %v, want %s", path, got, err, want)
		}
		if _, err := r.Stat(path); err != nil {
			t.Errorf("Stat(%s): %v", path, err)
		}
	}
	for path, want := range map[string]error{
		"/a/out": fs.ErrNotExist, outside: fs.ErrNotExist, "/nowhere": fs.ErrNotExist, "/loop": unix.ELOOP, "/a/b/file/x": unix.ENOTDIR,
	} {
		if _, err := r.Stat(path); !errors.Is(err, want) {
			t.Errorf("Stat(%s) = %v, want %v", path, err, want)
		}
		if _, err := r.EvalSymlinks(path); !errors.Is(err, want) {
			t.Errorf("EvalSymlinks(%s) = %v, want %v", path, err, want)
		}
	}
}

func TestInRootChanges(t *testing.T) {
	dir, _, r := testRoot(t)
	for _, path := range []string{"/x/y/z", "/absolute/made", "/a", "/", "relative/other/"} {
		if err := r.MkdirAll(path, 0o755); err != nil {
			t.Errorf("MkdirAll(%s): %v", path, err)
		}
	}
	for _, path := range []string{"x/y/z", "a/b/made", "a/b/other"} {
		if info, err := os.Stat(filepath.Join(dir, path)); err != nil || !info.IsDir() {
			t.Errorf("%s was not made: %v", path, err)
		}
	}
	for _, path := range []string{"/nowhere", "/nowhere/x", "/a/b/file", "/a/b/file/x"} {
		if err := r.MkdirAll(path, 0o755); err == nil {
			t.Errorf("MkdirAll(%s) gave no error", path)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "absent")); err == nil {
		t.Error("a directory was made where a link leads to")
	}
	f, err := r.OpenFile("/absolute/new", os.O_CREATE|os.O_RDONLY, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	if info, err := os.Stat(filepath.Join(dir, "a/b/new")); err != nil || info.Mode() != 0o640 {
		t.Errorf("new file: %v, %v", info, err)
	}
	if f, err := r.OpenFile("/fifo", os.O_RDONLY, 0); err != nil {
		t.Error(err)
	} else {
		f.Close()
	}
	root, err := r.OpenRoot("/absolute")
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	if data, err := root.ReadFile("file"); err != nil || string(data) != "inside" {
		t.Errorf("file = %q, %v", data, err)
	}
}

// /proc has links that lead to other root directories.
func TestInRootRefusesMagicLinks(t *testing.T) {
	r, err := OpenInRoot("/")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, path := range []string{"/proc/self/root/etc", "/proc/1/root", "/proc/self/fd/0", "/proc/self/cwd"} {
		if _, err := r.Stat(path); err == nil {
			t.Errorf("Stat(%s) gave no error", path)
		}
	}
}

func TestNilInRootIsTheProcess(t *testing.T) {
	dir, _, _ := testRoot(t)
	var r *InRoot
	if got, err := r.EvalSymlinks(filepath.Join(dir, "relative")); err != nil || got != filepath.Join(dir, "a/b") {
		t.Errorf("EvalSymlinks = %s, %v", got, err)
	}
	if err := r.MkdirAll(filepath.Join(dir, "x/y"), 0o755); err != nil {
		t.Error(err)
	}
	if info, err := r.Stat(filepath.Join(dir, "x/y")); err != nil || !info.IsDir() {
		t.Errorf("Stat: %v, %v", info, err)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}
