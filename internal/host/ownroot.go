package host

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// ownDir opens a directory of the node's own and makes what is missing of it.
// Containers may have written there in an earlier life of the node, so no link is
// followed out of the directory that is kept for the node.
func (p *mountPlan) ownDir(dir string) (*os.File, error) {
	root, name, err := p.ownRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	if err := root.MkdirAll(name, 0o755); err != nil {
		return nil, fmt.Errorf("make %s of the node's own: %w", dir, err)
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, fmt.Errorf("open %s of the node's own: %w", dir, err)
	}
	return f, nil
}

// ownRoot opens the kept directory that dir is below, and returns dir's path in
// it.
func (p *mountPlan) ownRoot(dir string) (*os.Root, string, error) {
	for _, keep := range p.Keep {
		if !isUnder(dir, keep) {
			continue
		}
		name, err := filepath.Rel(keep, dir)
		if err != nil {
			return nil, "", err
		}
		root, err := os.OpenRoot(keep)
		return root, name, err
	}
	return nil, "", fmt.Errorf("%s is not below what is kept: %s", dir, strings.Join(p.Keep, ", "))
}

// empty removes what a node does not find any more after a boot.
func (p *mountPlan) empty() error {
	for _, dir := range p.Empty {
		root, name, err := p.ownRoot(dir)
		if err != nil {
			return err
		}
		if err := errors.Join(root.RemoveAll(name), root.Close()); err != nil {
			return fmt.Errorf("empty %s of the node's own: %w", dir, err)
		}
	}
	return nil
}

// rootDirs are the directories that a node's root directory has from the start,
// beside those that something is mounted on.
var rootDirs = [...]struct {
	path string
	mode fs.FileMode
}{
	{"home", 0o755}, {"media", 0o755}, {"mnt", 0o755}, {"opt", 0o755}, {"root", 0o700}, {"run", 0o755}, {"srv", 0o755},
	{"tmp", fs.ModeSticky | 0o777}, {"var/lib", 0o755}, {"var/log", 0o755}, {"var/tmp", fs.ModeSticky | 0o777},
	{"var/lib/kubelet/device-plugins", 0o755}, {"var/lib/kubelet/plugins", 0o755}, {"var/lib/kubelet/plugins_registry", 0o755},
}

// newTree mounts the node's root directory, on itself for now.
func (p *mountPlan) newTree() (*nodeTree, error) {
	dir, err := p.ownDir(p.Root)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	if err := dir.Chmod(0o755); err != nil { // it is what everybody sees as /
		return nil, err
	}
	root, err := os.OpenRoot(FilePath(dir))
	if err != nil {
		return nil, err
	}
	defer root.Close()
	for _, d := range rootDirs {
		if _, err := root.Lstat(d.path); !errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err := errors.Join(root.MkdirAll(d.path, 0o755), root.Chmod(d.path, d.mode)); err != nil {
			return nil, fmt.Errorf("make /%s of the node's own: %w", d.path, err)
		}
	}
	if err := root.Symlink("../run", "var/run"); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("make /var/run of the node's own: %w", err)
	}
	mount, err := cloneMount(int(dir.Fd()), "", 0)
	if err != nil {
		return nil, fmt.Errorf("mount the node's root directory: %w", err)
	}
	// What the machine mounts below this directory is the machine's affair.
	err = unix.MountSetattr(int(mount.Fd()), "", unix.AT_EMPTY_PATH, &unix.MountAttr{Propagation: unix.MS_PRIVATE})
	if err == nil {
		err = attach(mount, dir)
	}
	if err != nil {
		mount.Close()
		return nil, fmt.Errorf("mount the node's root directory: %w", err)
	}
	return &nodeTree{plan: p, dir: mount, root: &InRoot{mount}}, nil
}

// mountKept mounts what the node has of the covered directories, which are
// otherwise empty.
func (p *mountPlan) mountKept(t *nodeTree, kept []int) error {
	for i, dir := range p.cover {
		cover, err := newTmpfs(p.signature, map[string]string{"mode": "0755", "size": "64k", "nr_inodes": "128"})
		if err != nil {
			return fmt.Errorf("cover %s: %w", dir, err)
		}
		defer cover.Close()
		if err := t.attachAt(cover, dir); err != nil {
			return fmt.Errorf("cover %s: %w", dir, err)
		}
		for j, keep := range p.keep {
			if !isUnder(keep, dir) {
				continue
			}
			if err := t.moveTo(kept[j], keep); err != nil {
				return fmt.Errorf("mount %s: %w", keep, err)
			}
		}
		attr := &unix.MountAttr{Attr_set: unix.MOUNT_ATTR_RDONLY | unix.MOUNT_ATTR_NOSUID | unix.MOUNT_ATTR_NODEV | unix.MOUNT_ATTR_NOEXEC}
		if err := unix.MountSetattr(int(cover.Fd()), "", unix.AT_EMPTY_PATH, attr); err != nil {
			return fmt.Errorf("make the cover of %s read-only: %w", dir, err)
		}
		if given := filepath.Clean(p.Cover[i]); given != dir {
			// There is a link on the way to it on the machine, and none on the node.
			if err := t.bindOwn(dir, given, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// makeSources makes the directories of the node's own that Binds names.
func (p *mountPlan) makeSources() error {
	for _, b := range p.Binds {
		if !underAny(b.Source, p.Keep) {
			continue
		}
		f, err := p.ownDir(b.Source)
		if err != nil {
			return err
		}
		f.Close()
	}
	return nil
}

// bindAround mounts those of Binds that are around what is covered, such as /run.
func (p *mountPlan) bindAround(t *nodeTree) error {
	for _, b := range p.Binds {
		if !p.isAround(b.Target) {
			continue
		}
		own, err := p.ownDir(b.Source)
		if err != nil {
			return err
		}
		err = t.bind(int(own.Fd()), "", b.Target, b.ReadOnly)
		own.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

func (p *mountPlan) isAround(target string) bool {
	return slices.ContainsFunc(p.cover, func(dir string) bool { return isUnder(dir, target) })
}

// bindRest mounts the others.
func (p *mountPlan) bindRest(t *nodeTree) error {
	for _, b := range p.Binds {
		var err error
		switch {
		case p.isAround(b.Target):
			continue
		case underAny(b.Source, p.Keep):
			// Through the node's own mount of it, whose peer is the machine's, so
			// that each sees here, too, what the other mounts.
			err = t.bindOwn(b.Source, b.Target, b.ReadOnly)
		default:
			err = t.bind(unix.AT_FDCWD, b.Source, b.Target, b.ReadOnly)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
