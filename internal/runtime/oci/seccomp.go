package oci

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// seccomp returns the filter that the pod asks for; nil is none.
func (b *specBuilder) seccomp() (*specs.LinuxSeccomp, error) {
	profile := b.security().GetSeccomp()
	if profile == nil || b.security().GetPrivileged() {
		return nil, nil
	}
	switch profile.GetProfileType() {
	case runtimeapi.SecurityProfile_Unconfined:
		return nil, nil
	case runtimeapi.SecurityProfile_Localhost:
		path := strings.TrimPrefix(profile.GetLocalhostRef(), "localhost/")
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("seccomp profile: %w", err)
		}
		out := &specs.LinuxSeccomp{}
		if err := json.Unmarshal(data, out); err != nil {
			return nil, fmt.Errorf("seccomp profile %s: %w", path, err)
		}
		return out, nil
	}
	return defaultSeccomp(b.caps.forContainer(b.security()).Bounding), nil
}

// guarded are system calls that RuntimeDefault refuses, unless the container
// has the capability that they are for. They reach the kernel beyond the
// container's namespaces, or are known for the bugs behind them.
var guarded = []struct {
	unless []string // any of these capabilities
	calls  []string
}{
	{nil, []string{
		"_sysctl", "add_key", "create_module", "get_kernel_syms", "io_uring_enter", "io_uring_register", "io_uring_setup",
		"kexec_file_load", "kexec_load", "keyctl", "nfsservctl", "query_module", "request_key", "swapoff", "swapon",
		"sysfs", "uselib", "userfaultfd", "ustat", "vm86", "vm86old",
	}},
	{[]string{"CAP_SYS_ADMIN"}, []string{
		"fanotify_init", "fsconfig", "fsmount", "fsopen", "fspick", "lookup_dcookie", "mount", "mount_setattr",
		"move_mount", "open_tree", "pivot_root", "quotactl", "quotactl_fd", "setdomainname", "sethostname", "setns",
		"umount", "umount2", "unshare",
	}},
	{[]string{"CAP_BPF", "CAP_SYS_ADMIN"}, []string{"bpf"}},
	{[]string{"CAP_PERFMON", "CAP_SYS_ADMIN"}, []string{"perf_event_open"}},
	{[]string{"CAP_DAC_READ_SEARCH"}, []string{"open_by_handle_at"}},
	{[]string{"CAP_SYS_BOOT"}, []string{"reboot"}},
	{[]string{"CAP_SYS_MODULE"}, []string{"delete_module", "finit_module", "init_module"}},
	{[]string{"CAP_SYS_NICE"}, []string{"mbind", "migrate_pages", "move_pages", "set_mempolicy", "set_mempolicy_home_node"}},
	{[]string{"CAP_SYS_PACCT"}, []string{"acct"}},
	{[]string{"CAP_SYS_PTRACE"}, []string{"kcmp", "pidfd_getfd", "process_madvise"}},
	{[]string{"CAP_SYS_RAWIO"}, []string{"ioperm", "iopl"}},
	// adjtimex and clock_adjtime stay: everybody asks how good the clock is.
	{[]string{"CAP_SYS_TIME"}, []string{"clock_settime", "clock_settime64", "settimeofday", "stime"}},
	{[]string{"CAP_SYS_TTY_CONFIG"}, []string{"vhangup"}},
	{[]string{"CAP_SYSLOG", "CAP_SYS_ADMIN"}, []string{"syslog"}},
}

// namespaceFlags of clone(2) make new namespaces, as unshare(2) does.
var namespaceFlags = [...]uint64{
	unix.CLONE_NEWNS, unix.CLONE_NEWCGROUP, unix.CLONE_NEWUTS, unix.CLONE_NEWIPC, unix.CLONE_NEWUSER, unix.CLONE_NEWPID, unix.CLONE_NEWNET,
}

// defaultSeccomp is what RuntimeDefault means: everything is allowed but a
// list of what containers have no business with.
func defaultSeccomp(caps []string) *specs.LinuxSeccomp {
	out := &specs.LinuxSeccomp{DefaultAction: specs.ActAllow, Architectures: seccompArchs(runtime.GOARCH)}
	for _, g := range guarded {
		if !slices.ContainsFunc(g.unless, func(c string) bool { return slices.Contains(caps, c) }) {
			out.Syscalls = append(out.Syscalls, refuse(unix.EPERM, g.calls))
		}
	}
	// AF_VSOCK reaches the hypervisor past all network namespaces.
	vsock := refuse(unix.EINVAL, []string{"socket"}, specs.LinuxSeccompArg{Index: 0, Value: unix.AF_VSOCK, Op: specs.OpEqualTo})
	out.Syscalls = append(out.Syscalls, vsock)
	if slices.Contains(caps, "CAP_SYS_ADMIN") {
		return out
	}
	for _, flag := range namespaceFlags {
		arg := specs.LinuxSeccompArg{Index: 0, Value: flag, ValueTwo: flag, Op: specs.OpMaskedEqual}
		out.Syscalls = append(out.Syscalls, refuse(unix.EPERM, []string{"clone"}, arg))
	}
	// Its flags lie in memory, where no filter looks. libc falls back to clone
	// where the kernel does not know the call.
	out.Syscalls = append(out.Syscalls, refuse(unix.ENOSYS, []string{"clone3"}))
	return out
}

func refuse(errno unix.Errno, names []string, args ...specs.LinuxSeccompArg) specs.LinuxSyscall {
	code := uint(errno)
	return specs.LinuxSyscall{Names: names, Action: specs.ActErrno, ErrnoRet: &code, Args: args}
}

// seccompArchs are those that a kernel of this architecture runs programs of;
// calls by any other end the program.
func seccompArchs(goarch string) []specs.Arch {
	switch goarch {
	case "amd64":
		return []specs.Arch{specs.ArchX86_64, specs.ArchX86, specs.ArchX32}
	case "arm64":
		return []specs.Arch{specs.ArchAARCH64, specs.ArchARM}
	}
	return nil // the runtime's own
}
