package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// coverOptions are for a tmpfs that holds a few directories and nothing else.
const coverOptions = "mode=0755,size=64k,nr_inodes=128"

// prepareMachine makes the mounts on the machine that the namespace needs.
func (cfg *MountNSConfig) prepareMachine() error {
	pins := filepath.Dir(cfg.Path)
	unlock, err := lockDir(pins) // other nodes come at the same time
	if err != nil {
		return err
	}
	defer unlock()
	if err := makePrivate(pins); err != nil {
		return err
	}
	for _, dir := range cfg.Keep {
		// The directories of all nodes are usually below one mount, so that one
		// unmount hides those of the other nodes, however many there are.
		parent := filepath.Dir(dir)
		below, err := MountsUnder(parent)
		if err != nil {
			return err
		}
		if len(below) == 0 && !slices.Contains(cfg.Cover, parent) {
			if err := makePrivate(parent); err != nil {
				return err
			}
		}
		if err := makePeerGroup(dir); err != nil {
			return err
		}
	}
	return nil
}

// makePrivate makes dir a mount of its own that does not propagate.
func makePrivate(dir string) error {
	mounted, err := IsMountPoint(dir)
	if err != nil {
		return err
	}
	if !mounted {
		if err := BindMount(dir, dir, false); err != nil {
			return err
		}
	}
	if err := unix.Mount("", dir, "", unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make the mount at %s private: %w", dir, err)
	}
	return nil
}

// makePeerGroup makes dir a shared mount of its own, whose only peer is the
// copy that a node gets: what is mounted below it appears there and nowhere
// else.
func makePeerGroup(dir string) error {
	p, err := PropagationOf(dir)
	if err != nil || p.Point == dir && p.Shared && !p.Slave {
		return err
	}
	if err := BindMount(dir, dir, false); err != nil {
		return err
	}
	// Private first, so that the mount leaves the peer groups of the machine's
	// mounts.
	for _, flag := range []uintptr{unix.MS_PRIVATE, unix.MS_SHARED} {
		if err := unix.Mount("", dir, "", flag|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("share mounts below %s: %w", dir, err)
		}
	}
	return nil
}

// buildMountNS makes the namespace on a thread that is in it from then on, and
// returns a file that keeps it alive.
func buildMountNS(cfg MountNSConfig) (ns *os.File, err error) {
	err = OnThrowAwayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := arrange(cfg); err != nil {
			return err
		}
		ns, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
	return ns, err
}

// arrange turns a copy of the machine's mounts into a node's.
func arrange(cfg MountNSConfig) error {
	kept, err := cloneTrees(cfg.Keep)
	defer func() {
		for _, fd := range kept {
			unix.Close(fd)
		}
	}()
	if err != nil {
		return err
	}
	// From here on, mounts that are made here do not propagate to the machine.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
		return fmt.Errorf("separate its mounts from the machine's: %w", err)
	}
	for _, dir := range cfg.Cover {
		if err := coverAll(dir); err != nil {
			return err
		}
	}
	for i, dir := range cfg.Keep {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.MoveMount(kept[i], "", unix.AT_FDCWD, dir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for _, dir := range cfg.Cover {
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, coverOptions); err != nil {
			return fmt.Errorf("make the cover of %s read-only: %w", dir, err)
		}
	}
	for _, dir := range cfg.Own {
		if err := mountOwn(cfg.OwnDir, dir); err != nil {
			return err
		}
	}
	// What containers of the node mount propagates to other containers of the
	// node.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share its mounts among containers: %w", err)
	}
	return nil
}

// cloneTrees copies mounts with all that is mounted below them. The copies are
// peers of the originals, and mounted nowhere.
func cloneTrees(dirs []string) (fds []int, err error) {
	for _, dir := range dirs {
		fd, err := unix.OpenTree(unix.AT_FDCWD, dir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
		if err != nil {
			return fds, fmt.Errorf("copy the mounts below %s: %w", dir, err)
		}
		fds = append(fds, fd)
	}
	return fds, nil
}

// coverAll covers a directory, and every other place where a mount of the same
// file system shows it.
func coverAll(dir string) error {
	hidden, err := fileOf(dir)
	if err != nil {
		return err
	}
	places, err := placesOf(dir)
	if err != nil {
		return err
	}
	for _, place := range append(places, dir) {
		if file, err := fileOf(place); err != nil || file != hidden {
			continue // something else is mounted over it
		}
		if err := unmountBelow(place); err != nil {
			return err
		}
		if err := unix.Mount(ownSource, place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, coverOptions); err != nil {
			return fmt.Errorf("cover %s: %w", place, err)
		}
		if place == dir {
			continue
		}
		if err := unix.Mount("", place, "", unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, coverOptions); err != nil {
			return fmt.Errorf("make the cover of %s read-only: %w", place, err)
		}
	}
	return nil
}

// fileID tells one file of the machine from another.
type fileID struct{ dev, ino uint64 }

func fileOf(path string) (fileID, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return fileID{}, &os.PathError{Op: "stat", Path: path, Err: err}
	}
	return fileID{dev: uint64(st.Dev), ino: st.Ino}, nil
}

