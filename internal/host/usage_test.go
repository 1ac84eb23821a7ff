package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestDiskUsage(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	write := func(path string, size int) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var inodes int64
	usage := func() int64 {
		t.Helper()
		n, err := DiskUsage(t.Context(), dir)
		if err != nil {
			t.Fatal(err)
		}
		inodes = n.Inodes
		return n.Bytes
	}
	write(filepath.Join(outside, "large"), 8<<20)
	empty := usage()
	write(filepath.Join(dir, "a/b/file"), 1<<20)
	full := usage()
	if full < empty+1<<20 || full > empty+1<<20+64<<10 {
		t.Errorf("1 MiB counts as %d bytes", full-empty)
	}
	if inodes != 4 {
		t.Errorf("%d inodes, want those of three directories and a file", inodes)
	}
	for _, err := range []error{
		os.Link(filepath.Join(dir, "a/b/file"), filepath.Join(dir, "again")),
		os.Symlink(outside, filepath.Join(dir, "link")),
		os.Symlink(filepath.Join(outside, "large"), filepath.Join(dir, "a/link")),
		syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600),
		os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600),
		os.Truncate(filepath.Join(dir, "sparse"), 1<<30),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if now := usage(); now > full+64<<10 {
		t.Errorf("links, a FIFO and a hole count as %d bytes", now-full)
	}
	if os.Getuid() == 0 {
		mount := filepath.Join(dir, "mount")
		if err := os.Mkdir(mount, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := BindMount(outside, mount, false); err != nil {
			t.Fatal(err)
		}
		defer Unmount(mount)
		if now := usage(); now > full+64<<10 {
			t.Errorf("what is mounted counts as %d bytes", now-full)
		}
	}
	if n, err := DiskUsage(t.Context(), filepath.Join(dir, "absent")); n != (Usage{}) || err != nil {
		t.Errorf("an absent directory: %+v, %v", n, err)
	}
	if _, err := DiskUsage(t.Context(), filepath.Join(dir, "link")); err == nil {
		t.Error("a link was measured")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := DiskUsage(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}

// Files in directories nested more deeply than a path can name are an error,
// not missed silently.
func TestDiskUsageOfWhatIsTooDeep(t *testing.T) {
	dir := t.TempDir()
	root, err := os.OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	name := strings.Repeat("d", 200)
	for range 30 {
		if err := root.Mkdir(name, 0o755); err != nil {
			t.Fatal(err)
		}
		next, err := root.OpenRoot(name)
		root.Close()
		if err != nil {
			t.Fatal(err)
		}
		root = next
	}
	root.Close()
	n, err := DiskUsage(t.Context(), dir)
	if !errors.Is(err, syscall.ENAMETOOLONG) || n.Bytes == 0 {
		t.Errorf("%+v, %v", n, err)
	}
}
