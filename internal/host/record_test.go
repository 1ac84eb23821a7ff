package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// A record is written and read whatever lies in its place, and what a link there leads to
// stays as it is.
func TestRecord(t *testing.T) {
	dir := t.TempDir()
	victim, record := filepath.Join(dir, "victim"), filepath.Join(dir, "record")
	if _, err := ReadRecord(record); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no record: %v", err)
	}
	if err := os.WriteFile(victim, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, link := range []string{record, record + ".new"} {
		if err := os.Symlink(victim, link); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := ReadRecord(record); err == nil {
		t.Errorf("what a link leads to is read: %s", got)
	}
	if err := WriteRecord(record, []byte("first")); err != nil {
		t.Fatal(err)
	}
	if err := WriteRecord(record, []byte("next")); err != nil {
		t.Fatal(err)
	}
	if got, err := ReadRecord(record); err != nil || string(got) != "next" {
		t.Errorf("the record is %q, %v", got, err)
	}
	if info, err := os.Lstat(record); err != nil || info.Mode() != 0o600 {
		t.Errorf("the record has the mode %v, %v", info.Mode(), err)
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "mine" {
		t.Errorf("what the link led to is %q now, %v", got, err)
	}
	if err := errors.Join(os.Remove(record), unix.Mkfifo(record, 0o600)); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(record); err == nil {
		t.Error("a FIFO is read")
	}
}

// Files below a directory are replaced and read as records are, and no link leads out.
func TestBeneath(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "file")
	if err := errors.Join(os.WriteFile(victim, []byte("mine"), 0o644), os.MkdirAll(filepath.Join(dir, "a/b"), 0o700), os.Symlink(outside, filepath.Join(dir, "out")), os.Symlink("a/b", filepath.Join(dir, "in"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name  string
		links []string // in its place
		err   error
	}{
		{"top", nil, nil}, {"a/b/deep", nil, nil}, {"in/linked", nil, nil},
		{"a/replaced", []string{"a/replaced", "a/replaced.new"}, nil},
		{"none/file", nil, fs.ErrNotExist}, {"out/file", nil, unix.EXDEV}, {"../file", nil, unix.EXDEV}, {"top/file", nil, unix.ENOTDIR},
	} {
		for _, link := range c.links {
			if err := os.Symlink(victim, filepath.Join(dir, link)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := ReadBeneath(dir, c.name); c.err == nil && c.links == nil && !errors.Is(err, fs.ErrNotExist) || c.links != nil && err == nil {
			t.Errorf("%s is read before it is written: %v", c.name, err)
		}
		for _, text := range []string{"first", "next"} {
			if err := WriteBeneath(dir, c.name, []byte(text)); !errors.Is(err, c.err) {
				t.Errorf("%s: written, %v, want %v", c.name, err, c.err)
			}
		}
		if got, err := ReadBeneath(dir, c.name); !errors.Is(err, c.err) || err == nil && string(got) != "next" {
			t.Errorf("%s: read %q, %v", c.name, got, err)
		}
	}
	for _, path := range []string{"a/b/deep", "a/replaced"} {
		if info, err := os.Lstat(filepath.Join(dir, path)); err != nil || info.Mode() != 0o600 {
			t.Errorf("%s has the mode %v, %v", path, info.Mode(), err)
		}
	}
	if got, err := os.ReadFile(victim); err != nil || string(got) != "mine" {
		t.Errorf("what the links led to is %q now, %v", got, err)
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 1 {
		t.Errorf("outside are %v, %v", left, err)
	}
	err := WriteBeneath(dir, "none/file", nil)
	var pathErr *fs.PathError
	if !errors.As(err, &pathErr) || pathErr.Path != filepath.Join(dir, "none/file") {
		t.Errorf("the error does not name the file: %v", err)
	}
}

// A directory is made below another, or found there, and no link leads out.
func TestMkdirBeneath(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := errors.Join(os.Mkdir(filepath.Join(dir, "real"), 0o700), os.WriteFile(filepath.Join(dir, "file"), nil, 0o600),
		os.Symlink("real", filepath.Join(dir, "in")), os.Symlink(outside, filepath.Join(dir, "out")), os.Symlink(filepath.Join(outside, "new"), filepath.Join(dir, "nowhere"))); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		err  error
	}{
		{"made", nil}, {"made/below", nil}, {"real", nil}, {"in", nil}, {"in/linked", nil},
		{"out", unix.EXDEV}, {"out/new", unix.EXDEV}, {"nowhere", unix.EXDEV}, {"../new", unix.EXDEV},
		{"file", unix.ENOTDIR}, {"file/new", unix.ENOTDIR}, {"none/new", fs.ErrNotExist},
	} {
		for range 2 { // it is there, at the second time
			err := MkdirBeneath(dir, c.name, 0o700)
			var pathErr *fs.PathError
			if !errors.Is(err, c.err) || c.err != nil && (!errors.As(err, &pathErr) || pathErr.Path != filepath.Join(dir, c.name)) {
				t.Errorf("%s: %v, want %v", c.name, err, c.err)
			}
			if info, err := os.Stat(filepath.Join(dir, c.name)); c.err == nil && (err != nil || !info.IsDir()) {
				t.Errorf("%s is not there: %v", c.name, err)
			}
		}
		if d, err := DirBeneath(dir, c.name); !errors.Is(err, c.err) {
			t.Errorf("%s: opened, %v, want %v", c.name, err, c.err)
		} else if err == nil {
			if d.Name() != filepath.Join(dir, c.name) {
				t.Errorf("%s has the name %s", c.name, d.Name())
			}
			d.Close()
		}
	}
	if left, err := os.ReadDir(outside); err != nil || len(left) != 0 {
		t.Errorf("outside are %v, %v", left, err)
	}
}

// A write that fails leaves nothing of what it has written.
func TestFailedWriteLeavesNothing(t *testing.T) {
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "place", "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	for how, write := range map[string]func() error{
		"beneath": func() error { return WriteBeneath(dir, "place", []byte("text")) },
		"record":  func() error { return WriteRecord(filepath.Join(dir, "place"), []byte("text")) },
	} {
		if err := write(); err == nil {
			t.Errorf("%s: a directory is replaced with a file", how)
		}
		if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
			t.Errorf("%s: %v are left, %v", how, left, err)
		}
	}
}

// An entry is removed whatever it is, and what a link leads to is not.
func TestRemoveEntry(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	if err := errors.Join(os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600), os.MkdirAll(filepath.Join(dir, "tree/a/b"), 0o700),
		os.WriteFile(filepath.Join(dir, "file"), nil, 0o600), os.Symlink(outside, filepath.Join(dir, "link")), unix.Mkfifo(filepath.Join(dir, "fifo"), 0o600)); err != nil {
		t.Fatal(err)
	}
	parent, err := OpenBeneath(dir, ".")
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	for _, name := range []string{"tree", "file", "link", "fifo", "none"} {
		if err := RemoveEntry(parent, name); err != nil {
			t.Error(err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left are %v, %v", left, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error(err)
	}
}

// What is mounted below an entry is unmounted, and stays as it is.
func TestClearEntry(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounts are made by root")
	}
	outside, dir := t.TempDir(), t.TempDir()
	point := filepath.Join(dir, "entry", "mounted")
	if err := errors.Join(os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600), os.MkdirAll(point, 0o700), BindMount(outside, point, false)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = Unmount(point) })
	parent, err := OpenBeneath(dir, ".")
	if err != nil {
		t.Fatal(err)
	}
	defer parent.Close()
	for range 2 {
		if err := ClearEntry(parent, "entry"); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(filepath.Join(dir, "entry")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("left behind: %v", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error(err)
	}
}

// What the way to a record costs: those of sandboxes and containers are on the path of
// each Pod's start.
func BenchmarkWriteBeneath(b *testing.B) {
	data := make([]byte, 8<<10)
	dir := b.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "containers/containers/id"), 0o700); err != nil {
		b.Fatal(err)
	}
	b.Run("beneath", func(b *testing.B) {
		for b.Loop() {
			if err := WriteBeneath(dir, "containers/containers/id/state.json", data); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("by path", func(b *testing.B) {
		path := filepath.Join(dir, "containers/containers/id/by-path.json")
		for b.Loop() {
			if err := errors.Join(os.WriteFile(path+".new", data, 0o600), os.Rename(path+".new", path)); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("synced", func(b *testing.B) {
		for b.Loop() {
			if err := WriteRecord(filepath.Join(dir, "record"), data); err != nil {
				b.Fatal(err)
			}
		}
	})
}
