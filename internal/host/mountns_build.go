package host

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// prepareMachine makes the mounts on the machine that the namespace needs.
func (p *mountPlan) prepareMachine() error {
	pins := filepath.Dir(p.Path)
	unlock, err := lockDir(pins) // other nodes come at the same time
	if err != nil {
		return err
	}
	defer unlock()
	if err := makePrivate(pins); err != nil {
		return err
	}
	for _, dir := range p.keep {
		// The directories of all nodes are usually below one mount, so that one
		// unmount hides those of the other nodes, however many there are.
		parent := filepath.Dir(dir)
		below, err := MountsUnder(parent)
		if err != nil {
			return err
		}
		if len(below) == 0 && !slices.Contains(p.cover, parent) {
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

// build makes the namespace on a thread that is in it from then on, and returns
// a file that keeps it alive.
func (p *mountPlan) build() (ns *os.File, err error) {
	err = OnThrowAwayThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := p.arrange(); err != nil {
			return err
		}
		ns, err = os.Open("/proc/thread-self/ns/mnt")
		return err
	})
	return ns, err
}

// arrange turns a copy of the machine's mounts into a node's: what the node is to
// have of them is mounted below its root directory, which then takes the place of
// the machine's.
func (p *mountPlan) arrange() error {
	kept, err := cloneTrees(p.keep)
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
	if err := p.makeSources(); err != nil { // before anything is mounted over them
		return err
	}
	t, err := p.newTree()
	if err != nil {
		return err
	}
	defer t.close()
	for _, step := range []func() error{
		t.showMachine,
		func() error { return p.bindAround(t) },
		func() error { return p.mountKept(t, kept) },
		func() error { return p.bindRest(t) },
		func() error { return t.showFiles(p.missingFiles()) },
		t.become,
	} {
		if err := step(); err != nil {
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

// sign makes the signature, which changes with the configuration, with the files
// that are mounted one by one, and with layoutVersion.
func (p *mountPlan) sign() string {
	text, err := json.Marshal(struct {
		Layout      int
		Config      MountNSConfig
		Cover, Keep []string
		Files       []fileID
	}{layoutVersion, p.MountNSConfig, p.cover, p.keep, p.fileIDs()})
	if err != nil { // strings and lists of them can always be written
		return ownSource
	}
	sum := sha256.Sum256(text)
	return ownSource + "-" + hex.EncodeToString(sum[:8])
}

// layoutVersion is the version of what arrange makes of a configuration.
const layoutVersion = 1

// verify tells whether the namespace shows what the plan says.
func (m *MountNS) verify(p *mountPlan) error {
	here, err := peerGroups(p.keep)
	if err != nil {
		return err
	}
	return m.Do(func() error {
		there, err := peerGroups(p.keep)
		if err != nil {
			return err
		}
		for i, dir := range p.keep {
			if here[i] == "" || here[i] != there[i] {
				return fmt.Errorf("%s is not the machine's any more", dir)
			}
		}
		for _, dir := range p.cover {
			found, err := listMounts(func(m *mountinfo.Info) bool { return m.Mountpoint == dir })
			if err != nil {
				return err
			}
			if len(found) == 0 || found[len(found)-1].Source != p.signature {
				return fmt.Errorf("%s is not covered, or was for something else", dir)
			}
		}
		return nil
	})
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
