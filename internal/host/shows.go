package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Shows tells whether something of hidden can be seen in dir, or below it with
// all that is mounted there: because one is in the other, or because a mount shows
// hidden, or a part of it, at another path too. There need be no hidden yet.
func Shows(dir, hidden string) (bool, error) {
	shows, err := shows(dir, hidden)
	if err != nil {
		return false, fmt.Errorf("look for %s below %s: %w", hidden, dir, err)
	}
	return shows, nil
}

func shows(dir, hidden string) (bool, error) {
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false, err
	}
	// What does not exist yet will be where the last directory of its path is.
	there, missing, err := splitExisting(hidden)
	if err != nil {
		return false, err
	}
	hidden = filepath.Join(there, missing)
	meets := func(a, b string) bool { return isUnder(a, b) || isUnder(b, a) }
	if meets(dir, hidden) {
		return true, nil
	}
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, there, 0, unix.STATX_MNT_ID, &st); err != nil {
		return false, &os.PathError{Op: "statx", Path: there, Err: err}
	}
	all, err := listMounts(func(*mountinfo.Info) bool { return true })
	if err != nil {
		return false, err
	}
	i := slices.IndexFunc(all, func(m *mountinfo.Info) bool { return uint64(m.ID) == st.Mnt_id })
	if i < 0 {
		return false, fmt.Errorf("the mount that %s is on is not listed", there)
	}
	on := all[i]
	rel, err := filepath.Rel(on.Mountpoint, hidden)
	if err != nil {
		return false, err
	}
	within := filepath.Join(on.Root, rel) // its path in the file system
	for _, m := range all {
		if m.ID == on.ID || m.Major != on.Major || m.Minor != on.Minor || isUnder(m.Mountpoint, hidden) {
			continue
		}
		place := m.Mountpoint // of a part of it
		switch {
		case isUnder(within, m.Root):
			place = filepath.Join(m.Mountpoint, strings.TrimPrefix(within, m.Root))
		case !isUnder(m.Root, within):
			continue
		}
		if meets(dir, place) {
			return true, nil
		}
	}
	return false, nil
}

// splitExisting returns the real path of the part of path that exists, and the
// rest.
func splitExisting(path string) (there, missing string, err error) {
	for {
		there, err = filepath.EvalSymlinks(path)
		if !errors.Is(err, fs.ErrNotExist) || path == "/" {
			return there, missing, err
		}
		path, missing = filepath.Dir(path), filepath.Join(filepath.Base(path), missing)
	}
}
