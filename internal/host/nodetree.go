package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// nodeTree is a root directory that is being made. Everything is mounted in it by
// descriptors of places that were looked up in it, so that no link leads out.
type nodeTree struct {
	plan *mountPlan
	dir  *os.File
	root *InRoot // of dir
}

func (t *nodeTree) close() error { return t.dir.Close() }

// Directories of the machine's root directory, by what a node has of them. Those
// with programs, libraries and settings can be written to: what is written is the
// node's. What a package manager alone writes to can only be read.
var (
	layeredDirs  = [...]string{"usr", "etc", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}
	readOnlyDirs = [...]string{"boot", "gnu", "nix"}
	kernelDirs   = [...]string{"dev", "proc", "sys"}
)

// showMachine mounts what the node has of the machine.
func (t *nodeTree) showMachine() error {
	for _, name := range layeredDirs {
		if err := t.show(name, t.layer); err != nil {
			return err
		}
	}
	for _, name := range readOnlyDirs {
		err := t.show(name, func(dir string) error { return t.bind(unix.AT_FDCWD, dir, dir, true) })
		if err != nil {
			return err
		}
	}
	for _, name := range kernelDirs {
		dir := "/" + name
		if err := t.bind(unix.AT_FDCWD, dir, dir, false); err != nil {
			return err
		}
	}
	return nil
}

// show has mount show a directory of the machine's root directory, if it is
// there. A link, such as /bin to usr/bin, becomes the node's as well.
func (t *nodeTree) show(name string, mount func(dir string) error) error {
	dir := "/" + name
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return mount(dir)
	}
	to, err := os.Readlink(dir)
	if err != nil {
		return err
	}
	if err := unix.Symlinkat(to, int(t.dir.Fd()), name); err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("make the link %s of the node's own: %w", dir, err)
	}
	return nil
}

// layer mounts a directory of the machine with a layer for the node's changes on
// it.
func (t *nodeTree) layer(dir string) error {
	var st unix.Stat_t
	if err := unix.Stat(dir, &st); err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	upper, err := t.plan.ownDir(filepath.Join(t.plan.Changes, dir))
	if err != nil {
		return err
	}
	defer upper.Close()
	if err := upper.Chmod(os.FileMode(st.Mode).Perm()); err != nil { // the layer's is what is seen
		return err
	}
	work, err := t.newWorkDir(dir)
	if err != nil {
		return err
	}
	defer work.Close()
	mount, err := newMount("overlay", ownSource, map[string]string{
		"lowerdir": dir, "upperdir": FilePath(upper), "workdir": FilePath(work), "index": "off",
	}, "volatile")
	if err != nil {
		return fmt.Errorf("lay the node's changes on %s: overlayfs: %w", dir, err)
	}
	defer mount.Close()
	if err := t.attachAt(mount, dir); err != nil {
		return fmt.Errorf("lay the node's changes on %s: %w", dir, err)
	}
	return t.bindBelow(dir)
}

// newWorkDir makes the directory that overlayfs works in. The last mount has
// marked its own as not to be used again, because volatile mounts do not wait
// for the disk: after a crash of the machine, changes of the last seconds may be
// lost.
func (t *nodeTree) newWorkDir(dir string) (*os.File, error) {
	path := filepath.Join(t.plan.Changes, "work", dir)
	root, name, err := t.plan.ownRoot(path)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.RemoveAll(name); err != nil {
		return nil, err
	}
	return t.plan.ownDir(path)
}

// bindBelow mounts what the machine has mounted below dir, such as a
// resolv.conf, since overlayfs shows one file system alone.
func (t *nodeTree) bindBelow(dir string) error {
	found, err := listMounts(func(m *mountinfo.Info) bool {
		return m.Mountpoint != dir && isUnder(m.Mountpoint, dir) && m.FSType != "autofs"
	})
	if err != nil {
		return err
	}
	bound := map[string]bool{}
	for _, m := range found {
		inner := slices.ContainsFunc(found, func(o *mountinfo.Info) bool {
			return o.Mountpoint != m.Mountpoint && isUnder(m.Mountpoint, o.Mountpoint)
		})
		if inner || bound[m.Mountpoint] {
			continue // it comes with the one that it is below, or on
		}
		bound[m.Mountpoint] = true
		if _, err := t.root.Stat(m.Mountpoint); err != nil {
			continue // hidden on the machine by a later mount, too
		}
		if err := t.bind(unix.AT_FDCWD, m.Mountpoint, m.Mountpoint, true); err != nil {
			return err
		}
	}
	return nil
}

// missingFiles are those of Files that are not in a directory which the node has
// of the machine anyway.
func (p *mountPlan) missingFiles() (missing []string) {
	there := slices.Concat(layeredDirs[:], readOnlyDirs[:], kernelDirs[:])
	for _, file := range p.Files {
		top, _, _ := strings.Cut(strings.TrimPrefix(filepath.Clean(file), "/"), "/")
		if !slices.Contains(there, top) {
			missing = append(missing, file)
		}
	}
	return missing
}

// fileID tells one file of the machine from another.
type fileID struct{ Dev, Ino uint64 }

