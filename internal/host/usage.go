package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// Bounds of what one measurement keeps.
const (
	// heldLevels is how many directories are open at a time. Below that, a
	// directory's parent is opened again by its name "..".
	heldLevels = 64
	// maxLinkedFiles is how many files of more than one name are remembered in
	// order to count each once.
	maxLinkedFiles = 1 << 20
	// maxWaiting is the memory, in bytes, for directories that have been found
	// and not read yet, and for those on the way to the one that is read.
	maxWaiting = 64 << 20
	// perName and perLevel are what such a directory takes beside its name.
	perName, perLevel = 16, 64
)

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
// mounted below dir is not entered. Directories may be nested more deeply than a
// path can be long. Files that vanish meanwhile do not count. If ctx ends, a
// directory is moved while its contents are measured, or there are more
// directories than a measurement may keep in memory (E2BIG), the sum so far is
// returned with an error.
func DiskUsage(ctx context.Context, dir string) (Usage, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.ENOENT) {
		return Usage{}, nil
	}
	if err != nil {
		return Usage{}, fmt.Errorf("measure %s: %w", dir, err)
	}
	defer unix.Close(root)
	var st unix.Stat_t
	if err := unix.Fstat(root, &st); err != nil {
		return Usage{}, fmt.Errorf("measure %s: %w", dir, err)
	}
	w := &walk{device: st.Dev, linked: map[uint64]bool{}}
	w.add(&st)
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFREG:
		return w.sum, nil
	case unix.S_IFDIR:
		w.descend(ctx, root, ".")
		w.run(ctx)
	default:
		return Usage{}, fmt.Errorf("measure %s: it is neither a directory nor a regular file", dir)
	}
	if err := errors.Join(append(w.errs, ctx.Err())...); err != nil {
		return w.sum, fmt.Errorf("measure %s: %w", dir, err)
	}
	return w.sum, nil
}

// walk is a measurement, or a change of every file of a tree, under way.
type walk struct {
	device uint64
	// visit, if not nil, is called for each file and directory below the root, by
	// its name in the directory at, instead of adding it up.
	visit  func(at int, name string, st *unix.Stat_t) error
	linked map[uint64]bool
	sum    Usage
	// levels lead from the root to the directory that is being read, and
	// waiting is what they take in memory.
	levels  []level
	waiting int
	errs    []error
}

// level is a directory whose entries have been counted.
type level struct {
	fd      int // -1 where it is not held
	ino     uint64
	subdirs []string // that have not been read yet
}

// run reads the directories that wait until there is none, or ctx ends.
func (w *walk) run(ctx context.Context) {
	for len(w.levels) > 0 {
		top := &w.levels[len(w.levels)-1]
		if len(top.subdirs) == 0 || ctx.Err() != nil {
			w.leave(ctx)
			continue
		}
		name := top.subdirs[len(top.subdirs)-1]
		top.subdirs = top.subdirs[:len(top.subdirs)-1]
		w.waiting -= len(name) + perName
		w.descend(ctx, top.fd, name)
	}
}

// descend opens a directory by its name in its parent, and counts its entries.
func (w *walk) descend(ctx context.Context, parent int, name string) {
	fd, err := unix.Openat2(parent, name, &unix.OpenHow{
		Flags:   unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		w.fail(err)
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || !w.keep(perLevel) {
		w.fail(err)
		unix.Close(fd)
		return
	}
	subdirs := w.scan(ctx, fd)
	if n := len(w.levels); n > heldLevels {
		unix.Close(w.levels[n-1].fd)
		w.levels[n-1].fd = -1
	}
	w.levels = append(w.levels, level{fd: fd, ino: st.Ino, subdirs: subdirs})
}

// scan counts the entries of a directory, and returns the directories among
// them that are on the tree's file system.
func (w *walk) scan(ctx context.Context, fd int) (subdirs []string) {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.fail(err)
		return nil
	}
	dir := os.NewFile(uintptr(again), "directory")
	defer dir.Close()
	for ctx.Err() == nil {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil || st.Dev != w.device {
				w.fail(err)
				continue
			}
			if w.visit == nil {
				w.add(&st)
			} else if err := w.visit(fd, name, &st); err != nil {
				w.fail(err)
			}
			if st.Mode&unix.S_IFMT == unix.S_IFDIR && w.keep(len(name)+perName) {
				subdirs = append(subdirs, name)
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.fail(err)
			}
			break
		}
	}
	return subdirs
}

// leave goes back to the parent. If that is not held and the directory has been
// moved elsewhere meanwhile, the walk goes on at the lowest level that is held.
func (w *walk) leave(ctx context.Context) {
	fd := w.drop()
	if fd < 0 {
		return
	}
	defer unix.Close(fd)
	n := len(w.levels)
	if n == 0 || w.levels[n-1].fd >= 0 {
		return
	}
	err := ctx.Err()
	if err == nil {
		if err = w.reopen(fd, &w.levels[n-1]); err == nil {
			return
		}
		w.fail(fmt.Errorf("a directory was moved while it was measured: %w", err))
	}
	for len(w.levels) > 0 && w.levels[len(w.levels)-1].fd < 0 {
		w.drop()
	}
}

// reopen opens the parent of a directory, if that is still the same as before.
func (w *walk) reopen(fd int, parent *level) error {
	up, err := unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st unix.Stat_t
	if err = unix.Fstat(up, &st); err == nil && (st.Dev != w.device || st.Ino != parent.ino) {
		err = unix.ESTALE
	}
	if err != nil {
		unix.Close(up)
		return err
	}
	parent.fd = up
	return nil
}

// drop takes the last level away and returns its descriptor.
func (w *walk) drop() int {
	n := len(w.levels) - 1
	last := w.levels[n]
	for _, name := range last.subdirs {
		w.waiting -= len(name) + perName
	}
	w.waiting -= perLevel
	w.levels[n] = level{}
	w.levels = w.levels[:n]
	return last.fd
}

// keep tells whether there is room for so many bytes more, and takes them.
func (w *walk) keep(bytes int) bool {
	if w.waiting+bytes > maxWaiting {
		w.fail(unix.E2BIG)
		return false
	}
	w.waiting += bytes
	return true
}

// maxErrors bounds how many errors of one measurement are told.
const maxErrors = 8

// fail notes an error, unless something has just gone, was replaced or is a
// mount.
func (w *walk) fail(err error) {
	for _, expected := range []error{nil, unix.ENOENT, unix.ENOTDIR, unix.ELOOP, unix.EXDEV} {
		if errors.Is(err, expected) {
			return
		}
	}
	if len(w.errs) < maxErrors {
		w.errs = append(w.errs, err)
	}
}

func (w *walk) add(st *unix.Stat_t) {
	if st.Nlink > 1 && st.Mode&unix.S_IFMT != unix.S_IFDIR && len(w.linked) < maxLinkedFiles {
		if w.linked[st.Ino] {
			return
		}
		w.linked[st.Ino] = true
	}
	w.sum.Bytes += st.Blocks * 512 // whatever the file system's blocks are, see stat(2)
	w.sum.Inodes++
}
