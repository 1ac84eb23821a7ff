package oci

import (
	"fmt"
	"slices"
	"strconv"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"minato/internal/host"
)

// openFiles is how many files a process of a container may have open, as soft
// and as hard limit: LimitNOFILE of containerd's and Docker's units, which their
// containers inherit, up to containerd 1.7. Newer units leave the soft limit at
// 1024, which many images are not made for.
const openFiles = 1 << 20

// rlimits are the limits of processes that do not depend on who has started the
// cluster: a login shell, a unit of systemd and this program itself, which
// raises its own limit of open files, all have different ones. Other limits are
// inherited.
func (h hostCapabilities) rlimits() ([]specs.POSIXRlimit, error) {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return nil, fmt.Errorf("read the limit of open files (RLIMIT_NOFILE): %w", err)
	}
	text, err := host.ReadSysctl("fs/nr_open")
	if err != nil {
		return nil, fmt.Errorf("read the kernel's limit of open files: %w", err)
	}
	most, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		return nil, fmt.Errorf("read the kernel's limit of open files: fs.nr_open: %w", err)
	}
	n := h.openFiles(own.Max, most)
	return []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Soft: n, Hard: n}}, nil
}

// openFiles keeps to what this process may set: nobody goes above the kernel's
// limit, and nobody without CAP_SYS_RESOURCE above their own hard limit.
func (h hostCapabilities) openFiles(own, most uint64) uint64 {
	n := min(openFiles, most)
	if !slices.Contains(h, "SYS_RESOURCE") {
		n = min(n, own)
	}
	return n
}
