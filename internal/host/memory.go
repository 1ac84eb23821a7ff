package host

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is the machine's, in bytes.
type Memory struct {
	Total int64
	// Available is what programs could get without swapping, by the kernel's own
	// estimate.
	Available int64
	// Swap is the size of its swap devices, 0 without one.
	Swap int64
}

// MachineMemory reads it from /proc/meminfo.
func MachineMemory() (Memory, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return Memory{}, fmt.Errorf("read the machine's memory: %w", err)
	}
	return parseMemory(data)
}

func parseMemory(data []byte) (Memory, error) {
	var m Memory
	want := map[string]*int64{"MemTotal:": &m.Total, "MemAvailable:": &m.Available, "SwapTotal:": &m.Swap}
	for line := range bytes.Lines(data) {
		fields := strings.Fields(string(line))
		if len(fields) < 2 || want[fields[0]] == nil {
			continue
		}
		kib, err := strconv.ParseInt(fields[1], 10, 54)
		if err != nil {
			return Memory{}, fmt.Errorf("read the machine's memory: %s %w", fields[0], err)
		}
		*want[fields[0]] = kib << 10
		delete(want, fields[0])
	}
	delete(want, "SwapTotal:") // which a kernel without swap has not
	for name := range want {
		return Memory{}, fmt.Errorf("read the machine's memory: /proc/meminfo has no %s", strings.TrimSuffix(name, ":"))
	}
	return m, nil
}
