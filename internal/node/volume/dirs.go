package volume

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// makeDir makes a volume's directory, with this mode and, unless it is below
// zero, this group. Parents that are missing are for root alone: containers
// reach their volumes by mounts, and nobody else has to.
//
// A directory that is there was finished, and is not touched: it gets its name
// last of all.
func makeDir(dir string, mode fs.FileMode, gid int) error {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent, name := filepath.Split(dir)
	if err := os.MkdirAll(parent, 0o750); err != nil {
		return err
	}
	unfinished := filepath.Join(parent, "."+name) // no name of a volume begins so
	if err := os.RemoveAll(unfinished); err != nil {
		return err
	}
	if err := os.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	if gid >= 0 {
		if err := os.Lchown(unfinished, -1, gid); err != nil {
			return err
		}
	}
	if err := os.Chmod(unfinished, mode); err != nil { // whatever the umask is
		return err
	}
	return os.Rename(unfinished, dir)
}
