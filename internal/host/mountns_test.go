package host

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// mountTest is a directory of the machine on a tmpfs, in which "secret" is covered
// but for "secret/nodes/NODE". Nodes have "shared", too.
type mountTest struct {
	t    *testing.T
	base string
}

func newMountTest(t *testing.T) *mountTest {
	t.Helper()
	requireRoot(t)
	base := t.TempDir()
	if err := MountTmpfs(base, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := UnmountAllUnder(base); err != nil {
			t.Error(err)
		}
		if left, err := MountsUnder(base); err != nil || len(left) > 0 {
			t.Errorf("still mounted: %q, %v", left, err)
		}
	})
	if err := unix.Mount("", base, "", unix.MS_PRIVATE, ""); err != nil { // the machine's mounts may be shared or not
		t.Fatal(err)
	}
	m := &mountTest{t, base}
	for _, dir := range []string{"secret/pki", "shared", "private", "etc"} {
		m.mkdir(dir)
	}
	m.write("secret/pki/key", "key")
	m.write("etc/hosts", "hosts")
	if err := ShareMounts(m.path("shared")); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *mountTest) path(name string) string { return filepath.Join(m.base, name) }

func (m *mountTest) mkdir(name string) string {
	m.t.Helper()
	if err := os.MkdirAll(m.path(name), 0o755); err != nil {
		m.t.Fatal(err)
	}
	return m.path(name)
}

func (m *mountTest) write(name, text string) {
	m.t.Helper()
	if err := os.WriteFile(m.path(name), []byte(text), 0o644); err != nil {
		m.t.Fatal(err)
	}
}

// mount mounts a tmpfs with a file in it.
func (m *mountTest) mount(name string) error {
	if err := os.MkdirAll(m.path(name), 0o755); err != nil {
		return err
	}
	if err := MountTmpfs(m.path(name), "size=64k"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(m.path(name), "mounted"), nil, 0o644)
}

func (m *mountTest) mounted(name string) bool {
	_, err := os.Stat(filepath.Join(m.path(name), "mounted"))
	return err == nil
}

func (m *mountTest) config(node string) MountNSConfig {
	own := m.path("secret/nodes/" + node)
	return MountNSConfig{
		Name: node, Path: m.path("secret/mntns/" + node), Root: filepath.Join(own, "root"), Changes: filepath.Join(own, "changes"),
		Cover: []string{m.path("secret")}, Keep: []string{own}, Empty: []string{filepath.Join(own, "root/tmp")},
		Binds: []Bind{{Source: m.path("shared"), Target: m.path("shared")}},
	}
}

func (m *mountTest) create(cfg MountNSConfig) *MountNS {
	m.t.Helper()
	ns, err := CreateMountNS(cfg)
	if err != nil {
		m.t.Fatal(err)
	}
	m.t.Cleanup(func() { ns.Close() })
	return ns
}

// inside runs fn in the namespace and reports the errors that it returns.
func (m *mountTest) inside(ns *MountNS, fn func() error) {
	m.t.Helper()
	if err := ns.Do(fn); err != nil {
		m.t.Error(err)
	}
}

