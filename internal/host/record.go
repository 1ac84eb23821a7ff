package host

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// WriteRecord writes a file of this process as a whole, or not at all, also when the
// machine loses its power. Nobody but its owner may read it. A container that can write
// to the file's directory, such as one with a hostPath that has the node's own, may have
// put a link in its place: none is followed. The directory is made if it is missing.
func WriteRecord(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.Remove(next); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(next, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if err := errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(next, path)
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
