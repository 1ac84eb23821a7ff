package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// MountNSConfig says what a node's mount namespace shows. Paths are absolute.
//
// The node's root directory is a directory of its own. In it are the machine's
// programs, libraries and settings (/usr, /lib, /etc and the like), on which the
// node's changes lie as a layer of their own; the machine's /proc, /sys and /dev;
// and what Keep and Binds name. Nothing else of the machine is there.
type MountNSConfig struct {
	// Name is the node's, for messages.
	Name string
	// Path is the file that the namespace is pinned at, so that it outlives this
	// process. Its directory becomes a private mount, because the kernel lets no
	// such pin propagate: nothing else should be in it.
	Path string
	// Root is the directory that is the node's root directory, and Changes the
	// one for what the node changes in the machine's directories. Both are below
	// one of Keep, and made if missing.
	Root, Changes string
	// Cover are directories that the node finds empty and can't write to, but for
	// Keep.
	Cover []string
	// Keep are directories below those of Cover that the node has at the same
	// paths. They are made if missing, and become mounts of their own, in the
	// machine's namespace too. What either side mounts below them the other one
	// sees.
	Keep []string
	// Binds are further directories of the node, in the order in which they are
	// mounted.
	Binds []Bind
	// Empty are directories below those of Keep that are emptied when the
	// namespace is made for the first time, as after a boot. Whoever may write to
	// /tmp may write to them.
	Empty []string
	// Netns is the node's network namespace, one of Files; empty is the machine's.
	Netns string `json:"-"` // what is shown of it is written anew by each process
	// Files are files of the machine, such as programs and namespaces, that the
	// node has at the same paths. What is in one of the machine's directories that
	// it has is there anyway.
	Files []string
}

// Bind is a directory that appears at another path of the node.
type Bind struct {
	// Source is one of the machine's directories, or, below one of Keep, one of
	// the node's own, which is made if missing.
	Source string
	// Target is made if missing, on the node and not on the machine.
	Target   string
	ReadOnly bool
}

// MountNS is a node's mount namespace: a root directory of its own, with the
// machine's programs. What the machine mounts later appears in /proc, /sys, /dev
// and the sources of Binds where the machine's mounts propagate (those of systemd
// do); what the node and its containers mount does not appear on the machine, but
// for Keep. A nil MountNS is the namespace of this process.
type MountNS struct {
	name string
	ns   *os.File
	root *InRoot
}

