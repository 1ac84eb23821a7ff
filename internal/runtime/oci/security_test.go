package oci

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestUsers(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("users"))
	for _, tc := range []struct {
		name string
		edit func(*runtimeapi.LinuxContainerSecurityContext)
		want string
		home string
	}{
		{"image's own", func(*runtimeapi.LinuxContainerSecurityContext) {}, "0 0 [0 4000]", "/root"},
		{"by number in passwd", func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUser = &runtimeapi.Int64Value{Value: 1234} }, "1234 1235 [1235 4000]", "/home/app"},
		{"by name", func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUsername = "app" }, "1234 1235 [1235 4000]", "/home/app"},
		{"unknown number", func(s *runtimeapi.LinuxContainerSecurityContext) { s.RunAsUser = &runtimeapi.Int64Value{Value: 5555} }, "5555 0 [0]", "/"},
		{"group and more groups", func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.RunAsUser, s.RunAsGroup = &runtimeapi.Int64Value{Value: 1234}, &runtimeapi.Int64Value{Value: 77}
			s.SupplementalGroups = []int64{88, 4000}
		}, "1234 77 [77 88 4000]", "/home/app"},
		{"strict groups", func(s *runtimeapi.LinuxContainerSecurityContext) {
			s.RunAsUser, s.SupplementalGroups = &runtimeapi.Int64Value{Value: 1234}, []int64{88}
			s.SupplementalGroupsPolicy = runtimeapi.SupplementalGroupsPolicy_Strict
		}, "1234 1235 [88 1235]", "/home/app"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := containerConfig("sleep", "1h")
			tc.edit(cfg.Linux.SecurityContext)
			id := n.run(sb, cfg)
			if got := n.output(id, "id"); got != tc.want {
				t.Errorf("id = %q, want %q", got, tc.want)
			}
			if got := n.output(id, "env", "HOME"); got != tc.home {
				t.Errorf("HOME = %q, want %q", got, tc.home)
			}
			if err := n.RemoveContainer(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	cfg := containerConfig("id")
	cfg.Linux.SecurityContext.RunAsUsername = "nobody-here"
	if _, err := n.CreateContainer(t.Context(), sb, cfg, nil); err == nil || !strings.Contains(err.Error(), "nobody-here") {
		t.Errorf("unknown name: %v", err)
	}
}

func statusField(status, key string) string {
	for line := range strings.Lines(status) {
		if value, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestConfinement(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("confined"))
	status := func(edit func(*runtimeapi.LinuxContainerSecurityContext)) (string, string) {
		cfg := containerConfig("sleep", "1h")
		edit(cfg.Linux.SecurityContext)
		id := n.run(sb, cfg)
		return id, n.output(id, "cat", "/proc/1/status")
	}
	t.Run("defaults", func(t *testing.T) {
		id, s := status(func(*runtimeapi.LinuxContainerSecurityContext) {})
		if got := statusField(s, "CapEff"); got != "00000000a80425fb" {
			t.Errorf("capabilities = %s", got)
		}
		if statusField(s, "NoNewPrivs") != "0" || statusField(s, "Seccomp") != "0" {
			t.Errorf("status = %s", s)
		}
		if _, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "write", "/proc/sys/vm/swappiness", "1"}, deadline); exitCode(err) != 99 {
			t.Errorf("/proc/sys can be written: %v", err)
		}
		if got := n.output(id, "cat", "/proc/interrupts"); got != "" {
			t.Errorf("/proc/interrupts is not masked: %q", got)
		}
	})
	t.Run("restricted", func(t *testing.T) {
		_, s := status(func(sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.NoNewPrivs = true
			sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
			sc.Capabilities = &runtimeapi.Capability{DropCapabilities: []string{"ALL"}, AddCapabilities: []string{"NET_BIND_SERVICE"}}
		})
		if got := statusField(s, "CapEff"); got != "0000000000000400" {
			t.Errorf("capabilities = %s", got)
		}
		if statusField(s, "NoNewPrivs") != "1" || statusField(s, "Seccomp") != "2" {
			t.Errorf("status = %s", s)
		}
	})
	t.Run("privileged", func(t *testing.T) {
		id, s := status(func(sc *runtimeapi.LinuxContainerSecurityContext) {
			sc.Privileged = true
			sc.Seccomp = &runtimeapi.SecurityProfile{ProfileType: runtimeapi.SecurityProfile_RuntimeDefault}
		})
		caps, err := readHostCapabilities()
		if err != nil {
			t.Fatal(err)
		}
		if got := statusField(s, "CapEff"); len(caps) > len(defaultCapabilities) && got == "00000000a80425fb" {
			t.Errorf("capabilities = %s", got)
		}
		if statusField(s, "Seccomp") != "0" {
			t.Errorf("status = %s", s)
		}
		if got := n.output(id, "ls", "/dev"); !strings.Contains(got, "kmsg") {
			t.Errorf("/dev = %q", got)
		}
	})
}

