package host

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// ErrMounted says that something is mounted where nothing may be.
var ErrMounted = errors.New("something is mounted there")

// RemoveTree removes dir and everything in it, as os.RemoveAll does, but never
// what is mounted there, which may be a user's own files: if there is a mount
// at dir or below, nothing is removed and the error is an ErrMounted that names
// it. A mount that comes while the tree is being removed is not entered.
// Symbolic links are removed, not followed. A dir that is not there is fine.
func RemoveTree(dir string) error {
	dir = filepath.Clean(dir)
	points, err := MountsUnder(dir)
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	if len(points) > 0 {
		return fmt.Errorf("remove %s: %w: unmount %s first, for example with `umount %s`", dir, ErrMounted, points[len(points)-1], points[len(points)-1])
	}
	if err := removeTree(dir); err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

// ClearTree unmounts what is mounted at dir and below, and removes dir and
// everything in it. It does not enter what is mounted either. Reading the
// machine's list of mounts takes long where there are many, and a node with a
// hundred Pods has many: so it is only read where removing the tree meets a mount.
// A dir that is not there is fine.
func ClearTree(dir string) error {
	dir = filepath.Clean(dir)
	err := removeTree(dir)
	if errors.Is(err, ErrMounted) || errors.Is(err, unix.EBUSY) {
		if err := UnmountAllUnder(dir); err != nil {
			return fmt.Errorf("remove %s: %w", dir, err)
		}
		err = removeTree(dir)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", dir, err)
	}
	return nil
}

func removeTree(dir string) error {
	fd, err := openDir(unix.AT_FDCWD, dir)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	if errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP) {
		return os.Remove(dir)
	}
	if err != nil {
		return err
	}
	top := os.NewFile(uintptr(fd), dir)
	defer top.Close()
	mount, err := mountOf(fd)
	if err != nil {
		return err
	}
	// A mount may have come after the look above: the directory must be on the
	// same mount as its parent.
	parent, err := unix.Open(filepath.Dir(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(parent)
	return emptyAndRemove(parent, top, mount)
}

// RemoveTreeIn is RemoveTree for the directory name in one that is open: no
// path is followed at all. What is mounted below is never entered, and an error.
func RemoveTreeIn(parent *os.File, name string) error {
	fd, err := openDir(int(parent.Fd()), name)
	if errors.Is(err, unix.ENOENT) {
		return nil
	}
	path := filepath.Join(parent.Name(), name)
	if err != nil {
		return pathError("remove", path, err)
	}
	top := os.NewFile(uintptr(fd), path)
	defer top.Close()
	mount, err := mountOf(fd)
	if err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	if err := emptyAndRemove(int(parent.Fd()), top, mount); err != nil {
		return fmt.Errorf("remove %s: %w", path, err)
	}
	return nil
}

// RemoveEntry removes what name is in a directory that is open: a file, a link, or a
// directory as RemoveTreeIn does. None is fine.
func RemoveEntry(parent *os.File, name string) error {
	err := unix.Unlinkat(int(parent.Fd()), name, 0)
	switch {
	case errors.Is(err, unix.EISDIR):
		return RemoveTreeIn(parent, name)
	case errors.Is(err, unix.ENOENT):
		return nil
	}
	return pathError("remove", filepath.Join(parent.Name(), name), err)
}

// ClearEntry is RemoveEntry for a directory below which something may be mounted: that is
// unmounted, as by ClearTree.
func ClearEntry(parent *os.File, name string) error {
	err := RemoveEntry(parent, name)
	if !errors.Is(err, ErrMounted) && !errors.Is(err, unix.EBUSY) {
		return err
	}
	dir, err := os.Readlink(FilePath(parent))
	if err != nil {
		return err
	}
	if err := UnmountAllUnder(filepath.Join(dir, name)); err != nil {
		return fmt.Errorf("remove %s: %w", filepath.Join(dir, name), err)
	}
	return RemoveEntry(parent, name)
}

// emptyAndRemove removes the directory top, which is on mount, from its parent.
func emptyAndRemove(parent int, top *os.File, mount mountID) error {
	if above, err := mountOf(parent); err != nil || above != mount {
		return errors.Join(ErrMounted, err)
	}
	t := tree{top: top, mount: mount}
	if err := t.empty(top, 0); err != nil {
		return err
	}
	return pathError("rmdir", top.Name(), unix.Unlinkat(parent, filepath.Base(top.Name()), unix.AT_REMOVEDIR))
}

func pathError(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &os.PathError{Op: op, Path: path, Err: err}
}

// tree is a directory that is being emptied.
type tree struct {
	top   *os.File
	mount mountID
	moved int // directories from far below that were moved to top
}

// mountID tells one mount from another.
type mountID struct{ dev, mount uint64 }

func mountOf(fd int) (mountID, error) {
	var st unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_NO_AUTOMOUNT, unix.STATX_MNT_ID, &st); err != nil {
		return mountID{}, fmt.Errorf("look up the mount of a directory: %w", err)
	}
	return mountID{dev: unix.Mkdev(st.Dev_major, st.Dev_minor), mount: st.Mnt_id}, nil
}

func openDir(at int, name string) (int, error) {
	return unix.Openat(at, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
}

// maxTreeDepth is how many directories inside each other are open at a time. A
// container can make a tree as deep as it likes.
const maxTreeDepth = 64

// empty removes what is in dir.
func (t *tree) empty(dir *os.File, depth int) error {
	for {
		// From the beginning each time: a directory that loses entries while
		// it is read may not show them all.
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
		names, err := dir.Readdirnames(1024)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := t.remove(dir, name, depth); err != nil {
				return err
			}
		}
	}
}

func (t *tree) remove(dir *os.File, name string, depth int) error {
	at, path := int(dir.Fd()), filepath.Join(dir.Name(), name)
	err := unix.Unlinkat(at, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("%s: %w", path, ErrMounted)
	}
	if !errors.Is(err, unix.EISDIR) {
		return pathError("unlink", path, err)
	}
	err = unix.Unlinkat(at, name, unix.AT_REMOVEDIR)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil // it was empty
	}
	if !errors.Is(err, unix.ENOTEMPTY) && !errors.Is(err, unix.EEXIST) && !errors.Is(err, unix.EBUSY) {
		return pathError("rmdir", path, err)
	}
	fd, err := openDir(at, name)
	if err != nil {
		return pathError("open", path, err)
	}
	child := os.NewFile(uintptr(fd), path)
	defer child.Close()
	if mount, err := mountOf(fd); err != nil || mount != t.mount {
		return fmt.Errorf("%s: %w", path, errors.Join(ErrMounted, err))
	}
	if depth >= maxTreeDepth {
		return pathError("rename", path, t.lift(at, name))
	}
	if err := t.empty(child, depth+1); err != nil {
		return err
	}
	return pathError("rmdir", path, unix.Unlinkat(at, name, unix.AT_REMOVEDIR))
}

// lift moves a directory that lies too deep to the top, where it is emptied
// later.
func (t *tree) lift(at int, name string) error {
	for {
		t.moved++
		err := unix.Renameat2(at, name, int(t.top.Fd()), fmt.Sprintf(".being-removed-%d", t.moved), unix.RENAME_NOREPLACE)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
	}
}
