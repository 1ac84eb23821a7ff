package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// InRoot gives access to files by their paths in another root directory, such
// as a node's. Symbolic links are resolved below that directory, absolute ones
// too, and "magic" ones of /proc, which lead out of it, are refused. So no path
// leaves the root, whoever changes the tree meanwhile. A nil InRoot is this
// process's own root directory.
type InRoot struct{ dir *os.File }

// OpenInRoot opens dir, as the calling thread sees it, as a root directory.
func OpenInRoot(dir string) (*InRoot, error) {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open root", Path: dir, Err: err}
	}
	return &InRoot{os.NewFile(uintptr(fd), dir)}, nil
}

// Close gives up the directory.
func (r *InRoot) Close() error {
	if r == nil {
		return nil
	}
	return r.dir.Close()
}

// open opens path with the flags of open(2). Opening a FIFO does not block.
func (r *InRoot) open(path string, flags int, mode fs.FileMode) (*os.File, error) {
	how := unix.OpenHow{
		Flags:   uint64(flags | unix.O_CLOEXEC),
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	if flags&unix.O_PATH == 0 {
		how.Flags |= unix.O_NONBLOCK | unix.O_NOCTTY
	}
	if flags&unix.O_CREAT != 0 {
		how.Mode = uint64(mode.Perm())
	}
	// The kernel gives up with EAGAIN when something was renamed or mounted
	// anywhere while it was on its way up a "..".
	const tries = 100
	var fd int
	var err error
	for range tries {
		fd, err = unix.Openat2(int(r.dir.Fd()), path, &how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

// OpenFile is os.OpenFile in the root directory.
func (r *InRoot) OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error) {
	if r == nil {
		return os.OpenFile(path, flag, mode)
	}
	return r.open(path, flag, mode)
}

// OpenPath opens path with O_PATH, which only marks a place in the tree: for
// calls that name a file by a descriptor, such as by a path below
// /proc/self/fd.
func (r *InRoot) OpenPath(path string) (*os.File, error) {
	if r == nil {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
	return r.open(path, unix.O_PATH, 0)
}

// OpenRoot is os.OpenRoot in the root directory.
func (r *InRoot) OpenRoot(path string) (*os.Root, error) {
	if r == nil {
		return os.OpenRoot(path)
	}
	f, err := r.open(path, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
}

// Stat is os.Stat in the root directory.
func (r *InRoot) Stat(path string) (fs.FileInfo, error) {
	if r == nil {
		return os.Stat(path)
	}
	f, err := r.open(path, unix.O_PATH, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.Stat()
}

// MkdirAll is os.MkdirAll in the root directory.
func (r *InRoot) MkdirAll(path string, mode fs.FileMode) error {
	if r == nil {
		return os.MkdirAll(path, mode)
	}
	path = filepath.Clean("/" + path)
	info, err := r.Stat(path)
	if err == nil && !info.IsDir() {
		return &os.PathError{Op: "mkdir", Path: path, Err: unix.ENOTDIR}
	}
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent, name := filepath.Split(path)
	if err := r.MkdirAll(parent, mode); err != nil {
		return err
	}
	at, err := r.open(parent, unix.O_PATH|unix.O_DIRECTORY, 0)
	if err != nil {
		return err
	}
	defer at.Close()
	err = unix.Mkdirat(int(at.Fd()), name, uint32(mode.Perm()))
	if errors.Is(err, unix.EEXIST) {
		// Another process has made it meanwhile, or it is a dangling link.
		if info, statErr := r.Stat(path); statErr == nil && info.IsDir() {
			return nil
		}
	}
	return pathError("mkdir", path, err)
}

// EvalSymlinks is filepath.EvalSymlinks in the root directory: the path, in it,
// of what path leads to.
func (r *InRoot) EvalSymlinks(path string) (string, error) {
	if r == nil {
		return filepath.EvalSymlinks(path)
	}
	f, err := r.open(path, unix.O_PATH, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	root, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", r.dir.Fd()))
	if err != nil {
		return "", err
	}
	// The kernel names files of another mount namespace by their paths there.
	resolved, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
	if err != nil {
		return "", err
	}
	rel, err := filepath.Rel(root, resolved)
	if err != nil {
		return "", err
	}
	resolved = filepath.Join("/", rel)
	// A file that was removed or renamed meanwhile has no such path any more.
	again, err := r.open(resolved, unix.O_PATH|unix.O_NOFOLLOW, 0)
	if err != nil {
		return "", err
	}
	defer again.Close()
	was, err := f.Stat()
	if err != nil {
		return "", err
	}
	is, err := again.Stat()
	if err != nil {
		return "", err
	}
	if !os.SameFile(was, is) {
		return "", &os.PathError{Op: "resolve", Path: path, Err: unix.ESTALE}
	}
	return resolved, nil
}
