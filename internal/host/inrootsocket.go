package host

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// DialUnix connects to the unix socket at path in the root directory. The path may
// be longer than the kernel lets a socket's name be.
func (r *InRoot) DialUnix(ctx context.Context, path string) (net.Conn, error) {
	f, err := r.OpenPath(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return (&net.Dialer{}).DialContext(ctx, "unix", FilePath(f))
}

// ListenUnix makes a unix socket at path in the root directory, with that mode, in
// place of a socket that is there; a file of another kind stays and is an error. Its
// directory must exist. Closing the listener leaves the socket's file.
func (r *InRoot) ListenUnix(path string, mode fs.FileMode) (*net.UnixListener, error) {
	dir, name := filepath.Split(path)
	f, err := r.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := unlinkSocket(f, name); err != nil {
		return nil, err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Net: "unix", Name: filepath.Join(FilePath(f), name)})
	if err != nil {
		return nil, pathError("listen", path, errors.Unwrap(err))
	}
	l.SetUnlinkOnClose(false) // the name that it knows ends here
	// The new socket can't be told from what somebody may have put in its place
	// meanwhile; so only a socket is changed, and no link is followed.
	if err := chmodSocket(f, name, mode); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// RemoveSockets removes the unix sockets in a directory of the root directory, and
// nothing else.
func (r *InRoot) RemoveSockets(dir string) error {
	f, err := r.OpenFile(dir, os.O_RDONLY|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	entries, err := f.ReadDir(-1)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Type() == fs.ModeSocket {
			err = errors.Join(err, unlinkSocket(f, e.Name()))
		}
	}
	return err
}

// unlinkSocket removes a socket from an open directory. None is no error.
func unlinkSocket(dir *os.File, name string) error {
	var st unix.Stat_t
	err := unix.Fstatat(int(dir.Fd()), name, &st, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case errors.Is(err, unix.ENOENT):
		return nil
	case err != nil:
		return pathError("stat", filepath.Join(dir.Name(), name), err)
	case st.Mode&unix.S_IFMT != unix.S_IFSOCK:
		return pathError("listen", filepath.Join(dir.Name(), name), unix.EEXIST)
	}
	if err := unix.Unlinkat(int(dir.Fd()), name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return pathError("unlink", filepath.Join(dir.Name(), name), err)
	}
	return nil
}

// chmodSocket sets the mode of a socket in an open directory.
func chmodSocket(dir *os.File, name string, mode fs.FileMode) error {
	fd, err := unix.Openat(int(dir.Fd()), name, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return pathError("open", filepath.Join(dir.Name(), name), err)
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return pathError("chmod", filepath.Join(dir.Name(), name), unix.EEXIST)
	}
	return os.Chmod(FilePath(f), mode)
}
