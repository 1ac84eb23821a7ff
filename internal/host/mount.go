package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// MountBPF mounts a BPF file system of its own at path, so that pins go with
// one unmount. Nothing is mounted if path is on a BPF file system already.
func MountBPF(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("mount bpf at %s: %w", path, err)
	}
	if IsBPF(path) {
		return nil
	}
	if err := unix.Mount(ownSource, path, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpf at %s: %w", path, err)
	}
	return nil
}

// ownSource is what our mounts of kernel file systems name as their source, so
// that they are known from those that were there before.
const ownSource = "minato"

// MountCgroup2 mounts the cgroup2 hierarchy at path. One that is mounted there
// already is kept.
func MountCgroup2(path string) error {
	if IsCgroup2(path) {
		return nil
	}
	if err := os.MkdirAll(path, 0o755); err != nil {
		return fmt.Errorf("mount cgroup2 at %s: %w", path, err)
	}
	if err := unix.Mount(ownSource, path, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount cgroup2 at %s: %w", path, err)
	}
	return nil
}

// IsCgroup2 tells whether path is a directory of a cgroup2 file system.
func IsCgroup2(path string) bool { return isOn(path, unix.CGROUP2_SUPER_MAGIC) }

// IsBPF tells whether path is a directory of a BPF file system.
func IsBPF(path string) bool { return isOn(path, unix.BPF_FS_MAGIC) }

func isOn(path string, magic int64) bool {
	var st unix.Statfs_t
	return unix.Statfs(path, &st) == nil && st.Type == magic
}

// UnmountOwn detaches what MountBPF or MountCgroup2 mounted at path; what
// somebody else mounted there stays.
func UnmountOwn(path string) error {
	found, err := listMounts(func(m *mountinfo.Info) bool { return m.Mountpoint == path })
	if err != nil {
		return fmt.Errorf("look for a mount at %s: %w", path, err)
	}
	if len(found) == 0 || found[len(found)-1].Source != ownSource {
		return nil
	}
	return Unmount(path)
}

// MountTmpfs mounts a tmpfs at path; options are mount(8)'s, such as "size=1m".
func MountTmpfs(path, options string) error {
	if err := unix.Mount("tmpfs", path, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, options); err != nil {
		return fmt.Errorf("mount tmpfs at %s: %w", path, err)
	}
	return nil
}

// BindMount makes source appear at target.
func BindMount(source, target string, readOnly bool) error {
	if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return fmt.Errorf("bind %s at %s: %w", source, target, err)
	}
	if !readOnly {
		return nil
	}
	if err := unix.Mount("", target, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		return fmt.Errorf("bind %s read-only at %s: %w", source, target, err)
	}
	return nil
}

// Unmount detaches what is mounted at path; nothing mounted there is fine.
func Unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH)
	if err == nil || errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) {
		return nil
	}
	return fmt.Errorf("unmount %s: %w", path, err)
}

// IsMountPoint tells whether something is mounted at path itself.
func IsMountPoint(path string) (bool, error) {
	points, err := MountsUnder(path)
	return slices.Contains(points, path), err
}

// MountsUnder lists the mount points at dir and below it, outermost first.
func MountsUnder(dir string) ([]string, error) {
	dir = filepath.Clean(dir)
	var st unix.Stat_t
	if err := unix.Lstat(dir, &st); errors.Is(err, unix.ENOENT) {
		return nil, nil // what is not there has nothing mounted, and the list may be long
	}
	found, err := listMounts(func(m *mountinfo.Info) bool { return isUnder(m.Mountpoint, dir) })
	if err != nil {
		return nil, fmt.Errorf("list mounts under %s: %w", dir, err)
	}
	var points []string
	for _, m := range found {
		points = append(points, m.Mountpoint)
	}
	return points, nil
}

// UnmountAllUnder detaches every mount at dir and below it.
func UnmountAllUnder(dir string) error {
	points, err := MountsUnder(dir)
	if err != nil {
		return err
	}
	slices.Reverse(points)
	var errs []error
	for _, point := range points {
		errs = append(errs, Unmount(point))
	}
	return errors.Join(errs...)
}

// UnmountEntries detaches what is mounted at the entries of dir, with all that is
// mounted below them, without a look at the machine's list of mounts. Nobody but
// root may write to dir. A dir that is not there is fine.
func UnmountEntries(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return ignoreGone(err)
	}
	var errs []error
	for _, e := range entries {
		path := filepath.Join(dir, e.Name())
		for err = nil; err == nil; { // one may be mounted over another
			err = unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
		}
		if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
			errs = append(errs, fmt.Errorf("unmount %s: %w", path, err))
		}
	}
	return errors.Join(errs...)
}
