package oci

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// writableLayer adds up what the container has written to its layer.
func (c *container) writableLayer() *runtimeapi.FilesystemUsage {
	upper := filepath.Join(c.dir, "upper")
	// A part that can't be read is what the container moves about just now, or
	// goes with the container: what was counted is what there is to say.
	usage, _ := diskUsage(upper)
	return &runtimeapi.FilesystemUsage{
		Timestamp: time.Now().UnixNano(), FsId: &runtimeapi.FilesystemIdentifier{Mountpoint: upper},
		UsedBytes: value(usage.bytes), InodesUsed: value(usage.inodes),
	}
}

// treeUsage is what a directory tree takes up on its file system.
type treeUsage struct {
	// bytes are those of the blocks that are in use: a file with holes counts
	// as what is written of it, and one with several names once.
	bytes, inodes uint64
}

// heldLevels bounds how many descriptors one walk holds. Below that a
// directory's parent is opened again by its name "..".
const heldLevels = 64

// level is a directory on the way from the tree's root to where a walk is.
type level struct {
	fd      int // -1 where it is not held
	ino     uint64
	subdirs []string // that are still to be walked
}

// walk counts a tree whose owner may change it meanwhile. No name is followed
// out of the tree: each directory is opened from its parent, without links.
type walk struct {
	usage  treeUsage
	dev    uint64
	linked map[uint64]bool // inodes with several names that were counted
	levels []level
	errs   []error
}

// diskUsage walks over the tree at dir. It returns what it has counted also
// beside an error.
func diskUsage(dir string) (treeUsage, error) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return treeUsage{}, fmt.Errorf("measure %s: %w", dir, err)
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		unix.Close(fd)
		return treeUsage{}, fmt.Errorf("measure %s: %w", dir, err)
	}
	w := &walk{dev: st.Dev, linked: map[uint64]bool{}}
	w.count(&st)
	w.enter(fd, &st)
	for len(w.levels) > 0 {
		top := &w.levels[len(w.levels)-1]
		if len(top.subdirs) == 0 {
			w.leave()
			continue
		}
		name := top.subdirs[len(top.subdirs)-1]
		top.subdirs = top.subdirs[:len(top.subdirs)-1]
		w.descend(top.fd, name)
	}
	if err := errors.Join(w.errs...); err != nil {
		return w.usage, fmt.Errorf("measure %s: %w", dir, err)
	}
	return w.usage, nil
}

func (w *walk) count(st *unix.Stat_t) {
	if st.Mode&unix.S_IFMT != unix.S_IFDIR && st.Nlink > 1 {
		if w.linked[st.Ino] {
			return
		}
		w.linked[st.Ino] = true
	}
	w.usage.inodes++
	w.usage.bytes += uint64(st.Blocks) * 512 // whatever the file system's blocks are, see stat(2)
}

// fail notes an error, unless something has just gone or was replaced.
func (w *walk) fail(err error) {
	if err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.ENOTDIR) && !errors.Is(err, unix.ELOOP) && len(w.errs) < 8 {
		w.errs = append(w.errs, err)
	}
}

// enter takes over an open directory and counts what is in it.
func (w *walk) enter(fd int, st *unix.Stat_t) {
	subdirs := w.scan(fd)
	if n := len(w.levels); n > heldLevels {
		unix.Close(w.levels[n-1].fd)
		w.levels[n-1].fd = -1
	}
	w.levels = append(w.levels, level{fd: fd, ino: st.Ino, subdirs: subdirs})
}

// scan counts the entries of a directory and returns the directories among
// them that are on the tree's file system.
func (w *walk) scan(fd int) (subdirs []string) {
	again, err := unix.Openat(fd, ".", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		w.fail(err)
		return nil
	}
	dir := os.NewFile(uintptr(again), "directory")
	defer dir.Close()
	for {
		names, err := dir.Readdirnames(1024)
		for _, name := range names {
			var st unix.Stat_t
			if err := unix.Fstatat(fd, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
				w.fail(err)
				continue
			}
			w.count(&st)
			if st.Mode&unix.S_IFMT == unix.S_IFDIR && st.Dev == w.dev {
				subdirs = append(subdirs, name)
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				w.fail(err)
			}
			return subdirs
		}
	}
}

func (w *walk) descend(parent int, name string) {
	fd, err := unix.Openat(parent, name, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		w.fail(err)
		return
	}
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil || st.Dev != w.dev {
		w.fail(err)
		unix.Close(fd)
		return
	}
	w.enter(fd, &st)
}

// leave goes back to the parent. Where that is not held and the directory was
// moved to another parent meanwhile, the walk goes on at the lowest level that
// is held.
func (w *walk) leave() {
	n := len(w.levels) - 1
	fd := w.levels[n].fd
	defer unix.Close(fd)
	w.levels = w.levels[:n]
	if n == 0 || w.levels[n-1].fd >= 0 {
		return
	}
	parent, err := unix.Openat(fd, "..", unix.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err == nil {
		var st unix.Stat_t
		if err = unix.Fstat(parent, &st); err == nil && st.Dev == w.dev && st.Ino == w.levels[n-1].ino {
			w.levels[n-1].fd = parent
			return
		}
		unix.Close(parent)
	}
	w.fail(errors.Join(err, errors.New("a directory was moved while it was measured")))
	for len(w.levels) > 0 && w.levels[len(w.levels)-1].fd < 0 {
		w.levels = w.levels[:len(w.levels)-1]
	}
}
