package host

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestCopyBlockDevice(t *testing.T) {
	dir := t.TempDir()
	source, target := filepath.Join(dir, "source"), filepath.Join(dir, "below", "target")
	if err := unix.Mknod(source, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 3))); err != nil {
		t.Skip("needs root, to make a device:", err)
	}
	open := func(path string) *os.File {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		f := os.NewFile(uintptr(fd), path)
		t.Cleanup(func() { f.Close() })
		return f
	}
	f := open(source)
	for _, before := range []func() error{
		func() error { return nil }, // nothing is there
		func() error { return nil }, // it is there
		func() error { // something else is there
			return errors.Join(os.Remove(target), os.WriteFile(target, nil, 0o600))
		},
	} {
		if err := before(); err != nil {
			t.Fatal(err)
		}
		if err := CopyBlockDevice(f, target); err != nil {
			t.Fatal(err)
		}
		var st unix.Stat_t
		if err := unix.Lstat(target, &st); err != nil || st.Mode != unix.S_IFBLK|0o600 || st.Rdev != unix.Mkdev(7, 3) {
			t.Errorf("%+v %v", st, err)
		}
	}
	if err := CopyBlockDevice(open(dir), target); err == nil || !strings.Contains(err.Error(), "is not a block device") {
		t.Errorf("a directory: %v", err)
	}
}

// A socket's path may be longer than its name may be, and no link leads out of the
// root directory.
func TestDialUnixInRoot(t *testing.T) {
	dir := t.TempDir()
	long := filepath.Join(dir, "root", strings.Repeat("d", 120))
	if err := os.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	at, err := os.Open(long)
	if err != nil {
		t.Fatal(err)
	}
	defer at.Close()
	l, err := net.Listen("unix", filepath.Join(FilePath(at), "s"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	outside, err := net.Listen("unix", filepath.Join(dir, "outside"))
	if err != nil {
		t.Fatal(err)
	}
	defer outside.Close()
	if err := os.Symlink("../outside", filepath.Join(dir, "root", "link")); err != nil {
		t.Fatal(err)
	}
	root, err := OpenInRoot(filepath.Join(dir, "root"))
	if err != nil {
		t.Fatal(err)
	}
	defer root.Close()
	conn, err := root.DialUnix(t.Context(), "/"+filepath.Base(long)+"/s")
	if err != nil {
		t.Fatal(err)
	}
	conn.Close()
	if _, err := root.DialUnix(t.Context(), "/link"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link out of the root directory: %v", err)
	}
}
