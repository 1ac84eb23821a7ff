package oci

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// mappedUsers is a user namespace with the users from first on.
func mappedUsers(first uint32) *runtimeapi.UserNamespace {
	mappings := []*runtimeapi.IDMapping{{HostId: first, Length: 65536}}
	return &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_POD, Uids: mappings, Gids: mappings}
}

// withUsers gives a Pod, and a container of it, users of their own.
func withUsers(pod *runtimeapi.PodSandboxConfig, u *runtimeapi.UserNamespace, containers ...*runtimeapi.ContainerConfig) {
	pod.Linux.SecurityContext.NamespaceOptions.UsernsOptions = u
	for _, c := range containers {
		c.Linux.SecurityContext.NamespaceOptions.UsernsOptions = u
		for _, m := range c.Mounts {
			m.UidMappings, m.GidMappings = u.Uids, u.Gids
		}
	}
}

// owner is the user of a file of the machine.
func owner(t *testing.T, path string) uint32 {
	t.Helper()
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Uid
}

func TestUserNamespace(t *testing.T) {
	n := newNode(t)
	const first = 7 << 16
	volume, secret := t.TempDir(), filepath.Join(n.clusterRun, "node", "secret")
	if err := os.Mkdir(secret, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := host.MountTmpfs(secret, "mode=0750"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(secret, "password"), []byte("opensesame"), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := sandboxConfig("mapped")
	pod.Linux.Sysctls = map[string]string{"net.ipv4.tcp_syncookies": "0", "kernel.shm_rmid_forced": "1", "kernel.msgmax": "16384"}
	c := containerConfig("sleep", "1h")
	c.Linux.Resources = &runtimeapi.LinuxContainerResources{OomScoreAdj: 500, MemoryLimitInBytes: 64 << 20}
	c.Mounts = []*runtimeapi.Mount{
		{ContainerPath: "/data", HostPath: volume}, {ContainerPath: "/secret", HostPath: secret, Readonly: true},
		{ContainerPath: "/image", Image: &runtimeapi.ImageSpec{Image: testImage}},
	}
	withUsers(pod, mappedUsers(first), c)
	sb := n.pod(pod)
	id := n.run(sb, c)
	for _, tc := range []struct {
		want string
		args []string
	}{
		{"0 458752 65536", []string{"cat", "/proc/self/uid_map"}},
		{"0 458752 65536", []string{"cat", "/proc/self/gid_map"}},
		{"0 0", []string{"id"}},
		{"mapped", []string{"hostname"}},
		{"mapped", []string{"cat", "/etc/hostname"}},
		{"0", []string{"cat", "/proc/sys/net/ipv4/tcp_syncookies"}},
		{"1", []string{"cat", "/proc/sys/kernel/shm_rmid_forced"}},
		{"16384", []string{"cat", "/proc/sys/kernel/msgmax"}},
		{"opensesame", []string{"cat", "/secret/password"}},
		{"", []string{"write", "/data/file", "x"}},
		{"", []string{"write", "/layer", "x"}},
		{"", []string{"write", "/dev/shm/file", "x"}},
		{"", []string{"write", "/dev/null", "x"}},
		{"", []string{"write", "/dev/stdout", "x"}},
		{"x", []string{"cat", "/data/file"}},
	} {
		if got := n.output(id, tc.args...); !strings.HasPrefix(strings.Join(strings.Fields(got), " "), tc.want) {
			t.Errorf("%q = %q, want %q", tc.args, got, tc.want)
		}
	}
	if got := n.output(id, "cat", "/image/etc/passwd"); !strings.Contains(got, "root:") {
		t.Errorf("the image volume: %q", got)
	}
	// On the node the root of the Pod is somebody else, whose files in a volume
	// are root's all the same.
	init := n.containers[id].snapshot().Init
	if status := readTestFile(t, init.procDir(), "status"); !strings.Contains(status, "Uid:\t458752\t458752") {
		t.Errorf("the container's process: %s", status)
	}
	if got := owner(t, filepath.Join(n.cfg.Dir, "containers", id, "upper", "layer")); got != first {
		t.Errorf("the file in the writable layer is user %d's", got)
	}
	if got := owner(t, filepath.Join(volume, "file")); got != 0 {
		t.Errorf("the file in the volume is user %d's", got)
	}
	// What is the node's stays out of reach.
	for _, args := range [][]string{{"write", "/secret/new", "x"}, {"write", "/proc/sys/kernel/panic", "1"}, {"write", "/proc/sysrq-trigger", "h"}, {"write", "/image/new", "x"}} {
		if _, _, err := n.ExecSync(t.Context(), id, append([]string{"/tool"}, args...), deadline); err == nil {
			t.Errorf("%q is possible", args)
		}
	}
	n.stop()
	n.start() // takes the Pod over
	if got := n.output(id, "id"); !strings.HasPrefix(got, "0 0") {
		t.Errorf("after a restart of the runtime: id = %q", got)
	}
	user := containerConfig("sleep", "1h")
	user.Metadata.Name = "user"
	user.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: 1234}
	user.Linux.SecurityContext.RunAsGroup = &runtimeapi.Int64Value{Value: 1235}
	withUsers(pod, mappedUsers(first), user)
	if got := n.output(n.run(sb, user), "id"); !strings.HasPrefix(got, "1234 1235") {
		t.Errorf("id of another user = %q", got)
	}
	for _, uid := range []int64{0, 1234} {
		streams := containerConfig("write", "/dev/stderr", "opened\n")
		streams.Metadata.Name = fmt.Sprint("streams-", uid)
		streams.LogPath = streams.Metadata.Name + "/0.log"
		streams.Linux.SecurityContext.RunAsUser = &runtimeapi.Int64Value{Value: uid}
		withUsers(pod, mappedUsers(first), streams)
		id := n.run(sb, streams)
		if st := n.awaitExit(id); st.GetExitCode() != 0 || !slices.Contains(n.logLines(id), "stderr: opened") {
			t.Errorf("user %d cannot open its stream: exit code %d, %q", uid, st.GetExitCode(), n.logLines(id))
		}
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if err := host.Unmount(secret); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(secret); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Mounts that come later are seen, and what the end of a container unmounts is
// its own.
func TestUserNamespaceSeesMounts(t *testing.T) {
	n := newNode(t)
	volume := filepath.Join(n.clusterRun, "node", "volume")
	if err := errors.Join(os.MkdirAll(filepath.Join(volume, "before"), 0o755), os.Mkdir(filepath.Join(volume, "after"), 0o755)); err != nil {
		t.Fatal(err)
	}
	mount := func(name string) {
		t.Helper()
		if err := host.MountTmpfs(filepath.Join(volume, name), "mode=0755"); err != nil {
			t.Fatal(err)
		}
		writeTestFile(t, filepath.Join(volume, name), "x")
	}
	mount("before")
	pod, c := sandboxConfig("late"), containerConfig("sleep", "1h")
	c.Mounts = []*runtimeapi.Mount{{ContainerPath: "/data", HostPath: volume, Propagation: runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER}}
	withUsers(pod, mappedUsers(8<<16), c)
	sb := n.pod(pod)
	id := n.run(sb, c)
	mount("after")
	for _, dir := range []string{"before", "after"} {
		if got := n.output(id, "ls", "/data/"+dir); got != "x" {
			t.Errorf("in %s: %q", dir, got)
		}
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"before", "after"} {
		if is, err := host.IsMountPoint(filepath.Join(volume, dir)); err != nil || !is {
			t.Errorf("%s is a mount: %t, %v", dir, is, err)
		}
	}
}

func TestUserNamespaceWithSharedProcesses(t *testing.T) {
	n := newNode(t)
	pod := sandboxConfig("shared")
	pod.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	c, privileged := containerConfig("sleep", "1h"), containerConfig("sleep", "2h")
	for _, x := range []*runtimeapi.ContainerConfig{c, privileged} {
		x.Linux.SecurityContext.NamespaceOptions.Pid = runtimeapi.NamespaceMode_POD
	}
	privileged.Metadata.Name, privileged.Linux.SecurityContext.Privileged = "privileged", true
	withUsers(pod, mappedUsers(9<<16), c, privileged)
	sb := n.pod(pod)
	id := n.run(sb, c)
	if got := n.output(n.run(sb, privileged), "procs"); !strings.Contains(got, "sleep 1h") || !strings.Contains(got, "holder") {
		t.Errorf("processes = %q", got)
	}
	// Whoever can take over the holder is no more than the Pod's root.
	holder := n.sandboxes[sb].snapshot().Holder
	if status := readTestFile(t, holder.procDir(), "status"); !strings.Contains(status, "Uid:\t589824\t589824") {
		t.Errorf("the holder: %s", status)
	}
	if got := n.output(id, "cat", "/proc/1/uid_map"); !strings.Contains(got, "589824") {
		t.Errorf("users of the holder = %q", got)
	}
}

func TestUsersThatCannotBe(t *testing.T) {
	root := mappedUsers(0)
	for name, opts := range map[string]*runtimeapi.NamespaceOption{
		"the node's root":            {UsernsOptions: root},
		"none":                       {UsernsOptions: &runtimeapi.UserNamespace{}},
		"no root":                    {UsernsOptions: &runtimeapi.UserNamespace{Uids: []*runtimeapi.IDMapping{{ContainerId: 1, HostId: 9, Length: 1}}, Gids: mappings}},
		"too many":                   {UsernsOptions: &runtimeapi.UserNamespace{Uids: []*runtimeapi.IDMapping{{HostId: 1 << 31, Length: 1 << 31}}, Gids: mappings}},
		"a container's":              {UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_CONTAINER, Uids: mappings, Gids: mappings}},
		"the node's, mapped":         {UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE, Uids: mappings}},
		"with the node's network":    {UsernsOptions: userns, Network: runtimeapi.NamespaceMode_NODE},
		"with the node's processes":  {UsernsOptions: userns, Pid: runtimeapi.NamespaceMode_NODE},
		"with the node's semaphores": {UsernsOptions: userns, Ipc: runtimeapi.NamespaceMode_NODE},
	} {
		if err := checkUsers(opts); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if err := checkUsers(&runtimeapi.NamespaceOption{UsernsOptions: &runtimeapi.UserNamespace{Mode: runtimeapi.NamespaceMode_NODE}}); err != nil {
		t.Errorf("the node's users: %v", err)
	}
	users := mappedUsers(1 << 16)
	for _, u := range []specs.User{{UID: 65536}, {GID: 70000}, {AdditionalGids: []uint32{1, 65536}}} {
		if err := checkMapped(users, u); err == nil || checkMapped(nil, u) != nil {
			t.Errorf("%+v: %v", u, err)
		}
	}
	if err := checkMapped(users, specs.User{UID: 65535, GID: 65535, AdditionalGids: []uint32{0}}); err != nil {
		t.Error(err)
	}
}
