package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// setAttributes gives parent/base the owner, mode, extended attributes and
// time that the archive says. It never follows base if it is a symbolic link.
func setAttributes(parent int, base string, hdr *tar.Header) error {
	// Order matters: a change of owner drops set-user-ID bits and capabilities.
	if err := unix.Fchownat(parent, base, hdr.Uid, hdr.Gid, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set owner %d:%d: %w", hdr.Uid, hdr.Gid, err)
	}
	if hdr.Typeflag != tar.TypeSymlink {
		if err := unix.Fchmodat(parent, base, uint32(hdr.Mode&0o7777), 0); err != nil {
			return fmt.Errorf("set mode: %w", err)
		}
	}
	for key, value := range hdr.PAXRecords {
		attr, ok := strings.CutPrefix(key, xattrPAX)
		if !ok || !keptXattr(attr) {
			continue
		}
		err := unix.Lsetxattr(procPath(parent, base), attr, []byte(value), 0)
		if err != nil && !errors.Is(err, unix.ENOTSUP) && !errors.Is(err, unix.EPERM) {
			return fmt.Errorf("set attribute %s: %w", attr, err)
		}
	}
	if hdr.Typeflag == tar.TypeDir {
		return nil // see setDirTimes
	}
	return setTime(parent, base, hdr.ModTime)
}

// attributesSize is how many bytes the extended attributes take that are kept.
func attributesSize(hdr *tar.Header) int64 {
	n := 0
	for key, value := range hdr.PAXRecords {
		if attr, ok := strings.CutPrefix(key, xattrPAX); ok && keptXattr(attr) {
			n += len(attr) + len(value)
		}
	}
	return int64(n)
}

// keptXattr leaves out attributes that steer the file system we unpack to,
// overlayfs's own above all, and labels of the machine that built the image.
func keptXattr(attr string) bool {
	return strings.HasPrefix(attr, "user.") || attr == "security.capability" || strings.HasPrefix(attr, "system.posix_acl_")
}

func setTime(parent int, base string, t time.Time) error {
	if base == "" {
		base = "."
	}
	ts, err := unix.TimeToTimespec(t)
	if err != nil {
		ts = unix.Timespec{} // no file system keeps such a date
	}
	if err := unix.UtimesNanoAt(parent, base, []unix.Timespec{ts, ts}, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		return fmt.Errorf("set time: %w", err)
	}
	return nil
}

// setOpaque hides everything the layers below have in this directory.
func setOpaque(parent int, base string) error {
	if err := unix.Lsetxattr(procPath(parent, base), opaqueXattr, []byte("y"), 0); err != nil {
		return fmt.Errorf("set %s: %w", opaqueXattr, err)
	}
	return nil
}

// procPath names a file relative to a descriptor, for calls that have no
// variant ending in "at".
func procPath(fd int, base string) string {
	return fmt.Sprintf("/proc/self/fd/%d/%s", fd, base)
}
