package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// audit prints what the container that it runs in may do. What depends on the
// machine's kernel and not on the container's confinement is left out.
func audit() {
	auditStatus()
	auditLimits()
	auditDevices()
	auditPaths()
	auditCalls()
}

func auditStatus() {
	data, err := os.ReadFile("/proc/self/status")
	check(err)
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		switch key {
		case "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp":
			fmt.Println("status", key, strings.TrimSpace(value))
		}
	}
}

func auditLimits() {
	// Not by getrlimit(2): Go changes the soft limit of its own process.
	data, err := os.ReadFile("/proc/self/limits")
	check(err)
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "Max open files"); ok {
			fmt.Println("limit of open files", strings.Join(strings.Fields(rest), " "))
		}
	}
}

func auditDevices() {
	filepath.WalkDir("/dev", func(path string, d fs.DirEntry, err error) error {
		check(err)
		var st unix.Stat_t
		check(unix.Lstat(path, &st))
		switch {
		case path == "/dev/pts" || path == "/dev/shm" || path == "/dev/mqueue":
			fmt.Printf("device %s directory\n", path)
			return fs.SkipDir
		case d.Type()&fs.ModeSymlink != 0:
			to, err := os.Readlink(path)
			check(err)
			fmt.Printf("device %s -> %s\n", path, to)
		case d.Type()&fs.ModeDevice != 0:
			fmt.Printf("device %s %d:%d %o\n", path, unix.Major(uint64(st.Rdev)), unix.Minor(uint64(st.Rdev)), st.Mode&0o777)
		}
		return nil
	})
	// /dev/mem, made by oneself.
	err := unix.Mknod("/tmp/mem", unix.S_IFCHR|0o600, int(unix.Mkdev(1, 1)))
	fmt.Println("mknod of a device:", verdict(err))
	_, err = os.Open("/tmp/mem")
	fmt.Println("open of a device made by mknod:", verdict(err))
}

func auditPaths() {
	for _, path := range []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	} {
		fmt.Println("read", path, hidden(path))
	}
	for _, path := range []string{
		"/proc/bus/x", "/proc/fs/x", "/proc/irq/default_smp_affinity", "/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger",
		"/sys/kernel/mm/ksm/run",
	} {
		f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			f.Close()
		}
		fmt.Println("write", path, verdict(err))
	}
	answer := "refused"
	for _, pattern := range []string{"/sys/fs/cgroup/cgroup.procs", "/sys/fs/cgroup/*/cgroup.procs"} {
		files, _ := filepath.Glob(pattern)
		for _, path := range files {
			if f, err := os.OpenFile(path, os.O_WRONLY, 0); err == nil {
				f.Close()
				answer = "allowed"
			}
		}
	}
	fmt.Println("write /sys/fs/cgroup:", answer)
}

// hidden is what is not there, an empty directory, or a file without content.
func hidden(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return "hidden"
	}
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil || len(entries) == 0 {
			return "hidden"
		}
		return "shown"
	}
	f, err := os.Open(path)
	if err != nil {
		return "hidden"
	}
	defer f.Close()
	if n, _ := f.Read(make([]byte, 1)); n == 0 {
		return "hidden"
	}
	return "shown"
}

func verdict(err error) string {
	if err == nil {
		return "allowed"
	}
	return "refused"
}