// placesOf lists where else a directory can be seen: in mounts of the same file
// system that begin at or above it. Mounts of a part of it are unmounted.
func placesOf(dir string) ([]string, error) {
	var st unix.Statx_t
	if err := unix.Statx(unix.AT_FDCWD, dir, 0, unix.STATX_MNT_ID, &st); err != nil {
		return nil, &os.PathError{Op: "statx", Path: dir, Err: err}
	}
	all, err := listMounts(func(*mountinfo.Info) bool { return true })
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(all, func(m *mountinfo.Info) bool { return uint64(m.ID) == st.Mnt_id })
	if i < 0 {
		return nil, fmt.Errorf("the mount that %s is on is not listed", dir)
	}
	on := all[i]
	rel, err := filepath.Rel(on.Mountpoint, dir)
	if err != nil {
		return nil, err
	}
	within := filepath.Join(on.Root, rel) // its path in the file system
	var places []string
	for _, m := range all {
		switch {
		case m.ID == on.ID || m.Major != on.Major || m.Minor != on.Minor || isUnder(m.Mountpoint, dir):
		case isUnder(within, m.Root):
			places = append(places, filepath.Join(m.Mountpoint, strings.TrimPrefix(within, m.Root)))
		case isUnder(m.Root, within):
			if err := unmountLayers(m.Mountpoint); err != nil {
				return nil, err
			}
		}
	}
	return places, nil
}

// unmountBelow unmounts everything below dir, so that nothing keeps it alive,
// but not what is mounted at dir itself, which may be the disk it is on.
func unmountBelow(dir string) error {
	for {
		points, err := MountsUnder(dir)
		if err != nil {
			return err
		}
		points = slices.DeleteFunc(points, func(p string) bool { return p == dir })
		progress := false
		for _, point := range points {
			outermost := !slices.ContainsFunc(points, func(p string) bool { return p != point && isUnder(point, p) })
			if !outermost {
				continue // it goes with the one that it is below
			}
			switch err := unix.Unmount(point, unix.MNT_DETACH); {
			case err == nil:
				progress = true
			case !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT):
				return fmt.Errorf("unmount %s: %w", point, err)
			}
		}
		if !progress {
			return nil // what is left is hidden by a mount at dir itself
		}
	}
}

// mountOwn mounts a directory of the node's at dir. It is made below ownDir,
// where containers may have written in an earlier life of the node, so no link
// is followed out of that.
func mountOwn(ownDir, dir string) error {
	var st unix.Stat_t
	err := unix.Stat(dir, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || err == nil && st.Mode&unix.S_IFMT != unix.S_IFDIR {
		return nil // nothing to mount it on, and the machine's disk is not written to
	}
	if err != nil {
		return &os.PathError{Op: "stat", Path: dir, Err: err}
	}
	if err := os.MkdirAll(ownDir, 0o700); err != nil {
		return err
	}
	root, err := os.OpenRoot(ownDir)
	if err != nil {
		return err
	}
	defer root.Close()
	name := strings.TrimPrefix(filepath.Clean(dir), "/")
	if err := root.MkdirAll(name, 0o755); err != nil {
		return fmt.Errorf("make %s of the node's own: %w", dir, err)
	}
	own, err := root.Open(name)
	if err != nil {
		return fmt.Errorf("make %s of the node's own: %w", dir, err)
	}
	defer own.Close()
	if err := unix.Fchmod(int(own.Fd()), st.Mode&0o7777); err != nil {
		return fmt.Errorf("make %s of the node's own: %w", dir, err)
	}
	return BindMount(fmt.Sprintf("/proc/self/fd/%d", own.Fd()), dir, false)
}

// verify tells whether the namespace shows what cfg says.
func (m *MountNS) verify(cfg MountNSConfig) error {
	here, err := peerGroups(cfg.Keep)
	if err != nil {
		return err
	}
	return m.Do(func() error {
		there, err := peerGroups(cfg.Keep)
		if err != nil {
			return err
		}
		for i, dir := range cfg.Keep {
			if here[i] == "" || here[i] != there[i] {
				return fmt.Errorf("%s is not the machine's any more", dir)
			}
		}
		for _, dir := range cfg.Cover {
			found, err := listMounts(func(m *mountinfo.Info) bool { return m.Mountpoint == dir })
			if err != nil {
				return err
			}
			if len(found) == 0 || found[len(found)-1].Source != ownSource {
				return fmt.Errorf("%s is not covered", dir)
			}
		}
		for _, dir := range cfg.Own {
			if err := verifyOwn(cfg.OwnDir, dir); err != nil {
				return err
			}
		}
		return nil
	})
}

// verifyOwn tells whether the node's own directory is mounted at dir.
func verifyOwn(ownDir, dir string) error {
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return nil
	}
	found, err := listMounts(func(m *mountinfo.Info) bool { return m.Mountpoint == filepath.Clean(dir) })
	if err != nil {
		return err
	}
	if len(found) == 0 || !strings.HasSuffix(found[len(found)-1].Root, filepath.Join("/", filepath.Base(ownDir), dir)) {
		return fmt.Errorf("%s is not the node's own", dir)
	}
	return nil
}

// peerGroups returns the kernel's names, such as "shared:7", of the groups of
// the mounts at dirs; "" where no shared one is.
func peerGroups(dirs []string) ([]string, error) {
	groups := make([]string, len(dirs))
	found, err := listMounts(func(m *mountinfo.Info) bool { return slices.Contains(dirs, m.Mountpoint) })
	if err != nil {
		return nil, err
	}
	for _, m := range found {
		group := ""
		for field := range strings.FieldsSeq(m.Optional) {
			if strings.HasPrefix(field, "shared:") {
				group = field
			}
		}
		groups[slices.Index(dirs, m.Mountpoint)] = group
	}
	return groups, nil
}
