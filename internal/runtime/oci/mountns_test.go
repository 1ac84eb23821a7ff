package oci

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// What containers mount of the node is the node's: of the cluster's directories
// they see what the node works in, by whatever way.
func TestContainersSeeTheNodesFiles(t *testing.T) {
	n := newNode(t)
	machine := t.TempDir()
	for _, dir := range []string{filepath.Join(n.clusterDir, "pki"), filepath.Join(machine, "real")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for name, to := range map[string]string{"link": filepath.Join(machine, "real"), "keys": filepath.Join(n.clusterDir, "pki")} {
		if err := os.Symlink(to, filepath.Join(machine, name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(machine, "real", "file"), []byte("of the machine"), 0o644); err != nil {
		t.Fatal(err)
	}
	sb := n.pod(sandboxConfig("files"))
	cfg := containerConfig("sleep", "1h")
	cfg.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/host", HostPath: "/"}, {ContainerPath: "/cluster", HostPath: n.clusterDir}, {ContainerPath: "/link", HostPath: filepath.Join(machine, "link")},
	}
	id := n.run(sb, cfg)
	for dir, want := range map[string]string{
		"/cluster": "logs\nnode", filepath.Join("/host", n.clusterDir): "logs\nnode", filepath.Join("/host", n.clusterRun): "node", "/link": "file",
	} {
		if got := n.output(id, "ls", dir); got != want {
			t.Errorf("%s holds %q, want %q", dir, got, want)
		}
	}
	if got := n.output(id, "cat", "/link/file"); got != "of the machine" {
		t.Errorf("the machine's file = %q", got)
	}
	for _, path := range []string{filepath.Join(n.clusterDir, "pki"), filepath.Join(n.clusterDir, "store"), filepath.Join(n.clusterRun, "mntns"), filepath.Join(machine, "keys"), "/proc/1/root" + n.clusterDir} {
		cfg := containerConfig("sleep", "1h")
		cfg.Mounts = []*runtimeapi.Mount{{ContainerPath: "/data", HostPath: path}}
		if _, err := n.CreateContainer(t.Context(), sb, cfg, nil); err == nil || !strings.Contains(err.Error(), "/data") {
			t.Errorf("a container with %s: %v", path, err)
		}
	}
}

// A process that containers of a Pod share a process namespace with has a root
// directory that they can look at.
func TestHolderIsOnTheNode(t *testing.T) {
	n := newNode(t)
	cfg := sandboxConfig("holder")
	cfg.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	sb := n.pod(cfg)
	s, err := n.sandbox(sb)
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Join("/proc", fmt.Sprint(s.state.Holder.PID), "root")
	if _, err := os.Stat(filepath.Join(root, n.clusterDir, "node")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(root, n.clusterDir, "store")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the holder sees the store: %v", err)
	}
}

// Mounts that containers of a node make for each other stay on the node, and
// the server sees those in volumes, which it has to unmount.
func TestMountsStayOnTheNode(t *testing.T) {
	n := newNode(t)
	volume, outside := filepath.Join(n.cfg.Dir, "volume"), t.TempDir()
	if err := os.Mkdir(volume, 0o755); err != nil {
		t.Fatal(err)
	}
	sb := n.pod(sandboxConfig("mounts"))
	container := func(name string, p runtimeapi.MountPropagation) string {
		cfg := containerConfig("sleep", "1h")
		cfg.Metadata.Name = name
		cfg.Linux.SecurityContext.Privileged = true
		cfg.Mounts = []*runtimeapi.Mount{{ContainerPath: "/volume", HostPath: volume, Propagation: p}, {ContainerPath: "/outside", HostPath: outside, Propagation: p}}
		return n.run(sb, cfg)
	}
	reader := container("reader", runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER)
	writer := container("writer", runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL)
	n.output(writer, "mount", "/volume/w")
	n.output(writer, "mount", "/outside/w")
	for _, dir := range []string{"/volume/w", "/outside/w"} {
		if got := n.output(reader, "ls", dir); got != "mounted" {
			t.Errorf("the reader sees %q in %s", got, dir)
		}
	}
	if _, err := os.Stat(filepath.Join(volume, "w", "mounted")); err != nil {
		t.Errorf("the server does not see what is mounted in the volume: %v", err)
	}
	if _, err := os.Stat(filepath.Join(outside, "w", "mounted")); err == nil {
		t.Error("the machine sees what a container has mounted")
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if err := host.UnmountAllUnder(volume); err != nil {
		t.Fatal(err)
	}
	if left, err := host.MountsUnder(volume); err != nil || len(left) > 0 {
		t.Errorf("still mounted: %q, %v", left, err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// The next server goes on in the namespace that the last one has made.
func TestRestartKeepsTheMountNamespace(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("restart"))
	old := n.run(sb, containerConfig("sleep", "1h"))
	n.stop()
	n.openMountNS()
	n.start()
	if got := n.output(old, "echo", "still", "there"); got != "still there" {
		t.Errorf("exec = %q", got)
	}
	cfg := containerConfig("sleep", "1h")
	cfg.Metadata.Name = "new"
	cfg.Mounts = []*runtimeapi.Mount{{ContainerPath: "/cluster", HostPath: n.clusterDir}}
	id := n.run(sb, cfg)
	if got := n.output(id, "ls", "/cluster"); got != "logs\nnode" {
		t.Errorf("the cluster's directory holds %q", got)
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}