func names(dir string) []string {
	var out []string
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestMountNSCovers(t *testing.T) {
	m := newMountTest(t)
	// Other ways to the same files.
	if err := BindMount(m.base, m.mkdir("private/all"), false); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.path("secret"), m.path("shared/link")); err != nil {
		t.Fatal(err)
	}
	if err := m.mount("secret/nodes/two/mount"); err != nil {
		t.Fatal(err)
	}
	ns := m.create(m.config("one"))
	m.write("secret/nodes/one/file", "")
	for _, path := range []string{"secret/pki", "secret/pki/key", "secret/mntns", "secret/nodes/two", "shared/link/pki", "private/all", "etc/hosts"} {
		m.inside(ns, func() error {
			if _, err := os.Stat(m.path(path)); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the node sees %s: %v", path, err)
			}
			return nil
		})
		if _, err := ns.Root().Stat(m.path(path)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the node sees %s from its root: %v", path, err)
		}
	}
	m.inside(ns, func() error {
		if got := names(m.path("secret/nodes")); !slices.Equal(got, []string{"one"}) || len(names(m.path("secret"))) != 1 {
			t.Errorf("the cover holds %q, %q", names(m.path("secret")), got)
		}
		if err := os.WriteFile(m.path("secret/x"), nil, 0o644); !errors.Is(err, unix.EROFS) {
			t.Errorf("the cover can be written to: %v", err)
		}
		if _, err := os.Stat(m.path("secret/nodes/one/file")); err != nil {
			t.Errorf("the node's own directory: %v", err)
		}
		return os.WriteFile(m.path("secret/nodes/one/from-node"), nil, 0o644)
	})
	if _, err := os.Stat(m.path("secret/nodes/one/from-node")); err != nil {
		t.Errorf("the machine does not see the node's own file: %v", err)
	}
	if got, err := ns.Root().EvalSymlinks(m.path("shared/link/nodes/one")); err != nil || got != m.path("secret/nodes/one") {
		t.Errorf("EvalSymlinks = %s, %v", got, err)
	}
	if _, err := ns.Root().Stat("/proc/1/root" + m.path("secret/pki")); err == nil {
		t.Error("/proc leads out of the node")
	}
	if data, err := os.ReadFile(m.path("secret/pki/key")); string(data) != "key" {
		t.Errorf("the machine's own view: %q, %v", data, err)
	}
}

func TestMountNSPropagates(t *testing.T) {
	m := newMountTest(t)
	one, two := m.create(m.config("one")), m.create(m.config("two"))
	for _, name := range []string{"secret/nodes/one/server", "shared/server"} {
		if err := m.mount(name); err != nil {
			t.Fatal(err)
		}
		m.inside(one, func() error {
			if !m.mounted(name) {
				t.Errorf("the node does not see what the machine mounts at %s", name)
			}
			return nil
		})
	}
	m.inside(one, func() error {
		return errors.Join(m.mount("secret/nodes/one/node"), m.mount("shared/node"), m.mount("private/node"))
	})
	for name, want := range map[string]bool{"secret/nodes/one/node": true, "shared/node": false, "private/node": false} {
		if got := m.mounted(name); got != want {
			t.Errorf("the machine sees %s: %t, want %t", name, got, want)
		}
		m.inside(one, func() error {
			if !m.mounted(name) {
				t.Errorf("the node does not see its own %s", name)
			}
			if p, err := PropagationOf(m.path(name)); err != nil || !p.Shared {
				t.Errorf("%s: %+v, %v, want a shared mount", name, p, err)
			}
			return nil
		})
		m.inside(two, func() error {
			if m.mounted(name) {
				t.Errorf("the other node sees %s", name)
			}
			return nil
		})
	}
	if p, err := one.PropagationOf(m.path("private")); err != nil || !p.Shared {
		t.Errorf("private on the node: %+v, %v, want it shared among its containers", p, err)
	}
	// Whichever side unmounts it, it is gone on both.
	if err := UnmountAllUnder(m.path("secret/nodes/one")); err != nil {
		t.Fatal(err)
	}
	m.inside(one, func() error {
		if m.mounted("secret/nodes/one/node") || m.mounted("secret/nodes/one/server") {
			t.Error("the node keeps what the machine has unmounted")
		}
		return nil
	})
}

// process starts cat in the namespace, which reads until close.
func (m *mountTest) process(ns *MountNS) (path func(string) string, end func()) {
	m.t.Helper()
	cmd := exec.Command("cat")
	in, err := cmd.StdinPipe()
	if err != nil {
		m.t.Fatal(err)
	}
	if err := ns.Do(cmd.Start); err != nil {
		m.t.Fatal(err)
	}
	root := fmt.Sprintf("/proc/%d/root", cmd.Process.Pid)
	return func(name string) string { return filepath.Join(root, m.path(name)) }, func() {
		in.Close()
		cmd.Wait()
	}
}