// fileIDs are those of the files that are mounted one by one: a namespace, for
// example, may be another one of the same name later.
func (p *mountPlan) fileIDs() (ids []fileID) {
	for _, file := range p.missingFiles() {
		var st unix.Stat_t
		if err := unix.Stat(file, &st); err != nil {
			st = unix.Stat_t{} // the mount will say what is wrong
		}
		ids = append(ids, fileID{uint64(st.Dev), st.Ino})
	}
	return ids
}

// showFiles mounts single files of the machine.
func (t *nodeTree) showFiles(files []string) error {
	for _, file := range files {
		if err := t.root.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		f, err := t.root.OpenFile(file, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil {
			return err
		}
		f.Close()
		if err := t.bind(unix.AT_FDCWD, file, file, true); err != nil {
			return err
		}
	}
	return nil
}

// become makes the tree the root directory of the namespace, and takes all other
// mounts out of it.
func (t *nodeTree) become() error {
	if err := unix.Fchdir(int(t.dir.Fd())); err != nil {
		return fmt.Errorf("enter the node's root directory: %w", err)
	}
	// With both at the same place, no directory is needed for the old one: it is
	// mounted over the new one, and is what is unmounted first.
	if err := unix.PivotRoot(".", "."); err != nil {
		return fmt.Errorf("change to the node's root directory: %w", err)
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leave the machine's root directory: %w", err)
	}
	return unix.Chdir("/")
}

// bind mounts a copy of a directory or file, with all that is mounted below it,
// at target in the tree. Nothing at target is made if it is there.
func (t *nodeTree) bind(dirfd int, source, target string, readOnly bool) error {
	mount, err := cloneMount(dirfd, source, unix.AT_RECURSIVE)
	if source == "" {
		source = "a directory of the node's own"
	}
	if err != nil {
		return fmt.Errorf("mount %s at %s of the node: %w", source, target, err)
	}
	defer mount.Close()
	if readOnly {
		attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY}
		if err := unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH|unix.AT_RECURSIVE, attr); err != nil {
			return fmt.Errorf("make %s of the node read-only: %w", target, err)
		}
	}
	if err := t.attachAt(mount, target); err != nil {
		return fmt.Errorf("mount %s at %s of the node: %w", source, target, err)
	}
	return nil
}

// bindOwn is bind with a source in the tree.
func (t *nodeTree) bindOwn(source, target string, readOnly bool) error {
	f, err := t.root.OpenPath(source)
	if err != nil {
		return err
	}
	defer f.Close()
	return t.bind(int(f.Fd()), "", target, readOnly)
}

// attachAt mounts at a path of the tree, which becomes a directory if nothing is
// there.
func (t *nodeTree) attachAt(mount *os.File, path string) error {
	return t.moveTo(int(mount.Fd()), path)
}

func (t *nodeTree) moveTo(mount int, path string) error {
	place, err := t.root.OpenPath(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err = t.root.MkdirAll(path, 0o755); err == nil {
			place, err = t.root.OpenPath(path)
		}
	}
	if err != nil {
		return err
	}
	defer place.Close()
	return moveMount(mount, int(place.Fd()))
}

func attach(mount, place *os.File) error { return moveMount(int(mount.Fd()), int(place.Fd())) }

func moveMount(mount, place int) error {
	return unix.MoveMount(mount, "", place, "", unix.MOVE_MOUNT_F_EMPTY_PATH|unix.MOVE_MOUNT_T_EMPTY_PATH)
}

// cloneMount copies the mount at a path, or of the open file dirfd if path is
// empty. The copy is mounted nowhere.
func cloneMount(dirfd int, path string, flags uint) (*os.File, error) {
	if path == "" {
		flags |= unix.AT_EMPTY_PATH
	}
	fd, err := unix.OpenTree(dirfd, path, flags|unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_NO_AUTOMOUNT)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), path), nil
}

func newTmpfs(source string, options map[string]string) (*os.File, error) {
	return newMount("tmpfs", source, options)
}

// newMount makes a file system with options, and flags that have no value. It is
// mounted nowhere.
func newMount(kind, source string, options map[string]string, flags ...string) (*os.File, error) {
	fd, err := unix.Fsopen(kind, unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	if err := unix.FsconfigSetString(fd, "source", source); err != nil {
		return nil, err
	}
	for key, value := range options {
		if err := unix.FsconfigSetString(fd, key, value); err != nil {
			return nil, fmt.Errorf("option %s: %w", key, explainFsError(fd, err))
		}
	}
	for _, flag := range flags {
		if err := unix.FsconfigSetFlag(fd, flag); err != nil {
			return nil, fmt.Errorf("option %s: %w", flag, explainFsError(fd, err))
		}
	}
	if err := unix.FsconfigCreate(fd); err != nil {
		return nil, explainFsError(fd, err)
	}
	mount, err := unix.Fsmount(fd, unix.FSMOUNT_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(mount), kind), nil
}

// explainFsError adds what the kernel has written about the error to the context
// of a file system.
func explainFsError(fd int, err error) error {
	var message [512]byte
	n, readErr := unix.Read(fd, message[:])
	if readErr != nil || n <= 0 {
		return err
	}
	return fmt.Errorf("%w (%s)", err, strings.TrimSpace(strings.TrimPrefix(string(message[:n]), "e ")))
}
