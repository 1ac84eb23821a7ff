package host

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// Who enters the namespaces of the node's first process, as it shows in the node's files,
// is on the node; the machine's own are as ever. A later process writes the way anew.
func TestFirstProcessIsTheNodes(t *testing.T) {
	m := newMountTest(t)
	netns, err := CreateNetnsAt(filepath.Join(t.TempDir(), "net"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := DeleteNetns(netns); err != nil {
			t.Error(err)
		}
	})
	cfg := m.config("one")
	cfg.Files, cfg.Netns = []string{netns.Path}, netns.Path
	first := m.create(cfg)
	id := func(path string) (out unix.Stat_t) {
		if err := unix.Stat(path, &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	same := func(a, b unix.Stat_t) bool { return a.Dev == b.Dev && a.Ino == b.Ino }
	own := id(netns.Path)
	for range 2 { // the second is what a later process does
		if err := first.beFirst(cfg.Netns); err != nil {
			t.Fatal(err)
		}
	}
	err = first.Do(func() error {
		if !same(id("/proc/1/ns/mnt"), id("/proc/thread-self/ns/mnt")) {
			t.Error("the first process's mount namespace is not the node's")
		}
		if target, err := os.Readlink("/proc/1/ns/pid"); err != nil || target != "../task/1/ns/pid" {
			t.Errorf("a namespace that the node shares with the machine is %q %v", target, err)
		}
		if !same(id("/proc/1/ns/net"), own) {
			t.Error("the first process's network namespace is not the node's")
		}
		points, err := MountsUnder(firstNS)
		if err != nil || len(points) != 2 {
			t.Errorf("mounts at %s: %q %v", firstNS, points, err)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if here, err := MountsUnder(firstNS); err != nil || len(here) > 0 {
		t.Errorf("the machine's own /proc has mounts at %q %v", here, err)
	}
}

// A container with users of its own still mounts its own /proc on a node.
func TestProcInAUserNamespace(t *testing.T) {
	m := newMountTest(t)
	node := m.create(m.config("one"))
	var out strings.Builder
	err := node.Do(func() error {
		cmd := exec.Command("/bin/sh", "-c", "mount -t proc proc /proc && test -r /proc/1/status")
		cmd.Stdout, cmd.Stderr = &out, &out
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		}
		return cmd.Run()
	})
	if err != nil {
		t.Errorf("%v: %s", err, out.String())
	}
}
