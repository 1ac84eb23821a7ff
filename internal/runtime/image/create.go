package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path"

	"golang.org/x/sys/unix"
)

// makeRoom removes what an earlier entry has put at this name, but keeps a
// directory if the new entry is one, too. It tells whether something was
// removed, and whether that was a whiteout.
func makeRoom(parent int, base string, forDir bool) (replaced, whiteout bool, err error) {
	var st unix.Stat_t
	err = unix.Fstatat(parent, base, &st, unix.AT_SYMLINK_NOFOLLOW)
	if errors.Is(err, unix.ENOENT) {
		return false, false, nil
	}
	if err != nil {
		return false, false, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFDIR {
		whiteout = st.Mode&unix.S_IFMT == unix.S_IFCHR && st.Rdev == 0
		return true, whiteout, unix.Unlinkat(parent, base, 0)
	}
	if forDir {
		return false, false, nil
	}
	return true, false, os.RemoveAll(procPath(parent, base))
}

func (u *unpacker) create(parent int, base string, hdr *tar.Header, body io.Reader) error {
	mode := uint32(hdr.Mode & 0o7777)
	if hdr.Typeflag != tar.TypeLink { // which has its target's inode
		if err := u.newInode(); err != nil {
			return err
		}
	}
	switch hdr.Typeflag {
	case tar.TypeDir:
		if err := unix.Mkdirat(parent, base, 0o700); err != nil && !errors.Is(err, unix.EEXIST) {
			return err
		}
		return nil
	case tar.TypeReg, tar.TypeRegA, tar.TypeGNUSparse: //nolint:staticcheck // old tars have TypeRegA
		if err := u.space.take(hdr.Size, 0); err != nil {
			return err
		}
		return u.writeFile(parent, base, body)
	case tar.TypeSymlink:
		return unix.Symlinkat(hdr.Linkname, parent, base)
	case tar.TypeLink:
		return u.link(parent, base, hdr.Linkname)
	case tar.TypeChar:
		return unix.Mknodat(parent, base, unix.S_IFCHR|mode, deviceOf(hdr))
	case tar.TypeBlock:
		return unix.Mknodat(parent, base, unix.S_IFBLK|mode, deviceOf(hdr))
	case tar.TypeFifo:
		return unix.Mknodat(parent, base, unix.S_IFIFO|mode, 0)
	}
	return fmt.Errorf("entries of type %q are not known", hdr.Typeflag)
}

// checkHeader refuses numbers that the kernel would cut to fewer bits: what
// should belong to user 4294967296 would belong to root.
func checkHeader(hdr *tar.Header) error {
	for _, id := range []int{hdr.Uid, hdr.Gid} {
		if id < 0 || id >= math.MaxUint32 {
			return fmt.Errorf("its owner %d:%d is no user and group ID, which are numbers from 0 to %d", hdr.Uid, hdr.Gid, int64(math.MaxUint32-1))
		}
	}
	isDevice := hdr.Typeflag == tar.TypeChar || hdr.Typeflag == tar.TypeBlock
	if isDevice && (hdr.Devmajor < 0 || hdr.Devmajor >= 1<<12 || hdr.Devminor < 0 || hdr.Devminor >= 1<<20) {
		return fmt.Errorf("its device number %d:%d is not valid", hdr.Devmajor, hdr.Devminor)
	}
	return nil
}

func deviceOf(hdr *tar.Header) int {
	return int(unix.Mkdev(uint32(hdr.Devmajor), uint32(hdr.Devminor)))
}

func (u *unpacker) writeFile(parent int, base string, body io.Reader) error {
	fd, err := unix.Openat(parent, base, unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), base)
	// Hides ReadFrom, which would allocate a buffer of its own for each file.
	u.tape.begin()
	n, err := io.CopyBuffer(struct{ io.Writer }{f}, body, u.buf)
	u.tape.end(u.name, n)
	u.out.size += n
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// link makes a hard link. The target's own name is not followed if it is a
// symbolic link, and neither may it be a directory.
func (u *unpacker) link(parent int, base, target string) error {
	clean, err := cleanName(target)
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	dir, targetBase := path.Split(u.moved.place(clean))
	from, err := u.openIn(path.Clean(dir))
	if err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	defer unix.Close(from)
	if err := unix.Linkat(from, targetBase, parent, base, 0); err != nil {
		return fmt.Errorf("hard link to %q: %w", target, err)
	}
	return nil
}
