package oci

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// A container goes on while no process of ours runs, and one that ends
// meanwhile is known with its exit code afterwards.
func TestRestart(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("restart"))
	ticking := n.run(sb, containerConfig("ticks"))
	ending := n.run(sb, containerConfig("trap"))
	n.awaitLog(ticking, "stdout: tick 1")
	n.awaitLog(ending, "stdout: ready")
	before := n.status(ticking)
	n.stop()
	old, err := n.container(ending)
	if err != nil {
		t.Fatal(err)
	}
	n.signal(old, int(unix.SIGTERM))
	eventually(t, "conmon to end", func() bool { return !old.snapshot().Conmon.alive() })
	seen := len(n.logLines(ticking))
	eventually(t, "output while nobody watches", func() bool { return len(n.logLines(ticking)) > seen+3 })

	n.start()
	after := n.status(ticking)
	if after.GetState() != runtimeapi.ContainerState_CONTAINER_RUNNING || after.GetStartedAt() != before.GetStartedAt() {
		t.Errorf("the running one: %v", after)
	}
	if st := n.status(ending); st.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED || st.GetExitCode() != 42 {
		t.Errorf("the ended one: %v", st)
	}
	if resp, err := n.PodSandboxStatus(t.Context(), sb, false); err != nil || resp.GetStatus().GetState() != runtimeapi.PodSandboxState_SANDBOX_READY {
		t.Errorf("sandbox: %v, %v", resp, err)
	}
	if got := n.output(ticking, "echo", "still", "there"); got != "still there" {
		t.Errorf("exec = %q", got)
	}
	// The exit of a container that was found is noticed like any other.
	c, err := n.container(ticking)
	if err != nil {
		t.Fatal(err)
	}
	n.signal(c, killSignal)
	if st := n.awaitExit(ticking); st.GetExitCode() != 137 {
		t.Errorf("status = %v", st)
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// After a reboot no number in the state means anything.
func TestReboot(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("reboot"))
	id := n.run(sb, containerConfig("sleep", "1h"))
	n.stop()
	for _, c := range n.allContainers() {
		if err := c.change(func(s *containerState) { s.Boot = "an earlier one" }); err != nil {
			t.Fatal(err)
		}
	}
	s, err := n.sandbox(sb)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.change(func(s *sandboxState) { s.Boot = "an earlier one" }); err != nil {
		t.Fatal(err)
	}
	n.start()
	if st := n.status(id); st.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED || st.GetExitCode() != unknownExitCode {
		t.Errorf("status = %v", st)
	}
	resp, err := n.PodSandboxStatus(t.Context(), sb, false)
	if err != nil || resp.GetStatus().GetState() != runtimeapi.PodSandboxState_SANDBOX_NOTREADY {
		t.Errorf("sandbox: %v, %v", resp, err)
	}
	if _, err := n.CreateContainer(t.Context(), sb, containerConfig("echo"), nil); err == nil {
		t.Error("a container could be made in a sandbox of an earlier boot")
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A conmon that is killed takes its container's exit code with it, nothing else.
func TestConmonKilled(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("conmon"))
	id := n.run(sb, containerConfig("sleep", "1h"))
	c, err := n.container(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(c.snapshot().Conmon.PID, unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if st := n.awaitExit(id); st.GetExitCode() != unknownExitCode || st.GetReason() != "Error" {
		t.Errorf("status = %v", st)
	}
	eventually(t, "its process to be killed", func() bool { return !c.snapshot().Init.alive() })
}

func TestStop(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("stop"))
	id := n.run(sb, containerConfig("stubborn"))
	n.awaitLog(id, "stdout: ready")
	start := time.Now()
	if err := n.StopContainer(t.Context(), id, 1); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(start); took < time.Second || took > 10*time.Second {
		t.Errorf("stopped after %v", took)
	}
	if st := n.status(id); st.GetExitCode() != 137 {
		t.Errorf("status = %v", st)
	}
	if err := n.StopContainer(t.Context(), id, 1); err != nil {
		t.Errorf("stop again: %v", err)
	}
	if err := n.StartContainer(t.Context(), id); err == nil {
		t.Error("an exited container could be started again")
	}
	if err := n.StopContainer(t.Context(), "unknown", 1); err != nil {
		t.Errorf("stop of what is not there: %v", err)
	}
	never, err := n.CreateContainer(t.Context(), sb, containerConfig("echo"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.RemoveContainer(t.Context(), never); err != nil {
		t.Errorf("remove one that was never started: %v", err)
	}
}

func TestCreateErrors(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("errors"))
	for want, edit := range map[string]func(*runtimeapi.ContainerConfig){
		"/not/there": func(c *runtimeapi.ContainerConfig) { c.Command = []string{"/not/there"} },
		"no such image": func(c *runtimeapi.ContainerConfig) {
			c.Image = &runtimeapi.ImageSpec{Image: "nobody/knows:this"}
		},
	} {
		cfg := containerConfig("echo")
		edit(cfg)
		id, err := n.CreateContainer(t.Context(), sb, cfg, nil)
		if err == nil {
			err = n.StartContainer(t.Context(), id)
		}
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "level=") {
			t.Errorf("error %v, want one that says %q in plain words", err, want)
		}
		t.Log(err)
	}
	if _, err := n.CreateContainer(t.Context(), "unknown", containerConfig("echo"), nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown sandbox: %v", err)
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestEvents(t *testing.T) {
	n := newNode(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	events := n.Events(ctx)
	sb := n.pod(sandboxConfig("events"))
	id := n.run(sb, containerConfig("echo", "x"))
	n.awaitExit(id)
	if err := n.RemoveContainer(ctx, id); err != nil {
		t.Fatal(err)
	}
	seen := map[runtimeapi.ContainerEventType]bool{}
	for len(seen) < 4 {
		e, ok := <-events
		if !ok {
			t.Fatalf("events seen: %v", seen)
		}
		if e.ContainerID != id || e.SandboxID != sb {
			t.Errorf("event %v", e)
		}
		seen[e.Type] = true
	}
}

func TestLogRotation(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("logs"))
	id := n.run(sb, containerConfig("ticks"))
	n.awaitLog(id, "stdout: tick 3")
	path := n.status(id).GetLogPath()
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := n.ReopenContainerLog(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a new log", func() bool { _, err := os.Stat(path); return err == nil && len(n.logLines(id)) > 2 })
	if first := n.logLines(id)[0]; first == "stdout: tick 0" {
		t.Error("the new log begins with old lines")
	}
}

// Delete works on what a process that was killed has left.
func TestDelete(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("delete"))
	n.run(sb, containerConfig("sleep", "1h"))
	n.run(sb, containerConfig("stubborn"))
	n.stop()
	for range 2 {
		if err := Delete(t.Context(), n.cfg); err != nil {
			t.Fatal(err)
		}
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := n.cfg.Store.Remove(testImage); err != nil {
		t.Errorf("the image is still held: %v", err)
	}
	if out, err := exec.Command("grep", "-c", n.cfg.RunDir, "/proc/self/mountinfo").Output(); err == nil {
		t.Errorf("%s mounts are left", out)
	}
	if err := os.MkdirAll(n.cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
}

// A crash in the middle of making a container leaves nothing for good.
func TestCrashWhileCreating(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("crash"))
	id := n.run(sb, containerConfig("sleep", "1h"))
	n.stop()
	c, err := n.container(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.change(func(s *containerState) { s.Phase, s.Init, s.Conmon = phaseCreating, process{}, process{} }); err != nil {
		t.Fatal(err)
	}
	n.start()
	eventually(t, "the half-made container to go", func() bool {
		list, err := n.ListContainers(t.Context(), nil)
		return err == nil && len(list) == 0
	})
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if err := n.cfg.Store.Remove(testImage); err != nil {
		t.Errorf("the image is still held: %v", err)
	}
}

func TestManyPodsAtOnce(t *testing.T) {
	n := newNode(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			name := fmt.Sprintf("many-%d", i)
			cfg := sandboxConfig(name)
			cfg.LogDirectory = filepath.Join(n.logs, name)
			if err := n.wholeLife(cfg); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	wg.Wait()
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// wholeLife returns errors instead of ending the test: it runs on goroutines.
func (n *node) wholeLife(cfg *runtimeapi.PodSandboxConfig) error {
	ctx := n.t.Context()
	sb, err := n.RunPodSandbox(ctx, cfg, "")
	if err != nil {
		return err
	}
	for range 2 {
		id, err := n.CreateContainer(ctx, sb, containerConfig("sleep", "1h"), nil)
		if err != nil {
			return err
		}
		if err := n.StartContainer(ctx, id); err != nil {
			return err
		}
		out, _, err := n.ExecSync(ctx, id, []string{"/tool", "hostname"}, deadline)
		if err != nil {
			return err
		}
		if string(out) != cfg.GetHostname()+"\n" {
			return fmt.Errorf("host name %q", out)
		}
	}
	return n.RemovePodSandbox(ctx, sb)
}
