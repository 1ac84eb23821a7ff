package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteRecord writes a file of this process as a whole, or not at all, also when the
// machine loses its power. Nobody but its owner may read it. A container that can write
// to the file's directory, such as one with a hostPath that has the node's own, may have
// put a link in its place: none is followed. The directory is made if it is missing; no
// container may be able to replace that one.
func WriteRecord(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return pathError("write", path, replaceFile(dir, filepath.Base(path), data, true))
}

// WriteBeneath is WriteRecord for the file name, with a path, below the directory dir.
// Containers may be able to replace every directory on that path, which must exist, but
// not dir: no link leads out of it. The disk is not waited for: a loss of power may leave
// the file as it was, or empty.
func WriteBeneath(dir, name string, data []byte) error {
	return beneath("write", dir, name, func(at *os.File, base string) error { return replaceFile(at, base, data, false) })
}

// replaceFile writes a file of an open directory as a whole, whatever is in its place.
func replaceFile(dir *os.File, name string, data []byte, sync bool) error {
	at, next := int(dir.Fd()), name+".new"
	fd, err := createNew(at, next)
	if errors.Is(err, unix.EEXIST) { // of a write that was cut short, or put there by somebody
		if err := unix.Unlinkat(at, next, 0); err != nil {
			return err
		}
		fd, err = createNew(at, next)
	}
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), next)
	_, err = f.Write(data)
	if err == nil && sync {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = unix.Renameat(at, next, at, name)
	}
	if err != nil { // what is half written would take room of a full disk
		_ = unix.Unlinkat(at, next, 0)
	}
	return err
}

func createNew(dir int, name string) (fd int, err error) {
	return unix.Openat(dir, name, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
}

// ReadBeneath is ReadRecord for what WriteBeneath has written.
func ReadBeneath(dir, name string) (data []byte, err error) {
	err = beneath("read", dir, name, func(at *os.File, base string) error {
		data, err = ReadRecord(filepath.Join(FilePath(at), base))
		return err
	})
	return data, err
}

// beneath calls fn with the directory that the file name is in, which is below dir, and
// the file's name there.
func beneath(op, dir, name string, fn func(at *os.File, base string) error) error {
	at, err := OpenBeneath(dir, filepath.Dir(name))
	if err == nil {
		err = fn(at, filepath.Base(name))
		at.Close()
	}
	return beneathError(op, dir, name, err)
}

func beneathError(op, dir, name string, err error) error {
	var errno unix.Errno
	switch {
	case errors.Is(err, unix.EXDEV):
		err = fmt.Errorf("a link on this path leads out of %s, and is not followed: put back what was in its place, or remove the link: %w", dir, unix.EXDEV)
	case errors.As(err, &errno): // the path that it came with says nothing
		err = errno
	}
	return pathError(op, filepath.Join(dir, name), err)
}

// DirBeneath opens the directory name, with a path, below the directory dir. Containers
// may be able to replace every directory on that path, but not dir: no link leads out of
// it.
func DirBeneath(dir, name string) (*os.File, error) {
	at, err := OpenBeneath(dir, name)
	if err != nil {
		return nil, beneathError("open", dir, name, err)
	}
	defer at.Close()
	path := filepath.Join(dir, name)
	fd, err := unix.Open(FilePath(at), unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, pathError("open", path, err)
	}
	return os.NewFile(uintptr(fd), path), nil
}

// MkdirBeneath makes the directory name, with a path that exists, below the directory dir,
// unless it is there. No link leads out of dir.
func MkdirBeneath(dir, name string, mode fs.FileMode) error {
	err := beneath("mkdir", dir, name, func(at *os.File, base string) error {
		return unix.Mkdirat(int(at.Fd()), base, uint32(mode.Perm()))
	})
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	there, err := DirBeneath(dir, name)
	if err != nil {
		return err
	}
	return there.Close()
}

// ReadRecord reads a file that WriteRecord has written. Something else than a regular
// file in its place is an error, and is not opened. A file that is missing is an error
// that wraps fs.ErrNotExist.
func ReadRecord(path string) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	mark := os.NewFile(uintptr(fd), path)
	defer mark.Close()
	info, err := mark.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, &os.PathError{Op: "open", Path: path, Err: errors.New("it is no regular file")}
	}
	f, err := os.Open(FilePath(mark))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}