// CreateMountNS returns the namespace that is pinned at cfg.Path, from an
// earlier process for example, or makes and pins one. A pinned namespace that
// does not show what cfg says any more is replaced; containers that run in it
// keep the old one.
func CreateMountNS(cfg MountNSConfig) (*MountNS, error) {
	m, err := createMountNS(cfg)
	if err == nil {
		if err = m.beFirst(cfg.Netns); err != nil {
			err = errors.Join(fmt.Errorf("show its namespaces: %w", err), m.Close())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("mount namespace of node %s: %w", cfg.Name, explainMountError(err))
	}
	return m, nil
}

func createMountNS(cfg MountNSConfig) (*MountNS, error) {
	plan, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	if err := plan.prepareMachine(); err != nil {
		return nil, err
	}
	ns, err := openPinned(plan.Path)
	if err != nil {
		return nil, err
	}
	if ns != nil {
		m := &MountNS{name: cfg.Name, ns: ns}
		if m.verify(plan) == nil && m.openRoot() == nil {
			return m, nil
		}
		ns.Close()
		if err := DeleteMountNS(plan.Path); err != nil {
			return nil, err
		}
	} else if err := plan.empty(); err != nil {
		return nil, err
	}
	if ns, err = plan.build(); err != nil {
		return nil, err
	}
	m := &MountNS{name: cfg.Name, ns: ns}
	if err := errors.Join(m.pin(plan.Path), m.openRoot()); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return m, nil
}

// mountPlan is a MountNSConfig whose paths are real, because mounts are known by
// their real paths.
type mountPlan struct {
	MountNSConfig
	// cover and keep are the real paths of Cover and Keep, which are those that
	// others use.
	cover, keep []string
	// signature tells namespaces apart that show different things.
	signature string
}

// complete checks the paths, makes the directories that are missing and resolves
// links on the way to them.
func (cfg MountNSConfig) complete() (*mountPlan, error) {
	p := &mountPlan{MountNSConfig: cfg}
	if cfg.Path == "" || len(cfg.Cover) == 0 || len(cfg.Keep) == 0 {
		return nil, errors.New("Path, Cover and Keep are required")
	}
	resolved := func(dirs []string) (out []string, err error) {
		for _, dir := range dirs {
			if !filepath.IsAbs(dir) {
				return nil, fmt.Errorf("%s is not an absolute path", dir)
			}
			if err := os.MkdirAll(dir, 0o750); err != nil {
				return nil, err
			}
			if dir, err = filepath.EvalSymlinks(dir); err != nil {
				return nil, err
			}
			out = append(out, dir)
		}
		return out, nil
	}
	var err error
	if p.cover, err = resolved(cfg.Cover); err != nil {
		return nil, err
	}
	if p.keep, err = resolved(cfg.Keep); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(filepath.Dir(cfg.Path), 0o700); err != nil {
		return nil, err
	}
	pins, err := filepath.EvalSymlinks(filepath.Dir(cfg.Path))
	if err != nil {
		return nil, err
	}
	p.Path = filepath.Join(pins, filepath.Base(cfg.Path))
	for _, dir := range p.keep {
		if !underAny(dir, p.cover) {
			return nil, fmt.Errorf("%s is to be kept and is not below what is covered: %s", dir, strings.Join(p.cover, ", "))
		}
	}
	for _, dir := range append([]string{cfg.Root, cfg.Changes}, cfg.Empty...) {
		if !underAny(dir, cfg.Keep) {
			return nil, fmt.Errorf("%q is to be the node's own and is not below what is kept: %s", dir, strings.Join(cfg.Keep, ", "))
		}
	}
	for _, b := range cfg.Binds {
		if !filepath.IsAbs(b.Source) || !filepath.IsAbs(b.Target) {
			return nil, fmt.Errorf("%s is to be mounted at %s: both must be absolute paths", b.Source, b.Target)
		}
	}
	p.signature = p.sign()
	return p, nil
}

func underAny(path string, dirs []string) bool {
	for _, dir := range dirs {
		if isUnder(path, dir) {
			return true
		}
	}
	return false
}

// explainMountError adds a remedy to what the kernel says.
func explainMountError(err error) error {
	switch {
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return fmt.Errorf("%w: run Minato as root, and in a container with the capability CAP_SYS_ADMIN", err)
	case errors.Is(err, unix.ENOSPC):
		return fmt.Errorf("%w: the machine has no mount namespace, or no mount, left to give: raise the limits with `sysctl -w user.max_mnt_namespaces=100000 fs.mount-max=1000000`", err)
	case errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("%w: Minato needs Linux 6.6 or later", err)
	}
	return err
}

// Do runs fn on a thread inside the namespace, with the node's root directory as
// root and working directory. Processes that fn starts stay inside for good;
// goroutines that it starts run outside of it. A file that fn opens is the
// node's, also when it is used outside.
func (m *MountNS) Do(fn func() error) error {
	if m == nil {
		return fn()
	}
	return OnThrowAwayThread(func() error {
		// A thread that shares its root directory with others can't change it.
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			return fmt.Errorf("enter mount namespace of node %s: unshare root directory: %w", m.name, err)
		}
		if err := unix.Setns(int(m.ns.Fd()), unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("enter mount namespace of node %s: %w", m.name, err)
		}
		return fn()
	})
}

// Root is the node's root directory. It is usable until Close.
func (m *MountNS) Root() *InRoot {
	if m == nil {
		return nil
	}
	return m.root
}

// PropagationOf is the function of that name, inside the namespace.
func (m *MountNS) PropagationOf(path string) (p Propagation, err error) {
	err = m.Do(func() error {
		p, err = PropagationOf(path)
		return err
	})
	return p, err
}

// BindMount is the function of that name, inside the namespace. A source that
// was opened there is named by its path below /proc/self/fd.
func (m *MountNS) BindMount(source, target string, readOnly bool) error {
	return m.Do(func() error { return BindMount(source, target, readOnly) })
}

// Close gives up the namespace, which stays for as long as it is pinned or has
// processes.
func (m *MountNS) Close() error {
	if m == nil {
		return nil
	}
	return errors.Join(m.ns.Close(), m.root.Close())
}

func (m *MountNS) openRoot() error {
	return m.Do(func() (err error) {
		m.root, err = OpenInRoot("/")
		return err
	})
}

// DeleteMountNS removes the pin of a mount namespace; the kernel ends the
// namespace with its last process. One that is not there is fine.
func DeleteMountNS(path string) error {
	if err := unmountLayers(path); err != nil {
		return fmt.Errorf("delete mount namespace: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("delete mount namespace: %w", err)
	}
	return nil
}

// openPinned opens the mount namespace at path; nil means that there is none.
func openPinned(path string) (*os.File, error) {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	kind, err := unix.IoctlRetInt(int(f.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNS {
		f.Close() // the empty file of one that was not pinned yet
		return nil, nil
	}
	return f, nil
}

// pin mounts the namespace at path.
func (m *MountNS) pin(path string) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o444)
	if err != nil {
		return err
	}
	f.Close()
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", m.ns.Fd()), path, "none", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("pin it at %s: %w", path, err)
	}
	return nil
}
