package host

import (
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What becomes of options is what mount(8) makes of them, from a kubelet that sorts them.
func TestSortMountOptions(t *testing.T) {
	for name, c := range map[string]struct {
		all   []string
		flags uintptr
		rest  []string
		attr  uint64
		err   string
	}{
		"none":              {},
		"both ways":         {all: []string{"ro", "rw"}},
		"the other order":   {all: []string{"rw", "ro"}},
		"read-only":         {all: []string{"ro", "defaults"}, flags: unix.MS_RDONLY, attr: unix.MOUNT_ATTR_RDONLY},
		"more of both":      {all: []string{"exec", "noexec", "nodev", "dev", "suid", "nosuid", "sync", "async"}, flags: unix.MS_NOEXEC | unix.MS_NODEV | unix.MS_SYNCHRONOUS, attr: unix.MOUNT_ATTR_NOEXEC | unix.MOUNT_ATTR_NODEV},
		"times":             {all: []string{"noatime", "nodiratime"}, flags: unix.MS_NOATIME | unix.MS_NODIRATIME, attr: unix.MOUNT_ATTR_NOATIME | unix.MOUNT_ATTR_NODIRATIME},
		"strict times":      {all: []string{"noatime", "strictatime"}, flags: unix.MS_NOATIME | unix.MS_STRICTATIME, attr: unix.MOUNT_ATTR_STRICTATIME},
		"of a file system":  {all: []string{"data=journal", "commit=5", "commit=5"}, rest: []string{"commit=5", "data=journal"}},
		"of other programs": {all: []string{"_netdev", "nofail", "x-systemd.automount", "comment=why", "nouser"}},
		"two in one":        {all: []string{"ro,rw"}, err: "is not one option"},
		"empty":             {all: []string{""}, err: "is not one option"},
	} {
		given := slices.Clone(c.all)
		o, err := sortMountOptions(c.all)
		if !slices.Equal(c.all, given) {
			t.Errorf("%s: what was given was changed", name)
		}
		if c.err != "" {
			if err == nil || !strings.Contains(err.Error(), c.err) {
				t.Errorf("%s: %v, want %q", name, err, c.err)
			}
			continue
		}
		if err != nil || o.flags != c.flags || !slices.Equal(o.rest, c.rest) || o.attributes() != c.attr {
			t.Errorf("%s: %#x %q %#x %v, want %#x %q %#x", name, o.flags, o.rest, o.attributes(), err, c.flags, c.rest, c.attr)
		}
	}
	o := mountOptions{flags: unix.MS_RDONLY | unix.MS_DIRSYNC | unix.MS_NOEXEC}
	if got := o.ofFileSystem(); !slices.Equal(got, []string{"ro", "dirsync"}) {
		t.Errorf("for the file system: %q", got)
	}
}
