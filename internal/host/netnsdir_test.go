package host

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// netnsDirIn is a directory for namespaces on a private mount, as /run is on a
// machine without shared mounts.
func netnsDirIn(t *testing.T) string {
	t.Helper()
	requireRoot(t)
	base := t.TempDir()
	if err := MountTmpfs(base, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := UnmountAllUnder(base); err != nil {
			t.Error(err)
		}
		if left, err := MountsUnder(base); err != nil || len(left) > 0 {
			t.Errorf("still mounted: %q, %v", left, err)
		}
	})
	if err := unix.Mount("", base, "", unix.MS_PRIVATE, ""); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(base, "netns")
}

// The first `ip netns add` on a machine mounts the directory over itself; a
// namespace from before can be deleted all the same, and others stay.
func TestDeleteNetnsThatIsHidden(t *testing.T) {
	for name, recursive := range map[string]uintptr{"bind": 0, "recursive bind": unix.MS_REC} {
		t.Run(name, func(t *testing.T) {
			dir := netnsDirIn(t)
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			var made []Netns
			for _, name := range []string{"ours", "theirs"} {
				ns, err := CreateNetnsAt(filepath.Join(dir, name))
				if err != nil {
					t.Fatal(err)
				}
				made = append(made, ns)
			}
			for range 2 {
				if err := unix.Mount(dir, dir, "none", unix.MS_BIND|recursive, ""); err != nil {
					t.Fatal(err)
				}
				if err := unix.Mount("", dir, "none", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
					t.Fatal(err)
				}
			}
			later, err := CreateNetnsAt(filepath.Join(dir, "later"))
			if err != nil {
				t.Fatal(err)
			}
			if err := DeleteNetns(made[0]); err != nil {
				t.Fatal(err)
			}
			if left, err := MountsUnder(made[0].Path); err != nil || len(left) > 0 {
				t.Errorf("still mounted: %q, %v", left, err)
			}
			if _, err := os.Lstat(made[0].Path); !os.IsNotExist(err) {
				t.Errorf("the name is still there: %v", err)
			}
			if !later.Exists() {
				t.Error("a namespace that was made later is gone")
			}
			if left, err := MountsUnder(made[1].Path); err != nil || len(left) == 0 {
				t.Errorf("the other one's mounts are gone: %q, %v", left, err)
			}
			if recursive != 0 && !made[1].Exists() {
				t.Error("the other namespace can't be entered any more")
			}
		})
	}
}

func TestShareNetnsDir(t *testing.T) {
	dir := netnsDirIn(t)
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	before, err := CreateNetnsAt(filepath.Join(dir, "before"))
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := shareNetnsDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if p, err := PropagationOf(dir); err != nil || p.Point != dir || !p.Shared {
		t.Errorf("%+v, %v, want a shared mount of its own", p, err)
	}
	if points, _ := MountsUnder(dir); len(points) != 2 || !before.Exists() {
		t.Errorf("mounted %q, want the directory, and the namespace that was in it, once", points)
	}
	if err := DeleteNetns(before); err != nil {
		t.Fatal(err)
	}
	ns, err := CreateNetnsAt(filepath.Join(dir, "some"))
	if err != nil {
		t.Fatal(err)
	}
	if err := unshareNetnsDir(dir); err != nil {
		t.Fatal(err)
	}
	if points, _ := MountsUnder(dir); len(points) != 2 {
		t.Errorf("mounted %q with a namespace in it, want both mounts", points)
	}
	if err := DeleteNetns(ns); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := unshareNetnsDir(dir); err != nil {
			t.Fatal(err)
		}
	}
	if points, _ := MountsUnder(dir); len(points) != 0 {
		t.Errorf("mounted %q after the last namespace", points)
	}

	// What iproute2 has made stays.
	for _, flags := range []uintptr{unix.MS_BIND, unix.MS_SHARED} {
		if err := unix.Mount(dir, dir, "none", flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	if err := shareNetnsDir(dir); err != nil {
		t.Fatal(err)
	}
	if err := unshareNetnsDir(dir); err != nil {
		t.Fatal(err)
	}
	if points, _ := MountsUnder(dir); len(points) != 1 {
		t.Errorf("mounted %q, want the one that was there before", points)
	}
}
