package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"minato/internal/host"
)

// Memory is what the processes of a cgroup hold.
type Memory struct {
	// Process is their own memory, Kernel what the kernel holds for them:
	// tables of eBPF, rules and sets of nftables.
	Process, Kernel int64
}

// Total is both.
func (m Memory) Total() int64 { return m.Process + m.Kernel }

// memoryDir is where the memory of a cgroup is counted: in cgroup2, or in the
// controller of version 1 where that has it.
func memoryDir(c host.Cgroup) (dir string, unified bool, err error) {
	layout, err := host.Cgroups()
	if err != nil {
		return "", false, err
	}
	if layout.Unified {
		return c.V2(), true, nil
	}
	for _, mount := range layout.V1 {
		if filepath.Base(mount) == "memory" {
			return filepath.Join(mount, c.Path), false, nil
		}
	}
	return "", false, fmt.Errorf("no controller of memory is mounted on this machine")
}

// countMemory makes the process's memory count for its cgroup from now on.
func countMemory(c host.Cgroup, pid int) error {
	dir, unified, err := memoryDir(c)
	if err != nil || unified {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o644)
}

// readMemory reads what a cgroup holds.
func readMemory(c host.Cgroup) (Memory, error) {
	dir, unified, err := memoryDir(c)
	if err != nil {
		return Memory{}, err
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return Memory{}, err
	}
	if unified {
		return Memory{Process: field(stat, "anon"), Kernel: field(stat, "kernel")}, nil
	}
	kernel, err := os.ReadFile(filepath.Join(dir, "memory.kmem.usage_in_bytes"))
	if err != nil {
		return Memory{}, err
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(kernel)), 10, 64)
	return Memory{Process: field(stat, "rss"), Kernel: n}, err
}

// field reads a line "NAME NUMBER".
func field(text []byte, name string) int64 {
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == name {
			n, _ := strconv.ParseInt(f[1], 10, 64)
			return n
		}
	}
	return 0
}
