package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// script writes a program that answers as an OCI runtime does.
func script(t *testing.T, version, features string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "runtime")
	text := "#!/bin/sh\ncase $1 in\n--version) " + version + " ;;\nfeatures) " + features + " ;;\n*) exit 1 ;;\nesac\n"
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestNewHandler(t *testing.T) {
	unified := host.CgroupLayout{Unified: true}
	plain := filepath.Join(t.TempDir(), "plain")
	if err := os.WriteFile(plain, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, path string
		recursive  bool
		wrong      string
	}{
		{"crun", script(t, "echo crun version 1.8", "exit 1"), true, ""},
		{"runc", script(t, "echo runc version 1.1.5", "exit 1"), true, ""},
		{"gvisor", script(t, "echo runsc version release-1", "exit 1"), false, ""},
		{"youki", script(t, "echo youki 0.5", `echo '{"mountOptions": ["ro", "rro"]}'`), true, ""},
		{"odd", script(t, "echo youki 0.5", "echo rro"), false, ""},
		{"broken", script(t, "exit 3", "exit 3"), false, "is no OCI runtime that works here"},
		{"Capital", plain, false, `runtime handler "Capital": a name is`},
		{"", plain, false, "a name is"},
		{strings.Repeat("a", 64), plain, false, "a name is"},
		{"plain", plain, false, plain + " can't be run"},
		{"none", "/nowhere/crun", false, "give the path of an OCI runtime"},
		{"relative", "./crun", false, "./crun is no absolute path"},
	} {
		p, err := newHandler(c.name, c.path, unified)
		if (err == nil) != (c.wrong == "") || err != nil && !strings.Contains(err.Error(), c.wrong) {
			t.Errorf("%s: %v, want %q", c.name, err, c.wrong)
		}
		if err == nil && p.recursiveReadOnly != c.recursive {
			t.Errorf("%s: recursive read-only mounts %v", c.name, p.recursiveReadOnly)
		}
	}
}

// Containers run under the program of their handler, with which they end, also
// after a restart with other handlers.
func TestHandlersRunContainers(t *testing.T) {
	n := newNode(t)
	n.stop()
	second := n.oci.path // another one than the default, if there is one here
	for _, name := range []string{"crun", "runc"} {
		if p, err := newHandler("mine", name, n.layout); err == nil && p.path != n.oci.path {
			second = p.path
		}
	}
	n.cfg.Handlers = map[string]string{"mine": second}
	n.start()
	cfg := sandboxConfig("handler")
	cfg.LogDirectory = filepath.Join(n.logs, "handler")
	sb, err := n.RunPodSandbox(t.Context(), cfg, "mine")
	if err != nil {
		t.Fatal(err)
	}
	id := n.run(sb, containerConfig("sleep", "1h"))
	c, err := n.container(id)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(n.cfg.RunDir, "runtime-mine")
	if c.state.ProgramRoot != root || c.state.Program != second {
		t.Errorf("the container is under %s in %s", c.state.Program, c.state.ProgramRoot)
	}
	if _, err := os.Stat(filepath.Join(root, id)); err != nil {
		t.Errorf("the OCI runtime has no state of the container there: %v", err)
	}
	status, err := n.Status(t.Context(), false)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range status.RuntimeHandlers {
		names = append(names, h.Name)
	}
	if !strings.Contains(strings.Join(names, ","), "mine") || names[0] != "" {
		t.Errorf("handlers = %q", names)
	}
	n.stop()
	n.cfg.Handlers = nil
	n.start()
	if _, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "cat", "/etc/hostname"}, deadline); err != nil {
		t.Errorf("exec without the handler: %v", err)
	}
	if _, err := n.CreateContainer(t.Context(), sb, containerConfig("sleep", "1h"), nil); err == nil || !strings.Contains(err.Error(), `no runtime for "mine" is configured`) {
		t.Errorf("a container of a handler that is gone: %v", err)
	}
	if _, err := n.RunPodSandbox(t.Context(), sandboxConfig("other"), "mine"); err == nil {
		t.Error("a sandbox was made for a handler that is gone")
	}
	if err := n.StopContainer(t.Context(), id, 0); err != nil {
		t.Errorf("stop without the handler: %v", err)
	}
	if st := n.awaitExit(id); st.GetState() != runtimeapi.ContainerState_CONTAINER_EXITED {
		t.Errorf("state = %v", st.GetState())
	}
}
