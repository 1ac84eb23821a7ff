package host

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// maxLinkedFiles bounds how many files of more than one name are remembered in
// order to count each once.
const maxLinkedFiles = 1 << 20

// maxWaiting bounds the length of the paths, in bytes, of directories that have
// been found and not read yet.
const maxWaiting = 64 << 20

// Usage is what files take of a file system.
type Usage struct {
	// Bytes are those of the blocks in use, Inodes the files and directories.
	Bytes, Inodes int64
}

// DiskUsage adds up what dir and everything below it takes on its file system,
// as du does: a file with several names counts once, and holes do not count.
// dir may also be a file; if it does not exist, it takes nothing.
//
// Somebody may change what is below dir at the same time, and not in good
// faith. No link is followed, no file is opened but directories, and what is
// mounted below dir is not entered. Files that vanish meanwhile do not count.
// If ctx ends, a directory is nested so deeply that the kernel has no path for
// it (ENAMETOOLONG), or there are more directories than a measurement may keep
// in memory (E2BIG), the sum so far is returned with an error.
func DiskUsage(ctx context.Context, dir string) (Usage, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return Usage{}, nil
	}
	if err != nil {
		return Usage{}, fmt.Errorf("measure %s: %w", dir, err)
	}
	defer unix.Close(root)
	u := walk{root: root, linked: map[uint64]bool{}}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return Usage{}, fmt.Errorf("measure %s: %w", dir, err)
	}
	u.device = st.Dev
	u.add(&st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFREG:
		return u.sum, nil
	default:
		return Usage{}, fmt.Errorf("measure %s: it is neither a directory nor a regular file", dir)
	}
	var errs []error
	u.wait(".")
	for len(u.todo) > 0 {
		if err := ctx.Err(); err != nil {
			return u.sum, fmt.Errorf("measure %s: %w", dir, err)
		}
		next := u.todo[len(u.todo)-1]
		u.todo = u.todo[:len(u.todo)-1]
		u.waiting -= len(next)
		if err := u.directory(ctx, next); err != nil && len(errs) == 0 {
			errs = append(errs, fmt.Errorf("measure %s: %.100s: %w", dir, next, err))
		}
	}
	return u.sum, errors.Join(errs...)
}

// walk is a measurement under way.
type walk struct {
	root   int
	device uint64
	todo   []string // directories that have not been read, from the root
	// waiting is the length of all their paths.
	waiting int
	linked  map[uint64]bool
	sum     Usage
}

// directory counts the entries of one directory.
func (u *walk) directory(ctx context.Context, name string) error {
	fd, err := unix.Openat2(u.root, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	switch {
	case errors.Is(err, unix.ENAMETOOLONG):
		return err
	case err != nil: // gone, something else by now, or a mount
		return nil
	}
	f := os.NewFile(uintptr(fd), name)
	defer f.Close()
	var full error
	for ctx.Err() == nil {
		names, err := f.Readdirnames(1024)
		for _, n := range names {
			var st unix.Stat_t
			if unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != u.device {
				continue
			}
			u.add(&st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				if !u.wait(path.Join(name, n)) {
					full = unix.E2BIG
				}
			}
		}
		if err != nil { // io.EOF, or the directory was removed
			break
		}
	}
	return full
}

// wait puts a directory on the list of those to read, if there is room.
func (u *walk) wait(dir string) bool {
	if u.waiting+len(dir) > maxWaiting {
		return false
	}
	u.waiting += len(dir)
	u.todo = append(u.todo, dir)
	return true
}

func (u *walk) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR && len(u.linked) < maxLinkedFiles {
		if u.linked[st.Ino] {
			return
		}
		u.linked[st.Ino] = true
	}
	u.sum.Bytes += st.Blocks * 512
	u.sum.Inodes++
}
