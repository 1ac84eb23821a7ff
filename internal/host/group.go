package host

import (
	"context"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// Modes that a group gets of what it is to own, as kubelet gives them for a
// Pod's fsGroup: it may read and write, and enter directories, in which new
// files are the group's as well.
const (
	groupFile = 0o660
	groupDir  = unix.S_ISGID | 0o770
)

// OwnByGroup gives dir, a directory that is open, and everything below it to the
// group gid, which may then read and write there. With onlyRoot, nothing is done
// where dir itself is like that already (fsGroupChangePolicy OnRootMismatch). What is
// mounted read-only stays as it is, as kubelets have it.
//
// Containers may change the tree at the same time, and not in good faith: no
// link is followed, and each file is changed as it was opened, whatever its name
// leads to by then. What is mounted below dir is left alone.
func OwnByGroup(ctx context.Context, dir *os.File, gid int, onlyRoot bool) error {
	fd := int(dir.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("give %s to group %d: %w", dir.Name(), gid, err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return fmt.Errorf("give %s to group %d: it is not a directory", dir.Name(), gid)
	}
	var fs unix.Statfs_t
	if err := unix.Fstatfs(fd, &fs); err != nil {
		return fmt.Errorf("give %s to group %d: %w", dir.Name(), gid, err)
	}
	if fs.Flags&unix.ST_RDONLY != 0 {
		return nil
	}
	if onlyRoot && int(st.Gid) == gid && st.Mode&groupDir == groupDir {
		return nil
	}
	w := &walk{device: st.Dev, linked: map[uint64]bool{}}
	w.visit = func(at int, name string, _ *unix.Stat_t) error { return ownByGroup(at, name, gid) }
	w.descend(ctx, fd, ".")
	w.run(ctx)
	// The root comes last: it says that all below it is done.
	err := errors.Join(append(w.errs, ctx.Err())...)
	if err == nil {
		err = changeGroup(fd, gid)
	}
	if err != nil {
		return fmt.Errorf("give %s to group %d: %w", dir.Name(), gid, err)
	}
	return nil
}

// ownByGroup changes one file. It is opened first, so that owner and mode are
// changed of the same one.
func ownByGroup(at int, name string, gid int) error {
	fd, err := unix.Openat2(at, name, &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_NOFOLLOW | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_BENEATH | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_NO_XDEV,
	})
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return changeGroup(fd, gid)
}

func changeGroup(fd, gid int) error {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return err
	}
	if err := unix.Fchownat(fd, "", -1, gid, unix.AT_EMPTY_PATH); err != nil {
		return err
	}
	mode := st.Mode & 0o7777
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFLNK:
		return nil
	case unix.S_IFDIR:
		mode |= groupDir
	default:
		mode |= groupFile
	}
	return unix.Fchmodat(fd, "", mode, unix.AT_EMPTY_PATH)
}
