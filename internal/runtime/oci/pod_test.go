package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// output runs the tool in the container and returns what it prints.
func (n *node) output(id string, args ...string) string {
	n.t.Helper()
	out, errOut, err := n.ExecSync(n.t.Context(), id, append([]string{"/tool"}, args...), deadline)
	if err != nil {
		n.t.Fatalf("%q: %v: %s", args, err, errOut)
	}
	return strings.TrimSpace(string(out))
}

func TestPodSurroundings(t *testing.T) {
	n := newNode(t)
	cfg := sandboxConfig("web-0")
	cfg.Linux.Sysctls = map[string]string{"net.ipv4.tcp_syncookies": "0", "kernel.shm_rmid_forced": "1"}
	sb := n.pod(cfg)
	a := n.run(sb, containerConfig("listen", "127.0.0.1:7000"))
	b := n.run(sb, containerConfig("sleep", "1h"))
	n.awaitLog(a, "stdout: ready")
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"web-0", []string{"hostname"}},
		{"web-0", []string{"cat", "/etc/hostname"}},
		{"search default.svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5", []string{"cat", "/etc/resolv.conf"}},
		{"0", []string{"cat", "/proc/sys/net/ipv4/tcp_syncookies"}},
		{"1", []string{"cat", "/proc/sys/kernel/shm_rmid_forced"}},
		{"0", []string{"cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start"}},
		{"yes", []string{"env", "FROM_IMAGE"}},
		{"/root", []string{"env", "HOME"}},
	} {
		if got := n.output(b, tc.args...); got != tc.want {
			t.Errorf("%q = %q, want %q", tc.args, got, tc.want)
		}
	}
	// Containers share /dev/shm and the network, not processes and files.
	n.output(a, "write", "/dev/shm/x", "shared")
	n.output(a, "write", "/x", "own")
	if got := n.output(b, "cat", "/dev/shm/x"); got != "shared" {
		t.Errorf("/dev/shm/x = %q", got)
	}
	if _, _, err := n.ExecSync(t.Context(), b, []string{"/tool", "cat", "/x"}, deadline); exitCode(err) != 99 {
		t.Errorf("the other container's file: %v", err)
	}
	if got := n.output(b, "procs"); strings.Contains(got, "listen") {
		t.Errorf("processes = %q", got)
	}
	if got := n.output(b, "cat", "/proc/net/tcp"); !strings.Contains(got, "0100007F:1B58") {
		t.Errorf("sockets = %q", got)
	}
}

func TestSharedProcesses(t *testing.T) {
	n := newNode(t)
	cfg := sandboxConfig("shared")
	cfg.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	sb := n.pod(cfg)
	container := func(args ...string) string {
		c := containerConfig(args...)
		c.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
		return n.run(sb, c)
	}
	first := container("stubborn")
	second := container("sleep", "1h")
	if got := n.output(second, "procs"); !strings.Contains(got, "/tool stubborn") || !strings.Contains(got, "holder") {
		t.Errorf("processes = %q", got)
	}
	if err := n.StopContainer(t.Context(), first, 0); err != nil {
		t.Fatal(err)
	}
	if got := n.output(second, "procs"); strings.Contains(got, "stubborn") {
		t.Errorf("after the stop: processes = %q", got)
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestTargetProcesses(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("target"))
	app := n.run(sb, containerConfig("sleep", "1h"))
	cfg := containerConfig("sleep", "2h")
	cfg.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: app}
	debug := n.run(sb, cfg)
	if got := n.output(debug, "procs"); !strings.Contains(got, "sleep 1h") {
		t.Errorf("processes = %q", got)
	}
	if err := n.RemoveContainer(t.Context(), debug); err != nil {
		t.Fatal(err)
	}
	if got := n.output(app, "procs"); !strings.Contains(got, "sleep 1h") || strings.Contains(got, "sleep 2h") {
		t.Errorf("after removing the debugger: processes = %q", got)
	}
}

