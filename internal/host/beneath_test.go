package host

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestOpenBeneathStaysBelowTheDirectory(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(dir, "a/b"), 0o755))
	must(os.WriteFile(filepath.Join(dir, "a/file"), nil, 0o600))
	must(os.WriteFile(filepath.Join(outside, "secret"), nil, 0o600))
	must(os.Symlink("a/b", filepath.Join(dir, "inside")))
	must(os.Symlink("../..", filepath.Join(dir, "a/up")))
	must(os.Symlink(outside, filepath.Join(dir, "absolute")))
	must(os.Symlink("/proc/self/root", filepath.Join(dir, "magic")))
	must(syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o600))
	for path, want := range map[string]string{
		"a/b": "a/b", "a/file": "a/file", "inside": "a/b", "fifo": "fifo", "a/../a/file": "a/file",
	} {
		f, err := OpenBeneath(dir, path)
		if err != nil {
			t.Errorf("%s: %v", path, err)
			continue
		}
		if got, err := os.Readlink(FilePath(f)); err != nil || got != filepath.Join(dir, want) {
			t.Errorf("%s opened %s, %v; want %s", path, got, err, want)
		}
		f.Close()
	}
	for path, want := range map[string]error{
		"absolute": syscall.EXDEV, "absolute/secret": syscall.EXDEV, "a/up": syscall.EXDEV,
		"../x": syscall.EXDEV, "/etc": syscall.EXDEV, "missing": os.ErrNotExist, "a/file/x": syscall.ENOTDIR,
	} {
		if f, err := OpenBeneath(dir, path); !errors.Is(err, want) {
			t.Errorf("%s: %v, %v; want %v", path, f, err, want)
		}
	}
	if f, err := OpenBeneath(dir, "magic/etc/passwd"); err == nil {
		t.Errorf("a link of /proc led to %s", f.Name())
	}
}

// A name that is swapped between a directory and a link to the outside is
// either the directory or an error, never the outside.
func TestOpenBeneathWhileALinkIsSwappedIn(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	for _, path := range []string{filepath.Join(dir, "real/data"), filepath.Join(outside, "data")} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		name := func(n string) string { return filepath.Join(dir, n) }
		for {
			select {
			case <-stop:
				return
			default:
			}
			os.Rename(name("real"), name("swapped"))
			os.Rename(name("swapped"), name("real"))
			os.Rename(name("link"), name("swapped"))
			os.Rename(name("swapped"), name("link"))
		}
	}()
	found := 0
	for deadline := time.Now().Add(10 * time.Second); found < 200 && time.Now().Before(deadline); {
		f, err := OpenBeneath(dir, "swapped/data")
		if err != nil {
			continue
		}
		found++
		if got, _ := os.Readlink(FilePath(f)); filepath.Dir(filepath.Dir(got)) != dir {
			t.Errorf("opened %s, outside of %s", got, dir)
		}
		f.Close()
	}
	close(stop)
	<-stopped
}
