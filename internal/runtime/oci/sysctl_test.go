package oci

import (
	"os"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSysctlPath(t *testing.T) {
	for in, want := range map[string]string{
		"net.ipv4.tcp_syncookies":        "net/ipv4/tcp_syncookies",
		"net/ipv4/conf/eth0.1/rp_filter": "net/ipv4/conf/eth0.1/rp_filter",
		"net.ipv4.conf.eth0/1.rp_filter": "net/ipv4/conf/eth0.1/rp_filter",
		"kernel.shm_rmid_forced":         "kernel/shm_rmid_forced",
	} {
		if got, err := sysctlPath(in); err != nil || got != want {
			t.Errorf("sysctlPath(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", ".", "/", "..", "net", "net.", "net..core", "net/../kernel/core_pattern", "net.//.kernel.core_pattern",
		"../../etc/passwd", "/proc/sys/vm/swappiness", "kernel.../.../etc", "net/./core", "kernel.shm\x00max",
	} {
		if got, err := sysctlPath(in); err == nil {
			t.Errorf("sysctlPath(%q) = %q, want an error", in, got)
		}
	}
}

func FuzzSysctlPath(f *testing.F) {
	for _, s := range []string{"net.ipv4.a", "kernel/shmmax", "net.//.a", "../a", "kernel.shm/./x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		path, err := sysctlPath(name)
		if err != nil {
			return
		}
		for part := range strings.SplitSeq(path, "/") {
			if part == "" || part == "." || part == ".." {
				t.Errorf("sysctlPath(%q) = %q", name, path)
			}
		}
	})
}

func TestPodSysctls(t *testing.T) {
	node := &runtimeapi.NamespaceOption{Network: runtimeapi.NamespaceMode_NODE, Ipc: runtimeapi.NamespaceMode_NODE}
	for _, tc := range []struct {
		name     string
		opts     *runtimeapi.NamespaceOption
		net, ipc int
		refused  string
	}{
		{name: "net.ipv4.tcp_syncookies", net: 1},
		{name: "net/ipv4/tcp_syncookies", net: 1},
		{name: "kernel.shmmax", ipc: 1},
		{name: "kernel.shm_rmid_forced", ipc: 1},
		{name: "kernel.msgmax", ipc: 1},
		{name: "kernel.sem", ipc: 1},
		{name: "fs.mqueue.msg_max", ipc: 1},
		{name: "net.ipv4.tcp_syncookies", opts: node, refused: "hostNetwork"},
		{name: "kernel.shmmax", opts: node, refused: "hostIPC"},
		{name: "fs.mqueue.msg_max", opts: node, refused: "hostIPC"},
		{name: "vm.swappiness", refused: "whole machine"},
		{name: "kernel.core_pattern", refused: "whole machine"},
		{name: "kernel.hostname", refused: "whole machine"},
		{name: "kernel.semaphore", refused: "whole machine"},
		{name: "fs.file-max", refused: "whole machine"},
		{name: "user.max_user_namespaces", refused: "whole machine"},
		{name: "net/../kernel/core_pattern", refused: "not the name"},
	} {
		net, ipc, err := podSysctls(&runtimeapi.PodSandboxConfig{Linux: &runtimeapi.LinuxPodSandboxConfig{
			Sysctls:         map[string]string{tc.name: "1"},
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: tc.opts},
		}})
		switch {
		case tc.refused != "" && (err == nil || !strings.Contains(err.Error(), tc.refused) || !strings.Contains(err.Error(), tc.name)):
			t.Errorf("%s: error = %v, want one that says %q", tc.name, err, tc.refused)
		case tc.refused == "" && (err != nil || len(net) != tc.net || len(ipc) != tc.ipc):
			t.Errorf("%s: %v, %v, %v", tc.name, net, ipc, err)
		}
	}
}

// A parameter that is not the sandbox's own stays as the machine has it.
func TestSysctlsOfTheMachine(t *testing.T) {
	n := newNode(t)
	for name, path := range map[string]string{
		"vm.swappiness": "/proc/sys/vm/swappiness", "kernel.core_pattern": "/proc/sys/kernel/core_pattern",
		"net/../vm/swappiness": "/proc/sys/vm/swappiness",
	} {
		before, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		cfg := sandboxConfig("sysctl")
		cfg.Linux.Sysctls = map[string]string{name: strings.TrimSpace(string(before))} // harmless, if it were written
		if _, err := n.RunPodSandbox(t.Context(), cfg, ""); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
		if left := n.leftovers(); len(left) > 0 {
			t.Errorf("left behind: %q", left)
		}
	}
}
