package volume

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	utilexec "k8s.io/utils/exec"
	testingexec "k8s.io/utils/exec/testing"

	"minato/internal/host"
)

// fakeDevice notes what is done with it. What is mounted is a fakeMounter's.
type fakeDevice struct {
	opened []string
	mounts []string
	where  map[string]string // of the fakeMounter
	used   bool
	err    error
	locked bool
}

func (d *fakeDevice) Name() string               { return "/dev/fake" }
func (d *fakeDevice) Path() string               { return "/proc/1/fd/9" }
func (d *fakeDevice) InUse() (bool, error)       { return d.used, nil }
func (d *fakeDevice) Lock(context.Context) error { d.locked = true; return nil }
func (d *fakeDevice) Close() error               { d.locked = false; return nil }
func (d *fakeDevice) Mount(target string, m host.DeviceMount) error {
	real, err := os.Readlink(target)
	if d.mounts = append(d.mounts, fmt.Sprintf("%s %v %v", m.Type, m.Options, m.ReadOnly)); d.err != nil {
		return d.err
	}
	if !d.locked {
		return errors.New("the device is not locked")
	}
	d.where[real] = "device"
	return err
}

// fakePrograms are those of a machine that has some, with a device on which there is what
// blkid says.
type fakePrograms struct {
	utilexec.Interface
	have   []string
	format string
	fsck   error
	ran    []string
	lasts  func() // called by mkfs
}

func (p *fakePrograms) LookPath(name string) (string, error) {
	if slices.Contains(p.have, name) {
		return name, nil
	}
	return "", utilexec.ErrExecutableNotFound
}

func (p *fakePrograms) Command(name string, args ...string) utilexec.Cmd {
	return &testingexec.FakeCmd{CombinedOutputScript: []testingexec.FakeAction{func() ([]byte, []byte, error) {
		if !slices.Contains(p.have, name) {
			return nil, nil, utilexec.ErrExecutableNotFound
		}
		name = filepath.Base(name)
		p.ran = append(p.ran, strings.Join(append([]string{name}, args...), " "))
		switch {
		case name == "blkid" && p.format == "":
			return nil, nil, testingexec.FakeExitError{Status: 2}
		case name == "blkid":
			return []byte(p.format), nil, nil
		case name == "fsck":
			return nil, nil, p.fsck
		}
		if p.lasts != nil {
			p.lasts()
		}
		p.format = "TYPE=" + strings.TrimPrefix(name, "mkfs.") + "\n"
		return nil, nil, nil
	}}}
}

// deviceBench has the claim "c" bound to a local PersistentVolume that is a device.
func deviceBench(t *testing.T) (*bench, *v1.PersistentVolume, *fakeDevice, *fakePrograms) {
	b, f, dir := claimBench(t)
	path := filepath.Join(dir, "device")
	if err := unix.Mknod(path, unix.S_IFBLK|0o600, int(unix.Mkdev(7, 0))); err != nil {
		t.Skip("needs root, to make a device:", err)
	}
	f.volumes["pv"].Spec.Local.Path = path
	d := &fakeDevice{where: b.mounter.mounts}
	p := &fakePrograms{have: []string{"/usr/sbin/blkid", "mkfs.ext4", "fsck"}}
	b.mounter.device, b.cfg.Exec = d, p
	return b, f.volumes["pv"], d, p
}

