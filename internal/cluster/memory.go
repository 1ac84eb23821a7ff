package cluster

import (
	"bytes"
	"fmt"
	"os"

	"minato/internal/host"
)

// residentMemory returns the resident memory of a process in bytes, 0 where
// the process is gone.
func residentMemory(pid int) int64 {
	use, err := host.ReadProcess(pid)
	if err != nil {
		return 0
	}
	return use.Resident
}

// isMonitor tells whether the process is a container's monitor rather than
// what the user runs in the container.
func isMonitor(pid int) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && bytes.Equal(bytes.TrimSpace(comm), []byte("conmon"))
}
