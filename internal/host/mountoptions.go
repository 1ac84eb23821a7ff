package host

import (
	"fmt"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// mountOptions are options of mount(8), sorted out.
type mountOptions struct {
	flags uintptr  // those of mount(2)
	rest  []string // for the file system
}

// mountFlag is an option of mount(8) that is a bit of the call, or takes one back.
type mountFlag struct{ set, clear uintptr }

var mountFlags = map[string]mountFlag{
	"ro": {set: unix.MS_RDONLY}, "rw": {clear: unix.MS_RDONLY},
	"nosuid": {set: unix.MS_NOSUID}, "suid": {clear: unix.MS_NOSUID},
	"nodev": {set: unix.MS_NODEV}, "dev": {clear: unix.MS_NODEV},
	"noexec": {set: unix.MS_NOEXEC}, "exec": {clear: unix.MS_NOEXEC},
	"sync": {set: unix.MS_SYNCHRONOUS}, "async": {clear: unix.MS_SYNCHRONOUS},
	"dirsync": {set: unix.MS_DIRSYNC},
	"noatime": {set: unix.MS_NOATIME}, "atime": {clear: unix.MS_NOATIME},
	"nodiratime": {set: unix.MS_NODIRATIME}, "diratime": {clear: unix.MS_NODIRATIME},
	"relatime": {set: unix.MS_RELATIME}, "strictatime": {set: unix.MS_STRICTATIME},
	"defaults": {},
}

// mountAsides are options for the programs that mount at boot, and mean nothing here.
var mountAsides = []string{"_netdev", "auto", "noauto", "nofail", "nouser", "fg"}

// sortMountOptions does with options what becomes of them when a kubelet hands them to
// mount(8): each counts once, and they are in the order of their names, in which a later
// one takes an earlier one back. So of ro and rw together, rw is what counts.
func sortMountOptions(all []string) (o mountOptions, err error) {
	all = slices.Clone(all)
	slices.Sort(all)
	for _, option := range slices.Compact(all) {
		if strings.ContainsAny(option, ",\x00\n") || option == "" {
			return o, fmt.Errorf("the mount option %q is not one option", option)
		}
		flag, isFlag := mountFlags[option]
		switch {
		case isFlag:
			o.flags = o.flags&^flag.clear | flag.set
		case slices.Contains(mountAsides, option), strings.HasPrefix(option, "x-"), strings.HasPrefix(option, "comment="):
		default:
			o.rest = append(o.rest, option)
		}
	}
	return o, nil
}

// attributes are the flags that one mount may have and another one of the same file
// system may not, as mount_setattr(2) has them.
func (o mountOptions) attributes() uint64 {
	var attr uint64
	for flag, a := range map[uintptr]uint64{
		unix.MS_RDONLY: unix.MOUNT_ATTR_RDONLY, unix.MS_NOSUID: unix.MOUNT_ATTR_NOSUID, unix.MS_NODEV: unix.MOUNT_ATTR_NODEV,
		unix.MS_NOEXEC: unix.MOUNT_ATTR_NOEXEC, unix.MS_NODIRATIME: unix.MOUNT_ATTR_NODIRATIME,
	} {
		if o.flags&flag != 0 {
			attr |= a
		}
	}
	switch { // one of three, of which relatime is the default
	case o.flags&unix.MS_STRICTATIME != 0:
		attr |= unix.MOUNT_ATTR_STRICTATIME
	case o.flags&unix.MS_NOATIME != 0:
		attr |= unix.MOUNT_ATTR_NOATIME
	}
	return attr
}

// ofFileSystem are the flags that all mounts of a file system have, as options.
func (o mountOptions) ofFileSystem() (options []string) {
	for _, f := range []struct {
		flag uintptr
		name string
	}{{unix.MS_RDONLY, "ro"}, {unix.MS_SYNCHRONOUS, "sync"}, {unix.MS_DIRSYNC, "dirsync"}} {
		if o.flags&f.flag != 0 {
			options = append(options, f.name)
		}
	}
	return options
}
