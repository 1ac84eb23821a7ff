package image

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	whiteoutPrefix = ".wh."
	whiteoutOpaque = ".wh..wh..opq"
	whiteoutAUFS   = ".wh..wh." // AUFS's own bookkeeping, the opaque mark excepted
	opaqueXattr    = "trusted.overlay.opaque"
	xattrPAX       = "SCHILY.xattr."
)

// Bounds on one layer.
const (
	// maxEntries bounds the entries of its archive.
	maxEntries = 4_000_000
	// maxNames bounds the bytes that the names of directories take in memory,
	// each with nameOverhead beside it.
	maxNames     = 256 << 20
	nameOverhead = 64
	// inodeOverhead is what a file takes on the disk beside its content, in
	// bytes.
	inodeOverhead = 4 << 10
)

// unpacked says what unpackTar has made.
type unpacked struct {
	size, inodes int64
	// tarSize is the size of the archive, or 0 where there is no tape of it.
	tarSize int64
	// implicit are directories in which the archive has files, but no entry of
	// their own.
	implicit []string
}

// unpacker writes one layer's tar into a directory that becomes an overlayfs
// lower directory. Every path is resolved inside that directory as if it were
// the root, symbolic links included, so that no entry can reach outside.
type unpacker struct {
	root  int // the directory, as a descriptor
	space *space
	moved moved
	buf   []byte
	tape  *taper // may be nil
	name  string // of the entry, from the layer's root
	out   unpacked
	// names counts the bytes of the names that are remembered until the end.
	names int

	// The directory of the last entry stays open: entries come in runs.
	parent     int
	parentPath string

	dirTimes []dirTime
}

type dirTime struct {
	path  string
	mtime time.Time
}

// moved says where directories really are that the layers below have a
// symbolic link for: "lib" at "usr/lib".
type moved map[string]string

// place returns where a name of the archive belongs.
func (m moved) place(name string) string {
	for range len(m) + 1 { // a moved directory may be below another
		before := name
		for dir, target := range m {
			if rest, ok := strings.CutPrefix(name, dir+"/"); ok {
				name = path.Join(target, rest)
			}
		}
		if name == before {
			break
		}
	}
	return name
}

// unpackTar reads an uncompressed tar stream until its end marker. A small
// stream can stand for any amount of zeros: what does not fit into space is
// refused before it is written.
func unpackTar(ctx context.Context, r io.Reader, dir string, m moved, space *space) (unpacked, error) {
	root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return unpacked{}, fmt.Errorf("open %s: %w", dir, err)
	}
	u := &unpacker{root: root, parent: -1, space: space, moved: m, buf: make([]byte, 128<<10)}
	u.tape, _ = r.(*taper)
	defer u.close()
	tr := tar.NewReader(r)
	for n := 0; ; n++ {
		if err := ctx.Err(); err != nil {
			return unpacked{}, err
		}
		if n == maxEntries {
			return unpacked{}, fmt.Errorf("the layer has more than the limit of %d entries", maxEntries)
		}
		hdr, err := tr.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			return unpacked{}, fmt.Errorf("read layer: %w", err)
		}
		if err := u.entry(hdr, tr); err != nil {
			return unpacked{}, fmt.Errorf("unpack %q: %w", hdr.Name, err)
		}
	}
	return u.out, u.setDirTimes()
}

func (u *unpacker) close() {
	u.forgetParent()
	unix.Close(u.root)
}

func (u *unpacker) forgetParent() {
	if u.parent >= 0 {
		unix.Close(u.parent)
	}
	u.parent = -1
}

func (u *unpacker) entry(hdr *tar.Header, body io.Reader) error {
	if hdr.Typeflag == tar.TypeXGlobalHeader {
		return nil
	}
	name, err := cleanName(hdr.Name)
	if err != nil {
		return err
	}
	if err := checkHeader(hdr); err != nil {
		return err
	}
	if name == "." {
		return u.rootEntry(hdr)
	}
	name = u.moved.place(name)
	if len(name) >= unix.PathMax {
		return fmt.Errorf("its name is longer than the limit of %d bytes", unix.PathMax-1)
	}
	u.name = name
	dir, base := path.Split(name)
	parent, err := u.openParent(path.Clean(dir))
	if err != nil {
		return err
	}
	if rest, ok := strings.CutPrefix(base, whiteoutPrefix); ok {
		return u.whiteout(parent, base, rest)
	}
	replaced, overWhiteout, err := makeRoom(parent, base, hdr.Typeflag == tar.TypeDir)
	if replaced {
		u.tape.lose()
		// It may have been a directory or a link on the way to other entries.
		defer u.forgetParent()
	}
	if err != nil {
		return err
	}
	if err := u.create(parent, base, hdr, body); err != nil {
		return err
	}
	return u.finish(parent, base, name, hdr, overWhiteout)
}

// finish gives what was made its attributes.
func (u *unpacker) finish(parent int, base, name string, hdr *tar.Header, overWhiteout bool) error {
	if hdr.Typeflag == tar.TypeLink {
		return nil // shares everything with its target
	}
	if hdr.Typeflag == tar.TypeDir {
		if overWhiteout {
			if err := setOpaque(parent, base); err != nil {
				return err
			}
		}
		if err := u.remember(name); err != nil {
			return err
		}
		u.dirTimes = append(u.dirTimes, dirTime{name, hdr.ModTime})
	}
	if err := u.space.take(attributesSize(hdr), 0); err != nil {
		return err
	}
	return setAttributes(parent, base, hdr)
}

