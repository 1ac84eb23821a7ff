package host

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// MountBPF mounts a BPF file system of its own at path, so that pins go with
// one unmount. One that is mounted there already is kept.
func MountBPF(path string) error {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return fmt.Errorf("mount bpf at %s: %w", path, err)
	}
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err == nil && st.Type == unix.BPF_FS_MAGIC {
		return nil
	}
	if err := unix.Mount("bpf", path, "bpf", 0, "mode=0700"); err != nil {
		return fmt.Errorf("mount bpf at %s: %w", path, err)
	}
	return nil
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
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts under %s: %w", dir, err)
	}
	defer f.Close()
	var points []string
	sc := bufio.NewScanner(f)
	sc.Buffer(nil, 1<<20) // overlay mounts have long option lists
	for sc.Scan() {
		point, _ := parseMountinfo(sc.Text())
		if point == dir || strings.HasPrefix(point, strings.TrimSuffix(dir, "/")+"/") {
			points = append(points, point)
		}
	}
	if err := sc.Err(); err != nil {
		return nil, fmt.Errorf("list mounts under %s: %w", dir, err)
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
