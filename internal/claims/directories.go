package claims

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"minato/internal/host"
)

// openMode lets every user in, as those of an emptyDir: which user a container
// runs as is not known here. The users of the machine are kept out further up.
const openMode = 0o777

// folder is the directory in a node's data directory that has one directory for
// each PersistentVolume.
const folder = "volumes"

// directories are those of a node.
type directories struct {
	data string // the node's data directory
}

// path is where the directory of a PersistentVolume is.
func (d directories) path(volume string) string { return filepath.Join(d.data, folder, volume) }

// open opens the folder. A Pod that has the node's own files as a hostPath might
// have put a link in its place; no link leads out of the data directory.
func (d directories) open() (*os.Root, error) {
	if err := os.MkdirAll(d.data, 0o700); err != nil {
		return nil, err
	}
	data, err := os.OpenRoot(d.data)
	if err != nil {
		return nil, err
	}
	defer data.Close()
	if err := data.Mkdir(folder, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, err
	}
	return data.OpenRoot(folder)
}

// create makes a directory. One that is there was finished, and is not touched:
// it gets its name last of all.
func (d directories) create(volume string) error {
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	if _, err := root.Lstat(volume); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	unfinished := "." + volume // no PersistentVolume's name begins so
	if err := root.Remove(unfinished); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := root.Mkdir(unfinished, 0o700); err != nil {
		return err
	}
	if err := root.Chmod(unfinished, openMode); err != nil { // whatever the umask is
		return err
	}
	return root.Rename(unfinished, volume)
}

// remove removes a directory with all that is in it; one that is not there is
// fine.
func (d directories) remove(volume string) error {
	root, err := d.open()
	if err != nil {
		return err
	}
	defer root.Close()
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	return host.RemoveTreeIn(dir, volume)
}

// sweep removes directories that are empty and that nobody knows: those that an
// earlier process had made when it ended, before it could write what for.
func (d directories) sweep(known func(volume string) bool) error {
	root, err := d.open()
	if err != nil {
		return fmt.Errorf("look for directories that nobody uses: %w", err)
	}
	defer root.Close()
	entries, err := fs.ReadDir(root.FS(), ".")
	if err != nil {
		return fmt.Errorf("look for directories that nobody uses: %w", err)
	}
	for _, e := range entries {
		if e.IsDir() && !known(e.Name()) {
			_ = root.Remove(e.Name()) // the kernel removes no directory that has something in it
		}
	}
	return nil
}
