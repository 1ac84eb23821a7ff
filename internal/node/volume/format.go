package volume

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/mount-utils"
	utilexec "k8s.io/utils/exec"

	"minato/internal/host"
)

// Device is a block device that is open.
type Device interface {
	// Name is its path, for people; Path leads to it for as long as it is open, also for
	// processes that this one starts.
	Name() string
	Path() string
	// Lock waits until nobody else has the device's lock, which Close gives back.
	Lock(ctx context.Context) error
	// InUse tells whether it is mounted anywhere, or a part of another device.
	InUse() (bool, error)
	// Mount mounts its file system at target, also for a second time.
	Mount(target string, m host.DeviceMount) error
	Close() error
}

// defaultFSType is the one of a local PersistentVolume that has no fsType.
const defaultFSType = "ext4"

// fsTypes are what a name of a file system looks like. It becomes a part of the name of
// the program that makes one.
var fsTypes = regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,30}$`)

// lockPatience is how long another volume of the same device is waited for, on this node
// or another one, which may be formatting it.
const lockPatience = 2 * time.Minute

// mountDevice mounts a device at target as a kubelet does: one that has no file system is
// formatted, if it may be written to; one that has is checked; one that has another than
// is asked for, or partitions, is left alone. A device that is mounted already is only
// mounted once more.
func (m *Manager) mountDevice(ctx context.Context, d Device, pv *v1.PersistentVolume, target string, readOnly bool) error {
	want := host.DeviceMount{Type: defaultFSType, Options: mountOptions(pv), ReadOnly: readOnly}
	if t := pv.Spec.Local.FSType; t != nil && *t != "" {
		want.Type = *t
	}
	if !fsTypes.MatchString(want.Type) {
		return fmt.Errorf("local.fsType %q is no name of a file system; use one such as ext4 or xfs", want.Type)
	}
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	if err := d.Lock(ctx); err != nil {
		return err
	}
	if used, err := d.InUse(); err != nil {
		return err
	} else if used {
		return d.Mount(target, want)
	}
	options := want.Options
	if readOnly {
		options = append(options[:len(options):len(options)], "ro") // nothing is formatted or repaired then
	}
	p := &programs{Interface: m.cfg.Exec}
	err := mount.NewSafeFormatAndMount(onDevice{d: d, want: want}, p).FormatAndMount(d.Path(), target, want.Type, options)
	return p.explain(err, d, want.Type)
}

// onDevice mounts one device in place of mount(8).
type onDevice struct {
	mount.Interface
	d    Device
	want host.DeviceMount
}

// MountSensitive is what FormatAndMount calls at the end, with a device that it was given.
func (o onDevice) MountSensitive(_, target, _ string, _, _ []string) error {
	return o.d.Mount(target, o.want)
}

// programs runs those of the machine, and notes which one is missing. They are run to
// their end, whatever becomes of the Pod: one that repairs a file system must not be cut
// short.
type programs struct {
	utilexec.Interface
	missing string
}

// beyondPath is where programs of file systems are that PATH may not have.
var beyondPath = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/bin", "/bin"}

// Command looks a program up.
func (p *programs) Command(name string, args ...string) utilexec.Cmd {
	path, err := p.LookPath(name)
	for _, dir := range beyondPath {
		if err == nil {
			return p.Interface.Command(path, args...)
		}
		path, err = p.LookPath(filepath.Join(dir, name))
	}
	if err == nil {
		return p.Interface.Command(path, args...)
	}
	if p.missing == "" && name != "fsck" { // without which devices are mounted unchecked
		p.missing = name
	}
	return p.Interface.Command(name, args...)
}

// packages are what Debian's packages with the programs are called.
var packages = map[string]string{
	"blkid": "util-linux", "mkfs.ext2": "e2fsprogs", "mkfs.ext3": "e2fsprogs", "mkfs.ext4": "e2fsprogs", "mkfs.xfs": "xfsprogs",
	"mkfs.btrfs": "btrfs-progs", "mkfs.f2fs": "f2fs-tools", "mkfs.vfat": "dosfstools", "mkfs.ntfs": "ntfs-3g",
}

// explain adds what to do about an error.
func (p *programs) explain(err error, d Device, kind string) error {
	var failed mount.MountError
	if err == nil || !errors.As(err, &failed) {
		return err
	}
	if p.missing != "" {
		install := "install it"
		if name := packages[p.missing]; name != "" {
			install += fmt.Sprintf(" (it is in Debian's package %s)", name)
		}
		switch failed.Type {
		case mount.GetDiskFormatFailed:
			return fmt.Errorf("the machine has no program %s, which tells what is on %s: %s", p.missing, d.Name(), install)
		case mount.FormatFailed:
			return fmt.Errorf("the device %s has no file system, and the machine has no program %s to make one: %s, format the device yourself, or set local.fsType of the PersistentVolume to another one", d.Name(), p.missing, install)
		}
	}
	switch failed.Type {
	case mount.UnformattedReadOnly:
		return fmt.Errorf("the device %s has no file system, and what is mounted read-only is not formatted: let a Pod write to it first, or format it", d.Name())
	case mount.FilesystemMismatch:
		have, formatErr := mount.NewSafeFormatAndMount(nil, p).GetDiskFormat(d.Path())
		if formatErr != nil {
			return err
		}
		return fmt.Errorf("the device %s has %s on it, and local.fsType of the PersistentVolume says %s; what is there is left alone: set local.fsType to what is there, or wipe the device with `wipefs -a`: %w", d.Name(), have, kind, err)
	case mount.HasFilesystemErrors:
		return fmt.Errorf("repair the file system of %s with fsck: %w", d.Name(), err)
	}
	return fmt.Errorf("device %s: %w", d.Name(), err)
}
