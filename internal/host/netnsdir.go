package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"
)

// The directory of named network namespaces is a shared mount of itself, as
// iproute2 makes it with the first `ip netns add`: so a mount namespace that
// was copied from the machine's sees names come and go. Were it made a mount
// later, with names in it, then the mounts behind these names would be hidden,
// and hold their files for ever.

// ownNetnsDir marks a mount that Minato made of the directory. iproute2 leaves
// its own mount where it is, and never sets this flag.
const ownNetnsDir = unix.MS_NODIRATIME

// lockDir takes the lock of a directory, which keeps others from changing its
// mount meanwhile: iproute2 takes the one of the directory of namespaces.
func lockDir(dir string) (unlock func(), err error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	if err := ignoringEINTR(func() error { return unix.Flock(fd, unix.LOCK_EX) }); err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	return func() { unix.Close(fd) }, nil
}

func ignoringEINTR(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// shareNetnsDir makes the directory, and a shared mount of it, where they are
// missing.
func shareNetnsDir(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	defer unlock()
	err = unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, "")
	if !errors.Is(err, unix.EINVAL) {
		return err // it is a mount already
	}
	if err := mountOverItself(dir); err != nil {
		return err
	}
	if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|ownNetnsDir, ""); err != nil {
		return fmt.Errorf("mark the mount at %s: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("share mounts below %s: %w", dir, err)
	}
	return nil
}

// mountOverItself makes dir a mount, and moves what is mounted below it there,
// where a bind mount would hide it.
func mountOverItself(dir string) error {
	fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("copy the mounts below %s: %w", dir, err)
	}
	defer unix.Close(fd)
	points, err := MountsUnder(dir)
	if err != nil {
		return err
	}
	for _, point := range slices.Backward(points) {
		if err := Unmount(point); err != nil {
			return err
		}
	}
	if err := unix.MoveMount(fd, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount %s over itself: %w", dir, err)
	}
	return nil
}

// unshareNetnsDir takes away the mount that shareNetnsDir made, once no
// namespace has a name there any more.
func unshareNetnsDir(dir string) error {
	var st unix.Statfs_t
	if unix.Statfs(dir, &st) != nil || st.Flags&unix.ST_NODIRATIME == 0 {
		return nil
	}
	unlock, err := lockDir(dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	unlock() // the open directory would keep its mount busy
	if err != nil || len(entries) > 0 {
		return err
	}
	mounted, err := IsMountPoint(dir)
	if err != nil || !mounted {
		return err
	}
	err = unix.Unmount(dir, unix.UMOUNT_NOFOLLOW)
	if err == nil || errors.Is(err, unix.EBUSY) || errors.Is(err, unix.EINVAL) {
		return nil // busy: someone else uses it, and so it stays
	}
	return fmt.Errorf("unmount %s: %w", dir, err)
}

// removeHidden removes a file on which mounts are hidden by one that was
// mounted over its directory later. No path leads to those mounts, but the
// kernel detaches every mount on a file when the file is removed from a mount
// namespace where nothing is mounted on it. So a copy of this one is laid open,
// mount by mount, without a change to the original.
func removeHidden(path string) error {
	dir := filepath.Dir(path)
	err := OnThrowAwayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("copy the mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("separate the copied mount namespace: %w", err)
		}
		for {
			if err := unmountLayers(path); err != nil {
				return err
			}
			err := os.Remove(path)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if unmountErr := unix.Unmount(dir, unix.MNT_DETACH); unmountErr != nil {
				return err // the lowest directory has been reached
			}
		}
	})
	if err != nil {
		return fmt.Errorf("remove %s from below the mounts that hide it: %w", path, err)
	}
	return nil
}

// unmountLayers unmounts whatever is mounted at path, however often.
func unmountLayers(path string) error {
	for {
		err := unix.Unmount(path, unix.MNT_DETACH)
		if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("unmount %s: %w", path, err)
		}
	}
}
