package host

import (
	"fmt"
	"os"
	"strings"

	"github.com/moby/sys/mountinfo"
)

// listMounts returns the mounts of the calling thread's mount namespace that
// wanted is true of, in the order of the kernel: of mounts at one place the
// last is on top.
func listMounts(wanted func(*mountinfo.Info) bool) ([]*mountinfo.Info, error) {
	f, err := os.Open("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	defer f.Close()
	found, err := mountinfo.GetMountsFromReader(f, func(m *mountinfo.Info) (skip, stop bool) { return !wanted(m), false })
	if err != nil {
		return nil, fmt.Errorf("list mounts: %w", err)
	}
	return found, nil
}

// isUnder tells whether path is dir or below it; both are clean.
func isUnder(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}
