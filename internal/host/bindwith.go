package host

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// BindWith makes a directory that is open appear at target, with options of mount(8).
// Those of a file system are refused: it is mounted already.
func BindWith(dir *os.File, target string, options []string, readOnly bool) error {
	o, err := sortMountOptions(options)
	if err != nil {
		return err
	}
	readOnly = readOnly || o.flags&unix.MS_RDONLY != 0
	o.flags &^= unix.MS_RDONLY // which a directory can be without its file system
	if rest := append(o.ofFileSystem(), o.rest...); len(rest) > 0 {
		return fmt.Errorf("the mount option %s is for a file system when it is mounted, and %s is a directory; leave it out, or give the device", strings.Join(rest, ","), dir.Name())
	}
	mount, err := cloneMount(int(dir.Fd()), "", unix.AT_RECURSIVE)
	if err != nil {
		return err
	}
	defer mount.Close()
	attr := &unix.MountAttr{Attr_set: o.attributes()}
	if o.flags&(unix.MS_NOATIME|unix.MS_STRICTATIME|unix.MS_RELATIME) != 0 {
		attr.Attr_clr = unix.MOUNT_ATTR__ATIME
	}
	if readOnly {
		attr.Attr_set |= unix.MOUNT_ATTR_RDONLY
	}
	if err := unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
		return fmt.Errorf("mount %s with the options %s: %w", dir.Name(), strings.Join(options, ","), err)
	}
	place, err := os.OpenFile(target, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer place.Close()
	return attach(mount, place)
}