// auditCalls makes system calls with arguments that do nothing where the call
// is allowed. The filter answers EPERM or ENOSYS before the kernel looks at them.
func auditCalls() {
	const bad = ^uintptr(0) // no descriptor, no flags, no address
	zero := uintptr(unsafe.Pointer(new([16]uint64)))
	nowhere := uintptr(unsafe.Pointer(&[]byte("/nowhere/at/all\x00")[0]))
	for _, c := range []struct {
		name    string
		nr      uintptr
		a, b, c uintptr
	}{
		{"acct", unix.SYS_ACCT, nowhere, 0, 0},
		{"add_key", unix.SYS_ADD_KEY, 1, 1, 1},
		{"bpf", unix.SYS_BPF, bad, zero, 0},
		{"chroot", unix.SYS_CHROOT, nowhere, 0, 0},
		{"clock_settime", unix.SYS_CLOCK_SETTIME, bad, zero, 0},
		{"clone CLONE_NEWUSER", unix.SYS_CLONE, unix.CLONE_NEWUSER | unix.CLONE_FS, 0, 0},
		{"clone3", unix.SYS_CLONE3, 1, 0, 0},
		{"delete_module", unix.SYS_DELETE_MODULE, 1, 0, 0},
		{"fanotify_init", unix.SYS_FANOTIFY_INIT, bad, 0, 0},
		{"finit_module", unix.SYS_FINIT_MODULE, bad, 1, bad},
		{"fsconfig", unix.SYS_FSCONFIG, bad, 0, 0},
		{"fsmount", unix.SYS_FSMOUNT, bad, 0, 0},
		{"fsopen", unix.SYS_FSOPEN, 1, bad, 0},
		{"fspick", unix.SYS_FSPICK, bad, nowhere, bad},
		{"get_mempolicy", unix.SYS_GET_MEMPOLICY, 1, 1, 0},
		{"getpid", unix.SYS_GETPID, 0, 0, 0},
		{"init_module", unix.SYS_INIT_MODULE, 1, 1, 1},
		{"io_uring_setup", unix.SYS_IO_URING_SETUP, 0, zero, 0},
		{"kcmp", unix.SYS_KCMP, bad, bad, bad},
		{"kexec_load", unix.SYS_KEXEC_LOAD, 0, bad, 0},
		{"keyctl", unix.SYS_KEYCTL, bad, 0, 0},
		{"listmount", unix.SYS_LISTMOUNT, zero, zero, 0},
		{"lsm_list_modules", unix.SYS_LSM_LIST_MODULES, 1, 1, bad},
		{"lsm_set_self_attr", unix.SYS_LSM_SET_SELF_ATTR, bad, zero, 0},
		{"mbind", unix.SYS_MBIND, 1, 1, bad},
		{"mount", unix.SYS_MOUNT, nowhere, nowhere, nowhere},
		{"mount_setattr", unix.SYS_MOUNT_SETATTR, bad, nowhere, bad},
		{"move_mount", unix.SYS_MOVE_MOUNT, bad, nowhere, bad},
		{"move_pages", unix.SYS_MOVE_PAGES, bad, 1, 0},
		{"name_to_handle_at", unix.SYS_NAME_TO_HANDLE_AT, bad, nowhere, zero},
		{"open_by_handle_at", unix.SYS_OPEN_BY_HANDLE_AT, bad, zero, 0},
		{"open_tree", unix.SYS_OPEN_TREE, bad, nowhere, 0},
		{"perf_event_open", unix.SYS_PERF_EVENT_OPEN, 1, 0, 0},
		{"personality READ_IMPLIES_EXEC", unix.SYS_PERSONALITY, 0x0400000, 0, 0},
		{"personality query", unix.SYS_PERSONALITY, 0xffffffff, 0, 0},
		{"pivot_root", unix.SYS_PIVOT_ROOT, nowhere, nowhere, 0},
		{"process_madvise", unix.SYS_PROCESS_MADVISE, bad, 0, 0},
		{"quotactl", unix.SYS_QUOTACTL, bad, nowhere, 0},
		{"reboot", unix.SYS_REBOOT, 0, 0, 0},
		{"request_key", unix.SYS_REQUEST_KEY, 1, 1, 1},
		{"set_mempolicy", unix.SYS_SET_MEMPOLICY, bad, 0, 0},
		{"setdomainname", unix.SYS_SETDOMAINNAME, 1, bad, 0},
		{"sethostname", unix.SYS_SETHOSTNAME, 1, bad, 0},
		{"setns", unix.SYS_SETNS, bad, 0, 0},
		{"settimeofday", unix.SYS_SETTIMEOFDAY, 1, 0, 0},
		{"socket AF_ALG", unix.SYS_SOCKET, unix.AF_ALG, unix.SOCK_SEQPACKET, 0},
		{"socket AF_INET", unix.SYS_SOCKET, unix.AF_INET, unix.SOCK_STREAM, 0},
		{"socket AF_VSOCK", unix.SYS_SOCKET, unix.AF_VSOCK, unix.SOCK_STREAM, 0},
		{"statmount", unix.SYS_STATMOUNT, zero, zero, 0},
		{"swapon", unix.SYS_SWAPON, nowhere, 0, 0},
		{"syslog", unix.SYS_SYSLOG, bad, 0, 0},
		{"umount2", unix.SYS_UMOUNT2, nowhere, bad, 0},
		{"unshare CLONE_NEWUSER", unix.SYS_UNSHARE, unix.CLONE_NEWUSER, 0, 0},
		{"unshare CLONE_NEWNET", unix.SYS_UNSHARE, unix.CLONE_NEWNET, 0, 0},
		{"userfaultfd", unix.SYS_USERFAULTFD, bad, 0, 0},
		{"vhangup", unix.SYS_VHANGUP, 0, 0, 0},
	} {
		_, _, errno := unix.RawSyscall(c.nr, c.a, c.b, c.c)
		answer := "allowed"
		if errno == unix.EPERM || errno == unix.ENOSYS {
			answer = "refused"
		}
		if c.name == "clone3" && errno == unix.ENOSYS {
			answer = "not implemented" // so that libc takes clone in its place
		}
		fmt.Printf("call %s: %s\n", c.name, answer)
	}
}
