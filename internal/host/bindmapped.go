package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// MappedBind is a bind mount in which files have other owners than on the disk.
type MappedBind struct {
	// Source is mounted, with what is mounted below it. Target, a new entry of a
	// directory that exists, is made for it.
	Source, Target string
	// Users is a user namespace: what belongs to its user 0 on the disk belongs to
	// that user in the mount, and so on. Nil leaves the owners.
	Users *os.File
	// Slave has what is mounted below Source later appear below Target as well.
	Slave bool
}

// ErrOwnersNotMapped says that a file system can't show files with other owners.
var ErrOwnersNotMapped = errors.New("its file system can't show files to the users of a user namespace (idmapped mounts)")

// BindMapped mounts b inside the namespace (see mount_setattr(2),
// MOUNT_ATTR_IDMAP). Links in b.Source are resolved in the node's root directory.
// A file system below b.Source that can't map owners is mounted without.
func (m *MountNS) BindMapped(b MappedBind) error {
	place, err := m.Root().OpenPath(b.Source)
	if err != nil {
		return err
	}
	defer place.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(place.Fd()), &st); err != nil {
		return fmt.Errorf("mount %s: %w", b.Source, err)
	}
	if err := makePlace(b.Target, st.Mode&unix.S_IFMT == unix.S_IFDIR); err != nil {
		return fmt.Errorf("mount %s: %w", b.Source, err)
	}
	if err := m.Do(func() error { return b.mount(place) }); err != nil {
		return fmt.Errorf("mount %s: %w", b.Source, err)
	}
	return nil
}

func (b MappedBind) mount(place *os.File) error {
	mount, err := cloneMount(int(place.Fd()), "", unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer mount.Close()
	// A copy must not be its source's peer: unmounting below it would unmount
	// there as well.
	attr := &unix.MountAttr{Propagation: unix.MS_PRIVATE}
	if b.Slave {
		attr.Propagation = unix.MS_SLAVE
	}
	if err := unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
		return err
	}
	if err := b.mapOwners(mount); err != nil {
		return err
	}
	return unix.MoveMount(int(mount.Fd()), "", unix.AT_FDCWD, b.Target, unix.MOVE_MOUNT_F_EMPTY_PATH)
}

func (b MappedBind) mapOwners(mount *os.File) error {
	if b.Users == nil {
		return nil
	}
	attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_IDMAP, Userns_fd: uint64(b.Users.Fd())}
	err := unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		err = unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH, attr)
	}
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EPERM) {
		return fmt.Errorf("%w: %w", ErrOwnersNotMapped, err)
	}
	return err
}

// makePlace makes a directory or a file to mount something on.
func makePlace(path string, dir bool) error {
	if dir {
		return os.Mkdir(path, 0o755)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// PinNetns makes a network namespace that a process has, at a path such as
// /proc/123/ns/net, be found at path, with its loopback interface up.
func PinNetns(source, path string) (Netns, error) {
	ns := Netns{Name: filepath.Base(path), Path: path}
	if err := PinNamespace(source, path); err != nil {
		return ns, err
	}
	if err := ns.Do(loopbackUp); err != nil {
		return ns, fmt.Errorf("set up network namespace %s: %w", path, err)
	}
	return ns, nil
}

// PinNamespace keeps the namespace at source, such as /proc/123/ns/user, by
// mounting it at path.
func PinNamespace(source, path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(source, path, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin namespace at %s: %w", path, err)
	}
	return nil
}
