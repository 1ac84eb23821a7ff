package host

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

func TestPropagationOfMount(t *testing.T) {
	for line, want := range map[string]Propagation{
		"36 35 98:0 /mnt1 /mnt2 rw,noatime - ext3 /dev/root rw":                         {Point: "/mnt2"},
		"36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw":                {Point: "/mnt2", Slave: true},
		"36 35 98:0 / /a\\040b rw shared:2 - ext3 /dev/root rw":                         {Point: "/a b", Shared: true},
		"36 35 98:0 / /mnt2 rw shared:2 master:1 propagate_from:3 - ext3 /dev/root rw":  {Point: "/mnt2", Shared: true, Slave: true},
		"36 35 98:0 / /mnt2 rw,relatime unbindable - overlay shared:9 rw,lowerdir=/x:/": {Point: "/mnt2"},
	} {
		found, err := mountinfo.GetMountsFromReader(strings.NewReader(line), nil)
		if err != nil || len(found) != 1 {
			t.Fatalf("%s: %v, %v", line, found, err)
		}
		if got := propagationOf(found[0]); got != want {
			t.Errorf("%s: %+v, want %+v", line, got, want)
		}
	}
}

func TestShareMounts(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	t.Cleanup(func() { UnmountAllUnder(base) })
	if err := MountTmpfs(base, "size=64k"); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", base, "", unix.MS_PRIVATE, ""); err != nil { // the machine's mounts may be shared or not
		t.Fatal(err)
	}
	dir, before := filepath.Join(base, "dir"), filepath.Join(base, "dir", "before")
	if err := os.MkdirAll(before, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := MountTmpfs(before, "size=64k"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := ShareMounts(dir); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]Propagation{
		base:   {Point: base},
		dir:    {Point: dir, Shared: true},
		before: {Point: before, Shared: true},
	} {
		if got, err := PropagationOf(path); got != want || err != nil {
			t.Errorf("%s: %+v, %v, want %+v", path, got, err, want)
		}
	}
	if points, err := MountsUnder(dir); err != nil || len(points) != 3 { // the earlier mount is listed twice: below the new one as well
		t.Errorf("mounts %q, %v", points, err)
	}
	if err := UnmountAllUnder(dir); err != nil {
		t.Error(err)
	}
	if points, err := MountsUnder(dir); err != nil || len(points) != 0 {
		t.Errorf("mounts %q, %v after all", points, err)
	}
	if _, err := PropagationOf(filepath.Join(base, "absent")); err == nil {
		t.Error("no error for what is not there")
	}
}
