package oci

import (
	"runtime"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func goarch() string { return runtime.GOARCH }

func TestContainerLife(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("life"))
	id := n.run(sb, containerConfig("echo", "hello"))
	st := n.awaitExit(id)
	if st.GetExitCode() != 0 || st.GetReason() != "Completed" || st.GetFinishedAt() < st.GetStartedAt() || st.GetStartedAt() < st.GetCreatedAt() {
		t.Errorf("status = %v", st)
	}
	if diff := cmp.Diff([]string{"stdout: hello"}, n.logLines(id)); diff != "" {
		t.Error(diff)
	}
	failing := n.run(sb, containerConfig("exit", "7"))
	if st := n.awaitExit(failing); st.GetExitCode() != 7 || st.GetReason() != "Error" {
		t.Errorf("status = %v", st)
	}
	running := n.run(sb, containerConfig("trap"))
	n.awaitLog(running, "stdout: ready")
	out, errOut, err := n.ExecSync(t.Context(), running, []string{"/tool", "echo", "in", "exec"}, 0)
	if string(out) != "in exec\n" || len(errOut) != 0 || err != nil {
		t.Errorf("exec = %q %q %v", out, errOut, err)
	}
	if _, _, err := n.ExecSync(t.Context(), running, []string{"/tool", "exit", "3"}, 0); exitCode(err) != 3 {
		t.Errorf("exec = %v, want code 3", err)
	}
	if err := n.StopContainer(t.Context(), running, 10); err != nil {
		t.Fatal(err)
	}
	if st := n.status(running); st.GetExitCode() != 42 || st.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED {
		t.Errorf("status = %v", st)
	}
	for range 2 {
		if err := n.StopPodSandbox(t.Context(), sb); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
			t.Fatal(err)
		}
	}
	if left := n.leftovers(); len(left) > 0 {
		slices.Sort(left)
		t.Errorf("left behind: %q", left)
	}
}

// Containers need no log.
func TestWithoutLog(t *testing.T) {
	n := newNode(t)
	cfg := containerConfig("exit", "5")
	cfg.LogPath = ""
	id := n.run(n.pod(sandboxConfig("mute")), cfg)
	if st := n.awaitExit(id); st.GetExitCode() != 5 || st.GetLogPath() != "" {
		t.Errorf("status = %v", st)
	}
}
