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

// DiskUsage adds up the blocks, in bytes, that dir and everything below it
// takes on its file system, as du does: a file with several names counts once,
// and holes do not count. dir may also be a file; if it does not exist, it
// takes nothing.
//
// Somebody may change what is below dir at the same time, and not in good
// faith. No link is followed, no file is opened but directories, and what is
// mounted below dir is not entered. What vanishes meanwhile does not count. If
// ctx ends, or a directory is nested so deeply that the kernel has no path for
// it, the sum so far is returned with an error.
func DiskUsage(ctx context.Context, dir string) (int64, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	defer unix.Close(root)
	u := usage{root: root, linked: map[uint64]bool{}}
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return 0, fmt.Errorf("measure %s: %w", dir, err)
	}
	u.device = st.Dev
	u.add(&st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
	case unix.S_IFREG:
		return u.bytes, nil
	default:
		return 0, fmt.Errorf("measure %s: it is neither a directory nor a regular file", dir)
	}
	var errs []error
	for u.todo = []string{"."}; len(u.todo) > 0; {
		if err := ctx.Err(); err != nil {
			return u.bytes, fmt.Errorf("measure %s: %w", dir, err)
		}
		next := u.todo[len(u.todo)-1]
		u.todo = u.todo[:len(u.todo)-1]
		if err := u.directory(ctx, next); err != nil && len(errs) == 0 {
			errs = append(errs, fmt.Errorf("measure %s: %.100s: %w", dir, next, err))
		}
	}
	return u.bytes, errors.Join(errs...)
}

// usage is a walk under way.
type usage struct {
	root   int
	device uint64
	todo   []string // directories that have not been read, from the root
	linked map[uint64]bool
	bytes  int64
}

// directory counts the entries of one directory.
func (u *usage) directory(ctx context.Context, name string) error {
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
	for ctx.Err() == nil {
		names, err := f.Readdirnames(1024)
		for _, n := range names {
			var st unix.Stat_t
			if unix.Fstatat(fd, n, &st, unix.AT_SYMLINK_NOFOLLOW) != nil || st.Dev != u.device {
				continue
			}
			u.add(&st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR {
				u.todo = append(u.todo, path.Join(name, n))
			}
		}
		if err != nil { // io.EOF, or the directory was removed
			return nil
		}
	}
	return nil
}

func (u *usage) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR && len(u.linked) < maxLinkedFiles {
		if u.linked[st.Ino] {
			return
		}
		u.linked[st.Ino] = true
	}
	u.bytes += st.Blocks * 512
}
