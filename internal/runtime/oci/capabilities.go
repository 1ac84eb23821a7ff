package oci

import (
	"bufio"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// capabilityNames are in the kernel's order (see capabilities(7)).
var capabilityNames = [...]string{
	"CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "SETPCAP",
	"LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "IPC_OWNER",
	"SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT", "SYS_ADMIN", "SYS_BOOT", "SYS_NICE",
	"SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD", "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP",
	"MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG", "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF",
	"CHECKPOINT_RESTORE",
}

// defaultCapabilities are what Docker gives containers, and so what images are
// made for.
var defaultCapabilities = [...]string{
	"CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID", "SETFCAP", "SETPCAP",
	"NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE",
}

// hostCapabilities is what this process may hand on at most: a machine that is
// itself a container or a small VM may lack some.
type hostCapabilities struct{ bounding uint64 }

func readHostCapabilities() (hostCapabilities, error) {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return hostCapabilities{}, fmt.Errorf("read own capabilities: %w", err)
	}
	defer f.Close()
	for sc := bufio.NewScanner(f); sc.Scan(); {
		if value, ok := strings.CutPrefix(sc.Text(), "CapBnd:"); ok {
			mask, err := strconv.ParseUint(strings.TrimSpace(value), 16, 64)
			if err != nil {
				return hostCapabilities{}, fmt.Errorf("read own capabilities: %w", err)
			}
			return hostCapabilities{mask}, nil
		}
	}
	return hostCapabilities{}, fmt.Errorf("read own capabilities: /proc/self/status has no CapBnd")
}

func (h hostCapabilities) has(bit int) bool { return h.bounding&(1<<bit) != 0 }

// all lists the capabilities that can be handed on.
func (h hostCapabilities) all() []string {
	var out []string
	for bit, name := range capabilityNames {
		if h.has(bit) {
			out = append(out, name)
		}
	}
	return out
}

// forContainer applies additions and removals. ALL in a list comes first:
// "drop ALL, add X" leaves X, and "add ALL, drop X" everything but X.
func (h hostCapabilities) forContainer(sc *runtimeapi.LinuxContainerSecurityContext) *specs.LinuxCapabilities {
	all := h.all()
	set := slices.Clone(defaultCapabilities[:])
	add, drop := capNames(sc.GetCapabilities().GetAddCapabilities()), capNames(sc.GetCapabilities().GetDropCapabilities())
	ambient := capNames(sc.GetCapabilities().GetAddAmbientCapabilities())
	if sc.GetPrivileged() {
		set, add, drop, ambient = all, nil, nil, nil
	}
	if slices.Contains(drop, "ALL") {
		set = nil
	}
	if slices.Contains(add, "ALL") {
		set = all
	}
	set = append(append(set, add...), ambient...)
	var names, ambientNames []string
	for _, name := range all {
		// What is added by name wins over "drop ALL", not over a drop by name.
		if slices.Contains(set, name) && !slices.Contains(drop, name) {
			names = append(names, "CAP_"+name)
			if slices.Contains(ambient, name) {
				ambientNames = append(ambientNames, "CAP_"+name)
			}
		}
	}
	caps := &specs.LinuxCapabilities{Bounding: names, Effective: names, Permitted: names}
	if len(ambientNames) > 0 {
		// The kernel takes ambient capabilities only from inheritable ones.
		caps.Inheritable, caps.Ambient = ambientNames, ambientNames
	}
	return caps
}

func capNames(in []string) []string {
	out := make([]string, 0, len(in))
	for _, name := range in {
		out = append(out, strings.TrimPrefix(strings.ToUpper(name), "CAP_"))
	}
	return out
}

// oomScoreAdj keeps to what this process may set: without CAP_SYS_RESOURCE
// nobody goes below where they are themselves.
func (h hostCapabilities) oomScoreAdj(asked int) int {
	if h.has(unix.CAP_SYS_RESOURCE) {
		return asked
	}
	data, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return asked
	}
	own, err := strconv.Atoi(strings.TrimSpace(string(data)))
	if err != nil {
		return asked
	}
	return max(asked, own)
}

func apparmorEnabled() bool {
	data, err := os.ReadFile("/sys/module/apparmor/parameters/enabled")
	return err == nil && strings.HasPrefix(string(data), "Y")
}
