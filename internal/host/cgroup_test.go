package host

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// inCgroup starts a program in c and reaps it; the channel is closed when it
// has ended.
func inCgroup(t *testing.T, c Cgroup, args ...string) (pid int, ended chan struct{}) {
	t.Helper()
	dir, err := os.Open(c.V2())
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(dir.Fd())}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended = make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	return cmd.Process.Pid, ended
}

func awaitEnd(t *testing.T, what string, ended chan struct{}) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatalf("%s has not ended", what)
	}
}

func testCgroup(t *testing.T, name string) Cgroup {
	t.Helper()
	requireRoot(t)
	c := Cgroup{Path: name}
	// Its child hands no controllers down, so that it may hold processes.
	if err := errors.Join(c.Create(), os.Mkdir(c.Child("pod").V2(), 0o755)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(c.Kill(context.Background()), c.Delete()); err != nil {
			t.Error(err)
		}
	})
	return c
}

// A signal reaches exactly the processes that match and are in the cgroup.
func TestCgroupSignal(t *testing.T) {
	c := testCgroup(t, "mt-host-signal")
	one, oneEnded := inCgroup(t, c.Child("pod"), "sleep", "60")
	_, twoEnded := inCgroup(t, c.Child("pod"), "sleep", "60")
	outside := exec.Command("sleep", "60")
	if err := outside.Start(); err != nil {
		t.Fatal(err)
	}
	outsideEnded := make(chan struct{})
	go func() { outside.Wait(); close(outsideEnded) }()
	if err := c.Signal(syscall.SIGKILL, func(pid int) bool { return pid == one || pid == outside.Process.Pid }); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, "the process that matches", oneEnded)
	if pids, err := c.Procs(); err != nil || len(pids) != 1 {
		t.Errorf("left in the cgroup: %v, %v", pids, err)
	}
	if err := c.Signal(syscall.SIGKILL, nil); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, "the other process", twoEnded)
	select {
	case <-outsideEnded:
		t.Error("a process outside of the cgroup was hit")
	default:
	}
	outside.Process.Kill()
	awaitEnd(t, "the process outside", outsideEnded)
}

// Processes that are in a version 1 hierarchy only are ended as well.
func TestCgroupKillsOutsideOfCgroup2(t *testing.T) {
	c := testCgroup(t, "mt-host-v1")
	l, err := Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	if l.Unified {
		t.Skip("this machine has cgroup2 only")
	}
	dir, v2, err := c.Child("pod").Controller("cpu")
	if err != nil || v2 {
		t.Skipf("the cpu controller: %v, %v", v2, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
		cmd.Process.Kill()
		t.Fatal(err)
	}
	if err := c.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, "the process", ended)
}

// Processes that fork faster than they can be listed are ended all the same.
func TestCgroupKillsWhatForks(t *testing.T) {
	c := testCgroup(t, "mt-host-fork")
	_, ended := inCgroup(t, c.Child("pod"), "sh", "-c", "while :; do sleep 60 & sleep 0.001; done")
	deadline := time.Now().Add(10 * time.Second)
	for {
		if pids, err := c.Procs(); err != nil || len(pids) > 10 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("nothing was forked")
		}
		time.Sleep(time.Millisecond)
	}
	if err := c.Kill(t.Context()); err != nil {
		t.Fatal(err)
	}
	awaitEnd(t, "the shell", ended)
	if pids, err := c.Procs(); err != nil || len(pids) > 0 {
		t.Errorf("left in the cgroup: %v, %v", pids, err)
	}
}

func TestCgroupController(t *testing.T) {
	l, err := Cgroups()
	if err != nil {
		t.Skip(err)
	}
	c := Cgroup{Path: "mt-host-controller"}
	for name, root := range l.Controllers {
		if dir, v2, err := c.Controller(name); err != nil || v2 || dir != filepath.Join(root, c.Path) {
			t.Errorf("%s: %s, %v, %v", name, dir, v2, err)
		}
	}
	if _, _, err := c.Controller("no-such"); !errors.Is(err, ErrNoController) || !strings.Contains(err.Error(), "no-such") {
		t.Errorf("unknown controller: %v", err)
	}
}
