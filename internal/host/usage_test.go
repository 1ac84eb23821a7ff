package host

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
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

// Whoever hides files more deeply than a path can be long, or than there are
// descriptors, does not hide them.
func TestDiskUsageOfADeepTree(t *testing.T) {
	const depth = 1500 // a path has 4096 bytes at most
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := RemoveTree(dir); err != nil {
			t.Error(err)
		}
	})
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	for range depth {
		err := errors.Join(unix.Mkdirat(fd, "dd", 0o700), unix.Mkdirat(fd, "other", 0o700))
		next, oerr := unix.Openat(fd, "dd", unix.O_RDONLY|unix.O_DIRECTORY, 0)
		unix.Close(fd)
		if err := errors.Join(err, oerr); err != nil {
			t.Fatal(err)
		}
		fd = next
	}
	file, err := unix.Openat(fd, "hidden", unix.O_CREAT|unix.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.Write(file, make([]byte, 1<<20)); err != nil {
		t.Fatal(err)
	}
	unix.Close(file)
	unix.Close(fd)
	open := openDescriptors(t)
	got, err := DiskUsage(t.Context(), dir)
	if err != nil || got.Inodes != 2*depth+2 || got.Bytes < 1<<20 {
		t.Errorf("usage = %+v, %v, want %d inodes and 1 MiB", got, err, 2*depth+2)
	}
	if now := openDescriptors(t); now > open+2 {
		t.Errorf("%d descriptors are open, %d before", now, open)
	}
}

func openDescriptors(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// A measurement of more directories than fit into its memory says so.
func TestDiskUsageOfTooMany(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"a", "b"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		t.Fatal(err)
	}
	w := &walk{device: st.Dev, linked: map[uint64]bool{}, waiting: maxWaiting - perLevel - perName - 1}
	w.descend(t.Context(), fd, ".")
	w.run(t.Context())
	if !errors.Is(errors.Join(w.errs...), unix.E2BIG) || w.sum.Inodes != 2 {
		t.Errorf("%+v, errors %v", w.sum, w.errs)
	}
	if w.waiting != maxWaiting-perLevel-perName-1 {
		t.Errorf("%d bytes are still taken", w.waiting)
	}
}

// What is counted while directories move about stays inside the tree.
func TestDiskUsageWhileItChanges(t *testing.T) {
	dir := t.TempDir()
	for _, path := range []string{"a/x/y/z", "b"} {
		if err := os.MkdirAll(filepath.Join(dir, path), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Rename(filepath.Join(dir, "a/x"), filepath.Join(dir, "b/x"))
			os.Symlink("/usr", filepath.Join(dir, "a/x"))
			os.Remove(filepath.Join(dir, "a/x"))
			os.Rename(filepath.Join(dir, "b/x"), filepath.Join(dir, "a/x"))
		}
	}()
	for range 2000 {
		if got, _ := DiskUsage(t.Context(), dir); got.Inodes > 20 { // /usr has many more
			t.Fatalf("usage = %+v", got)
		}
	}
	close(stop)
	<-stopped
}
