package cluster

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// residentMemory returns the resident memory of a process in bytes, 0 where
// the process is gone.
func residentMemory(pid int) int64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(data))
	if len(fields) < 2 {
		return 0
	}
	pages, err := strconv.ParseInt(fields[1], 10, 64)
	if err != nil {
		return 0
	}
	return pages * int64(os.Getpagesize())
}

// isMonitor tells whether the process is a container's monitor rather than
// what the user runs in the container.
func isMonitor(pid int) bool {
	comm, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
	return err == nil && bytes.Equal(bytes.TrimSpace(comm), []byte("conmon"))
}
