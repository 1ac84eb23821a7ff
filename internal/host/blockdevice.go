package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// BlockDevice is a block device that is open. Whatever its path leads to later, it stays
// the same one.
type BlockDevice struct {
	file *os.File
	// name is the path by which it is known on the machine, for messages and as what
	// the kernel's list of mounts has for its source.
	name   string
	number uint64
}

// OpenBlockDevice opens the device that place, a file that may be open with O_PATH
// alone, leads to. Nothing is read. A device whose name leads to something else for this
// process is refused: fsck(8) resolves Path to that name and opens what is there.
func OpenBlockDevice(place *os.File) (*BlockDevice, error) {
	var st unix.Stat_t
	if err := unix.Fstat(int(place.Fd()), &st); err != nil {
		return nil, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return nil, fmt.Errorf("%s is not a block device", place.Name())
	}
	name, err := os.Readlink(FilePath(place))
	if err != nil {
		return nil, err
	}
	if here, err := statDevice(name); err == nil && here != st.Rdev {
		return nil, fmt.Errorf("the device %s is another file on the machine than on this node, and would be taken for it: give the path that the device has on the machine, such as one in /dev", name)
	}
	f, err := os.OpenFile(FilePath(place), os.O_RDONLY|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.ENXIO) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENOMEDIUM) {
		return nil, fmt.Errorf("the device %s has nothing behind it: %w", name, err)
	}
	if err != nil {
		return nil, err
	}
	return &BlockDevice{file: f, name: name, number: st.Rdev}, nil
}

// statDevice is the number of the block device at path, and 0 for another file.
func statDevice(path string) (uint64, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Mode&unix.S_IFMT != unix.S_IFBLK {
		return 0, err
	}
	return st.Rdev, nil
}

// Name is the path of the device, for people.
func (d *BlockDevice) Name() string { return d.name }

// Path leads to the device, and to no other one, for this process and those that it
// starts, until Close.
func (d *BlockDevice) Path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), d.file.Fd()) }

// Close gives up the device, and its lock.
func (d *BlockDevice) Close() error { return d.file.Close() }

// lockPause is how long Lock waits before it tries again.
const lockPause = 20 * time.Millisecond

// Lock waits until nobody else has the lock of the device, which is the kernel's for the
// file (flock(2)): that of other nodes, and of systemd-udevd, which leaves devices alone
// that are locked. An error says that ctx has ended.
func (d *BlockDevice) Lock(ctx context.Context) error {
	for {
		err := unix.Flock(int(d.file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return pathError("lock", d.name, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("lock %s, which another volume or program has locked: %w", d.name, ctx.Err())
		case <-time.After(lockPause):
		}
	}
}

// InUse tells whether the device is mounted, in whatever namespace, or a part of another
// device.
func (d *BlockDevice) InUse() (bool, error) {
	f, err := os.OpenFile(FilePath(d.file), os.O_RDONLY|unix.O_EXCL|unix.O_NONBLOCK, 0)
	if errors.Is(err, unix.EBUSY) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	return false, f.Close()
}

// DeviceMount is how the file system of a device is mounted.
type DeviceMount struct {
	// Type is that of the file system, such as ext4.
	Type string
	// Options are those of mount(8), the general ones and the file system's, each by
	// itself.
	Options []string
	// ReadOnly is for this mount alone: others of the same device may write.
	ReadOnly bool
}

// Mount mounts the file system of the device at target, as it is for the first time, or
// once more. A device that can't be written to is mounted read-only.
func (d *BlockDevice) Mount(target string, m DeviceMount) error {
	if err := d.mount(target, m); err != nil {
		return fmt.Errorf("mount the device %s as %s: %w", d.name, m.Type, explainDevice(m.Type, err))
	}
	return nil
}

func (d *BlockDevice) mount(target string, m DeviceMount) error {
	o, err := sortMountOptions(m.Options)
	if err != nil {
		return err
	}
	if deviceless, err := hasNoDevice(m.Type); err != nil {
		return err
	} else if deviceless {
		return fmt.Errorf("%w: %s is no file system of a device, and what is written to it would not be on %s", unix.EINVAL, m.Type, d.name)
	}
	if fixed, err := unix.IoctlGetInt(int(d.file.Fd()), unix.BLKROGET); err == nil && fixed != 0 {
		o.flags |= unix.MS_RDONLY
	}
	mount, err := d.fileSystem(m.Type, o, m.ReadOnly)
	if err != nil {
		return err
	}
	defer mount.Close()
	place, err := os.OpenFile(target, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer place.Close()
	return attach(mount, place)
}

// hasNoDevice tells whether the kernel has a file system of that kind that takes no
// device, such as tmpfs or overlay.
func hasNoDevice(kind string) (bool, error) {
	text, err := os.ReadFile("/proc/filesystems")
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == "nodev" && f[1] == kind {
			return true, nil
		}
	}
	return false, err
}

// fileSystem makes a mount that is nowhere yet. The device has its name in the list of
// mounts if that leads to it here: what it led to is looked at afterwards, and a file
// system that has no number of a device goes without the name.
func (d *BlockDevice) fileSystem(kind string, o mountOptions, readOnly bool) (*os.File, error) {
	if here, err := statDevice(d.name); err == nil && here == d.number {
		mount, err := newDeviceMount(kind, d.name, o, readOnly)
		if err != nil {
			return nil, err
		}
		var st unix.Stat_t
		if err := unix.Fstat(int(mount.Fd()), &st); err == nil && st.Dev == d.number {
			return mount, nil
		}
		mount.Close()
	}
	return newDeviceMount(kind, FilePath(d.file), o, readOnly)
}

func newDeviceMount(kind, source string, o mountOptions, readOnly bool) (*os.File, error) {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.FsconfigSetString(fd, "source", source); err != nil {
		return nil, err
	}
	for _, option := range append(o.ofFileSystem(), o.rest...) {
		key, value, has := strings.Cut(option, "=")
		if has {
			err = unix.FsconfigSetString(fd, key, value)
		} else {
			err = unix.FsconfigSetFlag(fd, key)
		}
		if err != nil {
			return nil, fmt.Errorf("the mount option %s: %w", option, explainFsError(fd, err))
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, explainFsError(fd, err)
	}
	attr := o.attributes()
	if readOnly {
		attr |= unix.MOUNT_ATTR_RDONLY
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, int(attr))
	if err != nil {
		return nil, explainFsError(fd, err)
	}
	return os.NewFile(uintptr(mount), kind), nil
}

// explainDevice adds what to do about an answer of the kernel.
func explainDevice(kind string, err error) error {
	switch {
	case errors.Is(err, unix.ENODEV):
		return fmt.Errorf("%w: the machine's kernel has no file system %s", err, kind)
	case errors.Is(err, unix.EBUSY):
		return fmt.Errorf("%w: it is in use otherwise: mounted with another type, mounted read-only and now to be written to or the other way round, or a part of another device", err)
	}
	return err
}
