package host

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// maxResolveAttempts bounds how often a path is resolved anew because
// something on it was renamed meanwhile, which the kernel reports as EAGAIN.
const maxResolveAttempts = 128

// OpenBeneath opens path below the directory dir for use as the source of a
// bind mount, with O_PATH: nothing is read, no device is opened, and a FIFO
// does not block. Symbolic links are followed only as long as they stay below
// dir; one that leads out is an error that wraps EXDEV. What does not exist is
// an error that wraps os.ErrNotExist.
//
// The result is the file as it was at one moment. Whoever can write below dir
// can replace the name afterwards, but not what has been opened: mount
// FilePath(file) rather than the name.
func OpenBeneath(dir, path string) (*os.File, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: dir, Err: err}
	}
	defer unix.Close(root)
	how := unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_MAGICLINKS,
	}
	for range maxResolveAttempts {
		fd, err := unix.Openat2(root, path, &how)
		switch {
		case err == nil:
			return os.NewFile(uintptr(fd), path), nil
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EXDEV):
			return nil, fmt.Errorf("%s leads out of the volume: %w", path, err)
		}
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return nil, fmt.Errorf("%s is renamed again and again while it is opened: %w", path, unix.EAGAIN)
}

// FilePath is a path by which the kernel finds an open file of this process,
// whatever its name is by now.
func FilePath(f *os.File) string { return fmt.Sprintf("/proc/self/fd/%d", f.Fd()) }