func nsInode(t *testing.T, ns *MountNS) uint64 {
	t.Helper()
	info, err := ns.ns.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

func TestMountNSIsAdopted(t *testing.T) {
	m := newMountTest(t)
	cfg := m.config("one")
	first := m.create(cfg)
	path, end := m.process(first)
	defer end()
	if _, err := os.Stat(path("secret/pki")); !os.IsNotExist(err) {
		t.Errorf("a process of the node sees the keys: %v", err)
	}
	inode := nsInode(t, first)
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := m.create(cfg)
	if got := nsInode(t, second); got != inode {
		t.Errorf("namespace %d, want the pinned one, %d", got, inode)
	}
	if err := m.mount("secret/nodes/one/later"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path("secret/nodes/one/later/mounted")); err != nil {
		t.Errorf("the process does not see what the second server mounts: %v", err)
	}

	// A namespace whose mounts are no peers of the machine's any more is
	// replaced.
	second.Close()
	if err := UnmountAllUnder(m.path("secret/nodes/one")); err != nil {
		t.Fatal(err)
	}
	third := m.create(cfg)
	if got := nsInode(t, third); got == inode {
		t.Error("the namespace is kept, and sees nothing that the server mounts")
	}
	if err := m.mount("secret/nodes/one/again"); err != nil {
		t.Fatal(err)
	}
	m.inside(third, func() error {
		if !m.mounted("secret/nodes/one/again") {
			t.Error("the new namespace does not see what the server mounts")
		}
		return nil
	})
	third.Close()
	for range 2 { // twice is fine
		if err := DeleteMountNS(cfg.Path); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Lstat(cfg.Path); !os.IsNotExist(err) {
		t.Errorf("the pin's file is still there: %v", err)
	}
}

// Namespaces of several nodes are made at the same time, and each node finds
// its own again.
func TestMountNSOfManyNodes(t *testing.T) {
	m := newMountTest(t)
	if err := os.Rename(m.path("secret"), m.path("moved")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(m.path("moved"), m.path("secret")); err != nil { // to a larger disk
		t.Fatal(err)
	}
	const nodes = 8
	var found [2][nodes]uint64
	for round := range found {
		var wg sync.WaitGroup
		for i := range nodes {
			wg.Go(func() {
				ns, err := CreateMountNS(m.config(fmt.Sprint("node-", i)))
				if err != nil {
					t.Error(err)
					return
				}
				defer ns.Close()
				found[round][i] = nsInode(t, ns)
				err = ns.Do(func() error {
					if got := names(m.path("secret/nodes")); len(got) != 1 || got[0] != fmt.Sprint("node-", i) {
						t.Errorf("node %d sees the directories of %q", i, got)
					}
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	if found[0] != found[1] {
		t.Errorf("namespaces %d, the second time %d", found[0], found[1])
	}
}

func (m *mountTest) read(ns *MountNS, path string) (text string, err error) {
	m.inside(ns, func() error {
		var data []byte
		data, err = os.ReadFile(path)
		text = string(data)
		return nil
	})
	return text, err
}

// A node has the machine's programs and settings. Whatever it writes, and
// wherever, is its own, and is there the next time too.
func TestMountNSHasItsOwnFiles(t *testing.T) {
	m := newMountTest(t)
	cfg := m.config("one")
	one, two := m.create(cfg), m.create(m.config("two"))
	machines, err := os.ReadFile("/etc/passwd")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := m.read(one, "/etc/passwd"); err != nil || got != string(machines) {
		t.Errorf("the node's /etc/passwd has %d bytes, the machine's %d: %v", len(got), len(machines), err)
	}
	name := "minato-" + filepath.Base(filepath.Dir(m.base))
	places := []string{"/", "/etc", "/usr", "/usr/lib", "/var/lib", "/opt", "/mnt", "/srv", "/run", "/var/run", "/tmp", "/var/lib/kubelet/plugins_registry"}
	for _, dir := range places {
		path := filepath.Join(dir, name)
		m.inside(one, func() error { return os.WriteFile(path, []byte("one"), 0o644) })
		if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
			os.Remove(path)
			t.Errorf("the machine has %s, which the node wrote: %v", path, err)
		}
		if _, err := m.read(two, path); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the other node has %s: %v", path, err)
		}
	}
	m.inside(one, func() error { return os.Remove("/etc/passwd") })
	if _, err := os.Stat("/etc/passwd"); err != nil {
		t.Fatalf("the machine's file is gone: %v", err)
	}
	for path, want := range map[string]fs.FileMode{"/": 0o755, "/tmp": fs.ModeSticky | 0o777, "/etc": 0o755, "/root": 0o700, "/var/log": 0o755} {
		if info, err := one.Root().Stat(path); err != nil || info.Mode() != fs.ModeDir|want {
			t.Errorf("%s has mode %v, want %v (%v)", path, info.Mode(), want, err)
		}
	}
	m.inside(one, func() error {
		mounts, err := listMounts(func(m *mountinfo.Info) bool { return m.Mountpoint == "/" })
		if err == nil && len(mounts) != 1 {
			err = fmt.Errorf("%d mounts at /: the machine's root directory is still there", len(mounts))
		}
		return err
	})

	// The next server finds it as it was, the next boot without what was in /tmp.
	if again := m.create(cfg); nsInode(t, again) != nsInode(t, one) {
		t.Error("the namespace was not adopted")
	} else if _, err := m.read(again, "/tmp/"+name); err != nil {
		t.Errorf("/tmp was emptied while the node ran: %v", err)
	}
	if err := DeleteMountNS(cfg.Path); err != nil {
		t.Fatal(err)
	}
	booted := m.create(cfg)
	for _, dir := range places {
		text, err := m.read(booted, filepath.Join(dir, name))
		if dir == "/tmp" {
			if !errors.Is(err, os.ErrNotExist) {
				t.Errorf("/tmp has what it had before the boot: %v", err)
			}
		} else if text != "one" {
			t.Errorf("%s/%s = %q, %v", dir, name, text, err)
		}
	}
	if _, err := m.read(booted, "/etc/passwd"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file that the node removed is back: %v", err)
	}
}

func TestMountNSBinds(t *testing.T) {
	m := newMountTest(t)
	own := m.path("secret/nodes/one")
	m.mkdir("data/sub")
	m.write("data/file", "data")
	if err := m.mount("data/sub"); err != nil {
		t.Fatal(err)
	}
	program := m.path("program")
	m.write("program", "#!")
	cfg := m.config("one")
	cfg.Files = []string{program, "/etc/passwd"}
	cfg.Binds = []Bind{
		{Source: m.path("data"), Target: "/srv/data", ReadOnly: true},
		{Source: filepath.Join(own, "log/pods"), Target: "/var/log/pods"},
		{Source: filepath.Join(own, "run"), Target: m.base}, // around what is covered
		{Source: filepath.Join(own, "root/etc/kubernetes"), Target: "/etc/kubernetes"},
	}
	ns := m.create(cfg)
	m.write("secret/nodes/one/log/pods/file", "log")
	m.write("secret/nodes/one/run/file", "run")
	m.write("secret/nodes/one/root/etc/kubernetes/file", "kubernetes")
	for path, want := range map[string]string{
		"/srv/data/file": "data", "/srv/data/sub/mounted": "", "/var/log/pods/file": "log", m.path("file"): "run",
		"/etc/kubernetes/file": "kubernetes", m.path("secret/nodes/one/run/file"): "run", program: "#!",
	} {
		if got, err := m.read(ns, path); err != nil || got != want {
			t.Errorf("%s = %q, %v, want %q", path, got, err, want)
		}
	}
	for _, dir := range []string{"/srv/data", "/srv/data/sub"} {
		m.inside(ns, func() error {
			if err := os.WriteFile(dir+"/x", nil, 0o644); !errors.Is(err, unix.EROFS) {
				t.Errorf("%s can be written to: %v", dir, err)
			}
			return nil
		})
	}
	if err := m.mount("secret/nodes/one/log/pods/mount"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.read(ns, "/var/log/pods/mount/mounted"); err != nil {
		t.Errorf("what the server mounts is not seen at the other path: %v", err)
	}
	if again := m.create(cfg); nsInode(t, again) != nsInode(t, ns) {
		t.Error("the namespace was not adopted")
	}
	if err := os.Remove(program); err != nil {
		t.Fatal(err)
	}
	m.write("program", "#!new")
	ns = m.create(cfg)
	if got, err := m.read(ns, program); err != nil || got != "#!new" {
		t.Errorf("another file of the name = %q, %v", got, err)
	}
	cfg.Binds = cfg.Binds[1:]
	if again := m.create(cfg); nsInode(t, again) == nsInode(t, ns) {
		t.Error("a namespace was adopted that shows more than it should")
	}
}

// Links that a container left in the node's directory lead nowhere else.
func TestMountNSFollowsNoLinkOut(t *testing.T) {
	for _, name := range []string{"root", "changes", "changes/etc", "changes/work", "root/tmp", "root/var", "root/run"} {
		t.Run(name, func(t *testing.T) {
			m := newMountTest(t)
			link := m.path("secret/nodes/one/" + name)
			m.mkdir("secret/nodes/one/" + filepath.Dir(name))
			m.write("private/precious", "")
			if err := os.Symlink(m.path("private"), link); err != nil {
				t.Fatal(err)
			}
			before := names(m.path("private"))
			ns, err := CreateMountNS(m.config("one"))
			if err == nil { // it may as well be taken for a link within the node
				m.inside(ns, func() error { return errors.Join(os.MkdirAll("/var/x", 0o755), os.MkdirAll("/etc/x", 0o755)) })
				ns.Close()
			}
			if got := names(m.path("private")); !slices.Equal(got, before) {
				t.Errorf("the machine's directory holds %q, before %q (%v)", got, before, err)
			}
		})
	}
}

func TestMountNSRefuses(t *testing.T) {
	own := t.TempDir()
	for want, cfg := range map[string]MountNSConfig{
		"are required":        {Name: "node-1"},
		"an absolute path":    {Name: "node-1", Path: "/x", Cover: []string{"x"}, Keep: []string{"x"}},
		"is not below what":   {Name: "node-1", Path: "/x", Cover: []string{t.TempDir()}, Keep: []string{t.TempDir()}},
		"be the node's own":   {Name: "node-1", Path: "/x", Cover: []string{own}, Keep: []string{own}, Root: t.TempDir(), Changes: own},
		"namespace of node n": {Name: "n"},
	} {
		if _, err := CreateMountNS(cfg); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", cfg, err, want)
		}
	}
	for err, want := range map[error]string{
		unix.EPERM: "as root", unix.ENOSPC: "user.max_mnt_namespaces", unix.ENOSYS: "6.6", io.EOF: "EOF",
	} {
		if got := explainMountError(err); !errors.Is(got, err) || !strings.Contains(got.Error(), want) {
			t.Errorf("%v: %v, want %q", err, got, want)
		}
	}
}

func TestNilMountNSIsTheProcess(t *testing.T) {
	var ns *MountNS
	called := false
	if err := ns.Do(func() error { called = true; return nil }); err != nil || !called {
		t.Errorf("Do: %v, called %t", err, called)
	}
	if _, err := ns.PropagationOf("/"); err != nil {
		t.Error(err)
	}
	if err := ns.Close(); err != nil {
		t.Error(err)
	}
	if ns.Root() != nil {
		t.Error("a root directory of its own")
	}
}

func BenchmarkMountNSDo(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("needs root")
	}
	base := b.TempDir()
	defer UnmountAllUnder(base)
	own := filepath.Join(base, "own")
	ns, err := CreateMountNS(MountNSConfig{
		Name: "bench", Path: filepath.Join(base, "pins", "bench"), Root: filepath.Join(own, "root"), Changes: filepath.Join(own, "changes"),
		Cover: []string{base}, Keep: []string{own},
	})
	if err != nil {
		b.Fatal(err)
	}
	defer ns.Close()
	for b.Loop() {
		if err := ns.Do(func() error { return nil }); err != nil {
			b.Fatal(err)
		}
	}
}
