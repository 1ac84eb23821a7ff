package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// testLoop returns a loop device of some megabytes that ends with the test.
func testLoop(t *testing.T) string {
	t.Helper()
	requireRoot(t)
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skip("needs mkfs.ext4:", err)
	}
	back, err := os.Create(filepath.Join(t.TempDir(), "image"))
	if err != nil {
		t.Fatal(err)
	}
	defer back.Close()
	if err := back.Truncate(16 << 20); err != nil {
		t.Fatal(err)
	}
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		t.Skip("needs loop devices:", err)
	}
	defer control.Close()
	for range 50 { // others look for a free one as well
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			t.Fatal(err)
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		config := unix.LoopConfig{Fd: uint32(back.Fd())}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		if err = unix.IoctlLoopConfigure(int(f.Fd()), &config); err == nil {
			t.Cleanup(func() { f.Close() })
			return path
		}
		f.Close()
		if !errors.Is(err, unix.EBUSY) {
			t.Fatal(err)
		}
	}
	t.Fatal("no loop device is free")
	return ""
}

func openDevice(t *testing.T, path string) *BlockDevice {
	t.Helper()
	place, err := (*InRoot)(nil).OpenPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer place.Close()
	d, err := OpenBlockDevice(place)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// mountAt is what the kernel's list has of the mount on top at path.
func mountAt(t *testing.T, path string) *mountinfo.Info {
	t.Helper()
	found, err := listMounts(func(m *mountinfo.Info) bool { return m.Mountpoint == path })
	if err != nil || len(found) == 0 {
		t.Fatalf("nothing is mounted at %s: %v", path, err)
	}
	return found[len(found)-1]
}

func TestBlockDevice(t *testing.T) {
	path, base := testLoop(t), t.TempDir()
	t.Cleanup(func() { UnmountAllUnder(base) })
	d := openDevice(t, path)
	dirs := map[string]string{}
	for _, name := range []string{"first", "second", "third"} {
		dirs[name] = filepath.Join(base, name)
		if err := os.Mkdir(dirs[name], 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if used, err := d.InUse(); used || err != nil {
		t.Errorf("before it is mounted: in use %v, %v", used, err)
	}
	if err := d.Mount(dirs["first"], DeviceMount{Type: "ext4"}); err == nil {
		t.Error("what is no file system was mounted")
	}
	if out, err := exec.Command("mkfs.ext4", "-q", "-F", d.Path()).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := d.Mount(dirs["first"], DeviceMount{Type: "ext4", Options: []string{"noexec", "noatime", "commit=7"}}); err != nil {
		t.Fatal(err)
	}
	m := mountAt(t, dirs["first"])
	if m.Source != path || m.FSType != "ext4" || !strings.Contains(m.Options, "noexec") || !strings.Contains(m.Options, "noatime") || !strings.Contains(m.VFSOptions, "commit=7") {
		t.Errorf("%+v", m)
	}
	if used, err := d.InUse(); !used || err != nil {
		t.Errorf("mounted: in use %v, %v", used, err)
	}
	// A second mount, by another opening of the device, has the same files and may only
	// read them; the first one still writes.
	again := openDevice(t, path)
	if err := again.Mount(dirs["second"], DeviceMount{Type: "ext4", ReadOnly: true}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dirs["first"], "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(filepath.Join(dirs["second"], "file")); err != nil || string(data) != "text" {
		t.Errorf("%q %v", data, err)
	}
	if err := os.WriteFile(filepath.Join(dirs["second"], "no"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("writing to the one that is read-only: %v", err)
	}
	for want, m := range map[string]DeviceMount{
		"mounted read-only and now to be written to or the other way round": {Type: "ext4", Options: []string{"ro"}},
		"the machine's kernel has no file system nofs":                      {Type: "nofs"},
		"tmpfs is no file system of a device":                               {Type: "tmpfs"},
		"the mount option nonsense":                                         {Type: "ext4", Options: []string{"nonsense"}},
	} {
		if err := d.Mount(dirs["third"], m); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if found, err := IsMountPoint(dirs["third"]); found || err != nil {
		t.Errorf("mounted all the same: %v %v", found, err)
	}
}

// The lock is held by one opening at a time, until it is closed.
func TestBlockDeviceLock(t *testing.T) {
	path := testLoop(t)
	first, second := openDevice(t, path), openDevice(t, path)
	if err := first.Lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := second.Lock(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("locked twice: %v", err)
	}
	first.Close()
	if err := second.Lock(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestOpenBlockDeviceOfSomethingElse(t *testing.T) {
	dir, err := os.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	if _, err := OpenBlockDevice(dir); err == nil || !strings.Contains(err.Error(), "is not a block device") {
		t.Error(err)
	}
}

// Programs resolve the path of an open device to its name: one that is another file on
// the machine than where it was opened is refused.
func TestOpenBlockDeviceOfAnotherName(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	t.Cleanup(func() { UnmountAllUnder(base) })
	path, other, file := filepath.Join(base, "device"), filepath.Join(base, "other"), filepath.Join(base, "file")
	if err := errors.Join(
		unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))), unix.Mknod(other, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 1))),
		os.WriteFile(file, nil, 0o600),
	); err != nil {
		t.Fatal(err)
	}
	place, err := (*InRoot)(nil).OpenPath(path)
	if err != nil {
		t.Fatal(err)
	}
	defer place.Close()
	for _, over := range []string{other, file} {
		if err := unix.Mount(over, path, "", unix.MS_BIND, ""); err != nil {
			t.Fatal(err)
		}
		if d, err := OpenBlockDevice(place); err == nil || !strings.Contains(err.Error(), path+" is another file on the machine") {
			t.Errorf("with %s there: %v %v", over, d, err)
		}
	}
}

func TestBindWith(t *testing.T) {
	requireRoot(t)
	base := t.TempDir()
	t.Cleanup(func() { UnmountAllUnder(base) })
	source, target := filepath.Join(base, "source"), filepath.Join(base, "target")
	for _, dir := range []string{source, target} {
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := (*InRoot)(nil).OpenPath(source)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	for _, c := range []struct {
		options  []string
		readOnly bool
		want     []string
	}{
		{[]string{"noexec", "noatime"}, false, []string{"rw", "noexec", "noatime"}},
		{[]string{"nosuid"}, true, []string{"ro", "nosuid"}},
		{[]string{"ro", "nodev"}, false, []string{"ro", "nodev"}},
		{[]string{"ro", "rw"}, false, []string{"rw"}},
	} {
		if err := BindWith(dir, target, c.options, c.readOnly); err != nil {
			t.Fatal(err)
		}
		have := strings.Split(mountAt(t, target).Options, ",")
		for _, want := range c.want {
			if !slices.Contains(have, want) {
				t.Errorf("%v: mounted with %v, want %v", c.options, have, c.want)
			}
		}
		if err := Unmount(target); err != nil {
			t.Fatal(err)
		}
	}
	for _, option := range []string{"commit=5", "sync"} {
		if err := BindWith(dir, target, []string{option}, false); err == nil || !strings.Contains(err.Error(), "the mount option "+option+" is for a file system") {
			t.Error(err)
		}
	}
}