func TestMemoryLimit(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("oom"))
	cfg := containerConfig("eat")
	cfg.Linux.Resources = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 64 << 20, CpuShares: 100, CpuQuota: 50000, CpuPeriod: 100000, OomScoreAdj: 900}
	if layout := n.layout; layout.Unified {
		if _, err := n.readControl(n.cfg.Cgroup, "memory.max"); err != nil {
			t.Skip("this machine's cgroup2 does not have the memory controller")
		}
	}
	id := n.run(sb, cfg)
	st := n.awaitExit(id)
	if st.GetReason() != "OOMKilled" || st.GetExitCode() != 137 {
		t.Errorf("status = %v", st)
	}
}

func TestUpdateResources(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("update"))
	id := n.run(sb, containerConfig("sleep", "1h"))
	c, err := n.container(id)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := n.readControl(n.cgroupOf(c), "memory.max", "memory.limit_in_bytes"); err != nil {
		t.Skip("this machine has no memory controller")
	}
	err = n.UpdateContainerResources(t.Context(), id, &runtimeapi.ContainerResources{Linux: &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 100 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := n.readNumber(n.cgroupOf(c), "memory.max", "memory.limit_in_bytes"); got != 100<<20 {
		t.Errorf("limit = %d", got)
	}
	if got := n.status(id).GetResources().GetLinux().GetMemoryLimitInBytes(); got != 100<<20 {
		t.Errorf("status says %d", got)
	}
}

// What a container writes to the files that every container is given has a
// bound, and takes nothing from the node's file system.
func TestFilesOfTheSandboxAreBounded(t *testing.T) {
	n := newNode(t)
	id := n.run(n.pod(sandboxConfig("files")), containerConfig("sleep", "1h"))
	for _, path := range []string{"/etc/resolv.conf", "/etc/hostname"} {
		if _, _, err := n.ExecSync(t.Context(), id, []string{"/tool", "grow", path, "0", "1048576"}, deadline); exitCode(err) != 99 {
			t.Errorf("1 MiB was written to %s: %v", path, err)
		}
	}
}

// A tree that a container has made deeper than there are descriptors goes with
// the container.
func TestDeepTreeIsRemoved(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("deep"))
	id := n.run(sb, containerConfig("nest", "/tmp", "1500"))
	if st := n.awaitExit(id); st.GetExitCode() != 0 {
		t.Fatalf("nest: %v", n.logLines(id))
	}
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// Only containers of the Pod itself may be looked into, and the log stays in
// the Pod's directory.
func TestContainersStayInTheirPod(t *testing.T) {
	n := newNode(t)
	mine, theirs := n.pod(sandboxConfig("mine")), n.pod(sandboxConfig("theirs"))
	target := n.run(theirs, containerConfig("sleep", "1h"))
	cfg := containerConfig("sleep", "1h")
	cfg.Linux.SecurityContext.NamespaceOptions = &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_TARGET, TargetId: target}
	if _, err := n.CreateContainer(t.Context(), mine, cfg, nil); err == nil || !strings.Contains(err.Error(), "another Pod's") {
		t.Errorf("a container with another Pod's processes: %v", err)
	}
	cfg = containerConfig("sleep", "1h")
	cfg.LogPath = "../theirs/0.log"
	if _, err := n.CreateContainer(t.Context(), mine, cfg, nil); err == nil || !strings.Contains(err.Error(), "log_path") {
		t.Errorf("a log outside of the Pod's directory: %v", err)
	}
}

// A working directory that a volume's link leads to is made in the container,
// not where the link leads on the machine.
func TestWorkingDirectoryStaysInTheContainer(t *testing.T) {
	n := newNode(t)
	sb := n.pod(sandboxConfig("cwd"))
	outside, volume := t.TempDir(), t.TempDir()
	if err := os.Symlink(outside, filepath.Join(volume, "out")); err != nil {
		t.Fatal(err)
	}
	cfg := containerConfig("sleep", "1h")
	cfg.Mounts = []*runtimeapi.Mount{{ContainerPath: "/v", HostPath: volume}}
	cfg.WorkingDir = "/v/out/made"
	id, err := n.CreateContainer(t.Context(), sb, cfg, nil)
	if err == nil {
		err = n.StartContainer(t.Context(), id)
	}
	t.Log(err) // whether it starts is the OCI runtime's matter
	if entries, err := os.ReadDir(outside); err != nil || len(entries) > 0 {
		t.Errorf("made on the machine: %v, %v", entries, err)
	}
}