func TestHostNamespaces(t *testing.T) {
	n := newNode(t)
	ns, err := host.CreateNetns("mt-rt-" + filepath.Base(n.clusterDir)[len("mt-runtime-"):])
	if err != nil {
		t.Fatal(err)
	}
	defer host.DeleteNetns(ns)
	n.stop()
	n.cfg.NodeNetns = ns
	// The mount namespace comes after the network namespace, whose name it shows.
	if err := host.DeleteMountNS(n.mountNSPin()); err != nil {
		t.Fatal(err)
	}
	n.openMountNS()
	n.start()
	cfg := sandboxConfig("hosty")
	cfg.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{
		Network: runtimeapi.NamespaceMode_NODE, Pid: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE,
	}
	sb := n.pod(cfg)
	c := containerConfig("listen", "127.0.0.1:7001")
	c.Linux.SecurityContext.NamespaceOptions = cfg.Linux.SecurityContext.NamespaceOptions
	id := n.run(sb, c)
	n.awaitLog(id, "stdout: ready")
	if got := n.output(id, "hostname"); got != "node-1" {
		t.Errorf("hostname = %q", got)
	}
	conn, err := ns.DialContext(t.Context(), "tcp", "127.0.0.1:7001")
	if err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	if got := n.output(id, "cat", fmt.Sprintf("/proc/%d/cmdline", os.Getpid())); !strings.Contains(got, "oci.test") {
		t.Errorf("this process is seen as %q", got)
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if !ns.Exists() {
		t.Error("the node's network namespace went with the pod")
	}
}

func TestNetworkAttachment(t *testing.T) {
	n := newNode(t)
	n.stop()
	network := &fakeNetwork{}
	n.cfg.Network = network
	n.start()
	sb := n.pod(sandboxConfig("net"))
	resp, err := n.PodSandboxStatus(t.Context(), sb, true)
	if err != nil {
		t.Fatal(err)
	}
	if ip := resp.GetStatus().GetNetwork().GetIp(); ip != "10.244.1.5" {
		t.Errorf("IP = %q", ip)
	}
	info := network.attached[sb]
	if !(host.Netns{Path: info.NetnsPath}).Exists() || info.Name != "net" || info.Namespace != "default" || info.UID != "uid-net" {
		t.Errorf("network was told %+v", info)
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if len(network.attached) != 0 {
		t.Errorf("still attached: %v", network.attached)
	}
	network.err = errors.New("no address is left")
	if _, err := n.RunPodSandbox(t.Context(), sandboxConfig("net"), ""); !errors.Is(err, network.err) {
		t.Errorf("RunPodSandbox = %v", err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestVolumes(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("volumes"))
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("from the host"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	cfg := containerConfig("sleep", "1h")
	cfg.Linux.SecurityContext.ReadonlyRootfs = true
	cfg.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/data/deep", HostPath: filepath.Join(dir, "link")},
		{ContainerPath: "/ro", HostPath: dir, Readonly: true},
		{ContainerPath: "/etc/hosts", HostPath: filepath.Join(dir, "f")},
		{ContainerPath: "/img", Image: &runtimeapi.ImageSpec{Image: testImage}, ImageSubPath: "etc"},
	}
	id := n.run(sb, cfg)
	n.output(id, "write", "/data/deep/new", "written")
	if data, err := os.ReadFile(filepath.Join(dir, "new")); err != nil || string(data) != "written" {
		t.Errorf("new = %q, %v", data, err)
	}
	if got := n.output(id, "cat", "/etc/hosts"); got != "from the host" {
		t.Errorf("/etc/hosts = %q", got)
	}
	if got := n.output(id, "ls", "/img"); got != "group\npasswd" {
		t.Errorf("/img = %q", got)
	}
	for _, path := range []string{"/ro/x", "/x", "/img/x", "/etc/x"} {
		if _, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "write", path, "x"}, deadline); exitCode(err) != 99 {
			t.Errorf("%s can be written: %v", path, err)
		}
	}
	cfg = containerConfig("sleep", "1h")
	cfg.Mounts = []*runtimeapi.Mount{{ContainerPath: "/data", HostPath: filepath.Join(dir, "missing")}}
	if _, err := n.CreateContainer(t.Context(), sb, cfg, nil); err == nil || !strings.Contains(err.Error(), "/data") {
		t.Errorf("missing volume: %v", err)
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	if _, err := os.Stat(filepath.Join(dir, "f")); err != nil {
		t.Errorf("the volume's content went with the pod: %v", err)
	}
}

// What one side mounts in a volume the other sees as the volume's mount says, and a volume that can't do it is an error.
func TestMountPropagation(t *testing.T) {
	n := newNode(t)
	n.stop()
	if err := n.cfg.MountNS.Close(); err != nil {
		t.Fatal(err)
	}
	n.cfg.MountNS = nil // the machine's own, so that what is shared on it counts
	n.start()
	sb := n.pod(sandboxConfig("propagation"))
	private, shared := t.TempDir(), t.TempDir()
	for _, dir := range []string{private, shared} {
		if err := host.MountTmpfs(dir, "size=64k"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { host.UnmountAllUnder(dir) })
	}
	if err := unix.Mount("", private, "", unix.MS_PRIVATE, ""); err != nil { // whatever the machine's are
		t.Fatal(err)
	}
	if err := host.ShareMounts(shared); err != nil {
		t.Fatal(err)
	}
	container := func(name, dir string, p runtimeapi.MountPropagation) *runtimeapi.ContainerConfig {
		cfg := containerConfig("sleep", "1h")
		cfg.Metadata.Name = name
		cfg.Linux.SecurityContext.Privileged = true
		cfg.Mounts = []*runtimeapi.Mount{{ContainerPath: "/data", HostPath: dir, Propagation: p}}
		return cfg
	}
	alone := n.run(sb, container("alone", shared, runtimeapi.MountPropagation_PROPAGATION_PRIVATE))
	reader := n.run(sb, container("reader", shared, runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER))
	writer := n.run(sb, container("writer", shared, runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL))

	n.output(writer, "mount", "/data/writer")
	if _, err := os.Stat(filepath.Join(shared, "writer", "mounted")); err != nil {
		t.Errorf("the node does not see the writer's mount: %v", err)
	}
	n.output(reader, "mount", "/data/reader")
	if _, err := os.Stat(filepath.Join(shared, "reader", "mounted")); err == nil {
		t.Error("the node sees the reader's mount")
	}
	for id, want := range map[string]map[string]string{
		alone: {"writer": "", "reader": ""}, reader: {"writer": "mounted", "reader": "mounted"}, writer: {"writer": "mounted", "reader": ""},
	} {
		for dir, content := range want {
			if got := n.output(id, "ls", "/data/"+dir); got != content {
				t.Errorf("%s: %s holds %q, want %q", n.status(id).Metadata.Name, dir, got, content)
			}
		}
	}
	for _, p := range []runtimeapi.MountPropagation{runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER, runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL} {
		_, err := n.CreateContainer(t.Context(), sb, container("odd", private, p), nil)
		if err == nil || !strings.Contains(err.Error(), "mount --make-rshared "+private) {
			t.Errorf("%s on a private mount: %v", p, err)
		}
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(shared, "writer", "mounted")); err != nil {
		t.Errorf("the writer's mount went with the Pod: %v", err)
	}
}

func TestListsAndFilters(t *testing.T) {
	n := newNode(t)
	one, two := n.pod(sandboxConfig("one")), n.pod(sandboxConfig("two"))
	cfg := containerConfig("sleep", "1h")
	cfg.Labels = map[string]string{"tier": "front"}
	id := n.run(one, cfg)
	done := n.run(two, containerConfig("echo", "x"))
	n.awaitExit(done)
	pods := func(f *runtimeapi.PodSandboxFilter) (out []string) {
		list, err := n.ListPodSandbox(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range list {
			out = append(out, p.GetMetadata().GetName())
		}
		return out
	}
	containers := func(f *runtimeapi.ContainerFilter) (out []string) {
		list, err := n.ListContainers(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range list {
			out = append(out, c.GetId())
		}
		return out
	}
	if diff := cmp.Diff([]string{"two", "one"}, pods(nil)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"one"}, pods(&runtimeapi.PodSandboxFilter{LabelSelector: map[string]string{"app": "one"}})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{id}, containers(&runtimeapi.ContainerFilter{LabelSelector: map[string]string{"tier": "front"}})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{done}, containers(&runtimeapi.ContainerFilter{State: &runtimeapi.ContainerStateValue{State: runtimeapi.ContainerState_CONTAINER_EXITED}})); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{id}, containers(&runtimeapi.ContainerFilter{PodSandboxId: one})); diff != "" {
		t.Error(diff)
	}
	stats, err := n.ContainerStats(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	_, noMemory := n.readControl(n.podCgroup("uid-one"), "memory.max", "memory.limit_in_bytes")
	if stats.GetCpu().GetUsageCoreNanoSeconds().GetValue() == 0 || noMemory == nil && stats.GetMemory().GetWorkingSetBytes().GetValue() == 0 {
		t.Errorf("stats = %v", stats)
	}
	pod, err := n.PodSandboxStats(t.Context(), one)
	if err != nil || pod.GetLinux().GetProcess().GetProcessCount().GetValue() != 1 || len(pod.GetLinux().GetContainers()) != 1 {
		t.Errorf("pod stats = %v, %v", pod, err)
	}
}

// A mount that is read-only with all that is mounted below it.
func TestRecursiveReadOnly(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("rro"))
	dir := filepath.Join(n.cfg.Dir, "volume") // where mounts of this process are the node's, too
	below := filepath.Join(dir, "below")
	if err := os.MkdirAll(below, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := host.MountTmpfs(below, "size=64k"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Unmount(below) })
	cfg := containerConfig("sleep", "1h")
	cfg.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/ro", HostPath: dir, Readonly: true},
		{ContainerPath: "/rro", HostPath: dir, Readonly: true, RecursiveReadOnly: true},
	}
	id := n.run(sb, cfg)
	for path, writable := range map[string]bool{"/ro/x": false, "/ro/below/x": true, "/rro/x": false, "/rro/below/x": false} {
		_, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "write", path, "x"}, deadline)
		if (err == nil) != writable {
			t.Errorf("%s: %v", path, err)
		}
	}
}