// remember counts a name that is kept in memory until the layer ends.
func (u *unpacker) remember(name string) error {
	if u.names += len(name) + nameOverhead; u.names > maxNames {
		return fmt.Errorf("the names of the layer's directories take more than the limit of %d bytes", maxNames)
	}
	return nil
}

// newInode counts a file that is about to be made.
func (u *unpacker) newInode() error {
	if err := u.space.take(inodeOverhead, 1); err != nil {
		return err
	}
	u.out.inodes++
	return nil
}

// rootEntry sets the attributes of the layer's root directory.
func (u *unpacker) rootEntry(hdr *tar.Header) error {
	if hdr.Typeflag != tar.TypeDir {
		return errors.New("the layer's root is not a directory")
	}
	if err := u.remember("."); err != nil {
		return err
	}
	u.dirTimes = append(u.dirTimes, dirTime{".", hdr.ModTime})
	return setAttributes(u.root, ".", hdr)
}

// cleanName returns a path below the root, or "." for the root.
func cleanName(name string) (string, error) {
	if strings.IndexByte(name, 0) >= 0 {
		return "", errors.New("the name holds a zero byte")
	}
	clean := path.Clean(strings.TrimLeft(name, "/"))
	if clean == ".." || strings.HasPrefix(clean, "../") {
		return "", errors.New("the name leads out of the layer")
	}
	return clean, nil
}

// openIn opens a path below the root for use with the *at calls.
func (u *unpacker) openIn(dir string) (int, error) {
	how := &unix.OpenHow{
		Flags:   unix.O_PATH | unix.O_DIRECTORY | unix.O_CLOEXEC,
		Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	}
	for {
		// EAGAIN says that something was renamed meanwhile.
		fd, err := unix.Openat2(u.root, dir, how)
		if !errors.Is(err, unix.EAGAIN) && !errors.Is(err, unix.EINTR) {
			return fd, err
		}
	}
}

// openParent returns a descriptor of dir, making directories that are missing.
// The unpacker keeps it and closes it.
func (u *unpacker) openParent(dir string) (int, error) {
	if u.parent >= 0 && u.parentPath == dir {
		return u.parent, nil
	}
	u.forgetParent()
	fd, err := u.openIn(dir)
	if errors.Is(err, unix.ENOENT) {
		fd, err = u.makeParents(dir)
	}
	if err == nil {
		if err = checkDepth(fd); err != nil {
			unix.Close(fd)
		}
	}
	if err != nil {
		return -1, fmt.Errorf("open its directory: %w", err)
	}
	u.parent, u.parentPath = fd, dir
	return fd, nil
}

// checkDepth refuses a directory whose path is longer than a path may be. By way
// of symbolic links an archive could nest directories without end, and whoever
// removes them holds a descriptor for each.
func checkDepth(dir int) error {
	var path [unix.PathMax]byte
	n, err := unix.Readlink(fmt.Sprintf("/proc/self/fd/%d", dir), path[:])
	if errors.Is(err, unix.ENAMETOOLONG) || err == nil && n == len(path) {
		return fmt.Errorf("its directories are nested more deeply than a path of %d bytes can be", unix.PathMax-1)
	}
	return err
}

// makeParents makes dir and what is missing above it. They are implicit: their
// owner and mode come from the layers below.
func (u *unpacker) makeParents(dir string) (int, error) {
	fd, err := u.openIn(".")
	if err != nil {
		return -1, err
	}
	parts := strings.Split(dir, "/")
	for i, part := range parts {
		upTo := strings.Join(parts[:i+1], "/")
		next, err := u.openIn(upTo)
		if errors.Is(err, unix.ENOENT) {
			if err = checkDepth(fd); err == nil {
				err = u.makeImplicit(fd, part, upTo)
			}
			if err == nil {
				next, err = u.openIn(upTo)
			}
		}
		unix.Close(fd)
		if err != nil {
			return -1, err
		}
		fd = next
	}
	return fd, nil
}

// makeImplicit makes a directory that the archive leaves out.
func (u *unpacker) makeImplicit(parent int, base, name string) error {
	if err := u.remember(name); err != nil {
		return err
	}
	if err := u.newInode(); err != nil {
		return err
	}
	if err := unix.Mkdirat(parent, base, 0o755); err != nil {
		return err
	}
	u.out.implicit = append(u.out.implicit, name)
	return nil
}

// whiteout hides a name of the layers below, in overlayfs's way.
func (u *unpacker) whiteout(parent int, base, hidden string) error {
	if base == whiteoutOpaque {
		return setOpaque(parent, ".")
	}
	if strings.HasPrefix(base, whiteoutAUFS) {
		return nil
	}
	if hidden == "" || hidden == "." || hidden == ".." {
		return errors.New("the whiteout names no file")
	}
	if err := u.newInode(); err != nil {
		return err
	}
	err := unix.Mknodat(parent, hidden, unix.S_IFCHR, 0)
	if errors.Is(err, unix.EEXIST) {
		u.out.inodes--
		return nil // this very layer has put something else there
	}
	return err
}

// setDirTimes comes last, since filling a directory changes its time.
func (u *unpacker) setDirTimes() error {
	for _, d := range u.dirTimes {
		dir, base := path.Split(d.path)
		fd, err := u.openIn(path.Clean(dir))
		if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
			continue // a later entry has replaced it
		}
		if err != nil {
			return fmt.Errorf("unpack %q: %w", d.path, err)
		}
		err = setTime(fd, base, d.mtime)
		unix.Close(fd)
		if err != nil && !errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("unpack %q: %w", d.path, err)
		}
	}
	return nil
}
