package oci

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"minato/internal/host"
)

func TestDiskUsage(t *testing.T) {
	dir := t.TempDir()
	before, err := diskUsage(dir)
	if err != nil || before.inodes != 1 {
		t.Fatalf("an empty directory: %+v, %v", before, err)
	}
	data := []byte(strings.Repeat("x", 64<<10))
	if err := os.WriteFile(filepath.Join(dir, "file"), data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(filepath.Join(dir, "file"), filepath.Join(dir, "same")); err != nil {
		t.Fatal(err)
	}
	holes, err := os.Create(filepath.Join(dir, "holes"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(holes.Truncate(300<<30), holes.Close()); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"out": "/", "up": "..", "self": "."} {
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	unix.Sync()
	got, err := diskUsage(dir)
	if err != nil || got.inodes != 6 { // the directory, the file, the holes and three links
		t.Errorf("usage = %+v, %v, want 6 inodes", got, err)
	}
	if written := got.bytes - before.bytes; written < 64<<10 || written > 256<<10 {
		t.Errorf("%d bytes were written, want about %d", written, 64<<10)
	}
	if _, err := diskUsage(filepath.Join(dir, "out")); err == nil {
		t.Error("a link was followed")
	}
}

// Directories may lie deeper than there are descriptors, or than a path can be
// long.
func TestDiskUsageOfADeepTree(t *testing.T) {
	const depth = 1500 // a path has 4096 bytes at most
	dir := t.TempDir()
	t.Cleanup(func() {
		if err := host.RemoveTree(dir); err != nil {
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
	unix.Close(fd)
	open := openDescriptors(t)
	got, err := diskUsage(dir)
	if err != nil || got.inodes != 2*depth+1 {
		t.Errorf("usage = %+v, %v, want %d inodes", got, err, 2*depth+1)
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
		if got, _ := diskUsage(dir); got.inodes > 20 { // /usr has many more
			t.Fatalf("usage = %+v", got)
		}
	}
	close(stop)
	<-stopped
}

func TestWritableLayer(t *testing.T) {
	n := newNode(t)
	id := n.run(n.pod(sandboxConfig("layer")), containerConfig("sleep", "1h"))
	used := func() uint64 {
		stats, err := n.ContainerStats(t.Context(), id)
		if err != nil {
			t.Fatal(err)
		}
		return stats.GetWritableLayer().GetUsedBytes().GetValue()
	}
	before := used()
	n.output(id, "grow", "/tmp/holes", "300000000000", "1048576")
	if got := used() - before; got < 1<<20 || got > 4<<20 {
		t.Errorf("a file of 300 GB of which 1 MiB is written counts as %d bytes", got)
	}
	n.output(id, "write", "/dev/shm/x", strings.Repeat("x", 4096)) // not on the layer
	if got := used() - before; got > 4<<20 {
		t.Errorf("the layer has %d bytes", got)
	}
}