// A device is formatted for its first Pod, checked for later ones, and neither while it
// is mounted. Each Pod has a mount of its own, which goes with it.
func TestLocalDevice(t *testing.T) {
	b, pv, d, p := deviceBench(t)
	pv.Spec.MountOptions = []string{"noatime"}
	first, second := claiming("u", false), claiming("v", true)
	path := filepath.Join(b.PodDir("u"), "volumes/kubernetes.io~local-volume/pv")
	for range 2 {
		if _, err := b.SetUp(t.Context(), first); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"blkid -p -s TYPE -s PTTYPE -o export /proc/1/fd/9", "mkfs.ext4 -F -m0 /proc/1/fd/9"}; !slices.Equal(p.ran, want) {
		t.Errorf("ran %q, want %q", p.ran, want)
	}
	mounts, err := b.Mounts(first, &first.Spec.Containers[0], nil, nil)
	if err != nil || mounts[0].HostPath != path || mounts[0].Readonly {
		t.Errorf("%v %v", mounts, err)
	}
	d.used, p.ran = true, nil
	if _, err := b.SetUp(t.Context(), second); err != nil || len(p.ran) > 0 {
		t.Errorf("a second Pod: %v, ran %q", err, p.ran)
	}
	if want := []string{"ext4 [noatime] false", "ext4 [noatime] true"}; !slices.Equal(d.mounts, want) {
		t.Errorf("mounted %q, want %q", d.mounts, want)
	}
	// The next agent finds it mounted, whatever the path leads to by then.
	b.Manager = New(b.cfg)
	pv.Spec.Local.Path += "-gone"
	if _, err := b.SetUp(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Path(first, "data"); err != nil || got != path || len(d.mounts) != 2 {
		t.Error(got, err, d.mounts)
	}
	// After a boot it is not, and what is there is not formatted again. Without the
	// device, the Pod waits.
	delete(b.mounter.mounts, path)
	b.Manager, d.used = New(b.cfg), false
	if _, err := b.SetUp(t.Context(), first); err == nil || !strings.Contains(err.Error(), "does not exist on this node") {
		t.Error(err)
	}
	pv.Spec.Local.Path = strings.TrimSuffix(pv.Spec.Local.Path, "-gone")
	if _, err := b.SetUp(t.Context(), first); err != nil || len(p.ran) != 2 || p.ran[1] != "fsck -a /proc/1/fd/9" {
		t.Errorf("%v, ran %q", err, p.ran)
	}
	for _, uid := range []types.UID{"u", "v"} {
		if err := b.TearDown(t.Context(), uid); err != nil {
			t.Error(uid, err)
		}
	}
	if _, there := b.mounter.mounts[path]; there || d.locked {
		t.Error("still mounted or locked after the Pod")
	}
}

// A program that does not end keeps no Pod that is to go, and is not run for a second
// time: whoever comes back waits for it.
func TestLocalDeviceThatLasts(t *testing.T) {
	b, _, d, p := deviceBench(t)
	began, end := make(chan struct{}), make(chan struct{})
	p.lasts = func() { close(began); <-end }
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := b.SetUp(ctx, claiming("u", false))
		ended <- err
	}()
	<-began
	cancel()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(10 * time.Second):
		close(end)
		t.Fatal("the Pod is kept")
	}
	short, stop := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer stop()
	if _, err := b.SetUp(short, claiming("u", false)); !errors.Is(err, context.DeadlineExceeded) {
		t.Error("while it lasts:", err)
	}
	under := func() *mountCall {
		b.mu.Lock()
		defer b.mu.Unlock()
		return b.calls[b.localPlace("u", "pv")]
	}
	call := under()
	close(end)
	<-call.done
	if _, err := b.SetUp(t.Context(), claiming("u", false)); err != nil || under() != nil {
		t.Error(err)
	}
	if len(d.mounts) != 1 || len(d.opened) != 1 || d.locked {
		t.Errorf("mounted %q, opened %q, locked: %v", d.mounts, d.opened, d.locked)
	}
}

func TestLocalDeviceRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change   func(*v1.PersistentVolume, *fakeDevice, *fakePrograms)
		readOnly bool
		want     string
	}{
		"no mkfs": {change: func(pv *v1.PersistentVolume, _ *fakeDevice, _ *fakePrograms) { pv.Spec.Local.FSType = ptr("xfs") },
			want: "the machine has no program mkfs.xfs to make one: install it (it is in Debian's package xfsprogs)"},
		"no blkid": {change: func(_ *v1.PersistentVolume, _ *fakeDevice, p *fakePrograms) { p.have = nil },
			want: "the machine has no program blkid, which tells what is on /dev/fake"},
		"a program as a type": {change: func(pv *v1.PersistentVolume, _ *fakeDevice, _ *fakePrograms) {
			pv.Spec.Local.FSType = ptr("x/../../tmp/evil")
		}, want: "is no name of a file system"},
		"read-only and empty": {readOnly: true, want: "what is mounted read-only is not formatted"},
		"option ro and empty": {change: func(pv *v1.PersistentVolume, _ *fakeDevice, _ *fakePrograms) { pv.Spec.MountOptions = []string{"ro"} },
			want: "what is mounted read-only is not formatted"},
		"another file system": {change: func(_ *v1.PersistentVolume, d *fakeDevice, p *fakePrograms) {
			p.format, d.err = "TYPE=xfs\n", unix.EINVAL
		}, want: "the device /dev/fake has xfs on it, and local.fsType of the PersistentVolume says ext4"},
		"partitions": {change: func(_ *v1.PersistentVolume, d *fakeDevice, p *fakePrograms) {
			p.format, d.err = "PTTYPE=dos\n", unix.EINVAL
		}, want: "probably partitions"},
		"damaged": {change: func(_ *v1.PersistentVolume, _ *fakeDevice, p *fakePrograms) {
			p.format, p.fsck = "TYPE=ext4\n", testingexec.FakeExitError{Status: 4}
		}, want: "repair the file system of /dev/fake"},
	} {
		t.Run(name, func(t *testing.T) {
			b, pv, d, p := deviceBench(t)
			if test.change != nil {
				test.change(pv, d, p)
			}
			_, err := b.SetUp(t.Context(), claiming("u", test.readOnly))
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
			if d.locked || slices.ContainsFunc(p.ran, func(c string) bool { return strings.HasPrefix(c, "mkfs") }) {
				t.Errorf("locked: %v, ran %q", d.locked, p.ran)
			}
			if err := b.TearDown(t.Context(), "u"); err != nil {
				t.Error(err)
			}
		})
	}
}

// A file system that was made already may be older than what is asked for, and be good
// for it: the kernel mounts ext3 as ext4.
func TestLocalDeviceOfAnotherTypeThatMounts(t *testing.T) {
	b, _, d, p := deviceBench(t)
	p.format = "TYPE=ext3\n"
	if _, err := b.SetUp(t.Context(), claiming("u", false)); err != nil || !slices.Equal(d.mounts, []string{"ext4 [] false"}) {
		t.Error(err, d.mounts)
	}
}

// A directory with mountOptions is mounted with them, and one without is not.
func TestLocalDirectoryWithOptions(t *testing.T) {
	b, f, dir := claimBench(t)
	for _, test := range []struct {
		change func(*v1.PersistentVolume)
		want   string
	}{
		{func(*v1.PersistentVolume) {}, ""},
		{func(pv *v1.PersistentVolume) { pv.Spec.MountOptions = []string{"noexec"} }, "[noexec] false"},
		{func(pv *v1.PersistentVolume) {
			pv.Annotations = map[string]string{v1.MountOptionAnnotation: "nosuid,ro"}
		}, "[nosuid ro] false"},
	} {
		test.change(f.volumes["pv"])
		pod := claiming("u", false)
		if _, err := b.SetUp(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		path, want := dir, map[string]string{}
		if test.want != "" {
			path = filepath.Join(b.PodDir("u"), "volumes/kubernetes.io~local-volume/pv")
			want[path] = dir + " " + test.want
		}
		if got, err := b.Path(pod, "data"); err != nil || got != path || fmt.Sprint(b.mounter.mounts) != fmt.Sprint(want) {
			t.Errorf("%s %v %v, want %v", got, err, b.mounter.mounts, want)
		}
		if err := b.TearDown(t.Context(), "u"); err != nil {
			t.Error(err)
		}
	}
}
