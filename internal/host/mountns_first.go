package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// firstNS is where programs look for the namespaces of the machine that they are on:
// those of its first process. A container that has a node's root directory as a hostPath
// enters its mount namespace by it, with `nsenter --mount=/host/proc/1/ns/mnt`.
const firstNS = "/proc/1/ns"

// beFirst has the namespaces of the first process, in the node's /proc, be the node's own
// where it has one. Otherwise whoever enters them finds itself on the machine, with a
// directory at hand in place of the node's. The /proc that a container mounts for itself
// is not changed by it.
//
// The way to the mount namespace leads through this process, which has it open: no mount
// namespace can have itself in a file. So it is written anew by each process.
func (m *MountNS) beFirst(netns string) error {
	self := fmt.Sprintf("../../%d/fd/%d", os.Getpid(), m.ns.Fd())
	return m.Do(func() error {
		mounted, err := IsMountPoint(firstNS)
		if err != nil {
			return err
		}
		if !mounted {
			if err := coverFirst(); err != nil {
				return err
			}
		}
		links := map[string]string{"mnt": self}
		if netns != "" {
			links["net"] = filepath.Join("../../..", netns)
		}
		entries, err := os.ReadDir("/proc/1/task/1/ns")
		if err != nil {
			return err
		}
		for _, e := range entries {
			if _, ok := links[e.Name()]; !ok { // the machine's, which the node shares
				links[e.Name()] = "../task/1/ns/" + e.Name()
			}
		}
		for name, target := range links {
			if err := relink(filepath.Join(firstNS, name), target); err != nil {
				return err
			}
		}
		return nil
	})
}

// coverFirst mounts a directory of the node's own. In it is a second mount of all of
// /proc: the kernel lets a user namespace mount its own one only where the first is to be
// seen whole.
func coverFirst() error {
	whole, err := unix.OpenTree(unix.AT_FDCWD, "/proc", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC)
	if err != nil {
		return fmt.Errorf("copy the mount at /proc: %w", err)
	}
	defer unix.Close(whole)
	if err := unix.Mount(ownSource, firstNS, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "mode=0555,size=64k"); err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", firstNS, err)
	}
	dir := filepath.Join(firstNS, ".proc")
	if err := os.Mkdir(dir, 0o500); err != nil {
		return err
	}
	if err := unix.MoveMount(whole, "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
		return fmt.Errorf("mount /proc at %s: %w", dir, err)
	}
	return nil
}

// relink makes a link in the place of one there may be, all at once.
func relink(path, target string) error {
	if have, err := os.Readlink(path); err == nil && have == target {
		return nil
	}
	next := filepath.Join(filepath.Dir(path), "."+strings.TrimPrefix(filepath.Base(path), "."))
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(target, next); err != nil {
		return err
	}
	return os.Rename(next, path)
}
