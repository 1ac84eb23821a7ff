package host

import (
	"context"
	"os"
	"path/filepath"
	"testing"
)

// A socket takes the place of a socket and of nothing else, and no link leads out.
func TestSocketsInRoot(t *testing.T) {
	dir, outside, r := testRoot(t)
	long := "/etc/" + "a-directory-with-a-name-that-is-longer-than-the-kernel-allows-in-the-address-of-a-socket-which-is-107-bytes-long"
	if err := r.MkdirAll(long, 0o755); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		l, err := r.ListenUnix(long+"/s", 0o640)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := r.DialUnix(context.Background(), long+"/s")
		if err != nil {
			t.Fatal(err)
		}
		conn.Close()
		l.Close()
		if info, err := os.Lstat(filepath.Join(dir, long, "s")); err != nil || info.Mode().Type() != os.ModeSocket || info.Mode().Perm() != 0o640 {
			t.Errorf("the socket is %v, %v", info, err)
		}
	}
	for _, path := range []string{"/a/b/file", "/fifo", "/a/out", "/nowhere/s", "/loop/s"} {
		if l, err := r.ListenUnix(path, 0o600); err == nil {
			l.Close()
			t.Errorf("a socket is made at %s", path)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, long, "kept"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.RemoveSockets(long); err != nil {
		t.Fatal(err)
	}
	left, err := os.ReadDir(filepath.Join(dir, long))
	if err != nil || len(left) != 1 || left[0].Name() != "kept" {
		t.Errorf("%v is left, %v", left, err)
	}
	if _, err := os.Stat(outside); err != nil {
		t.Error(err)
	}
}
