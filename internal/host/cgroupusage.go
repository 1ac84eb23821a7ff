package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// WorkingSet is the memory, in bytes, that the processes of c and below it use,
// without the part of the page cache that the kernel gives up first: what the
// kubelet calls by this name. The error is ErrNoController where the machine's
// cgroups don't account memory.
func (c Cgroup) WorkingSet() (int64, error) {
	dir, v2, err := c.Controller("memory")
	if err != nil {
		return 0, err
	}
	file, key := "memory.usage_in_bytes", "total_inactive_file"
	if v2 {
		file, key = "memory.current", "inactive_file"
	}
	used, err := readNumber(filepath.Join(dir, file))
	if err != nil {
		return 0, fmt.Errorf("measure the memory of cgroup %s: %w", c.Path, err)
	}
	stat, err := os.ReadFile(filepath.Join(dir, "memory.stat"))
	if err != nil {
		return 0, fmt.Errorf("measure the memory of cgroup %s: %w", c.Path, err)
	}
	for line := range strings.Lines(string(stat)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		if name != key {
			continue
		}
		inactive, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("measure the memory of cgroup %s: %w", c.Path, err)
		}
		return max(0, used-inactive), nil
	}
	return 0, fmt.Errorf("measure the memory of cgroup %s: %w", c.Path, errors.New("memory.stat has no "+key))
}

// Threads is how many processes and threads are in c and below it.
func (c Cgroup) Threads() (int64, error) {
	dir, _, err := c.Controller("pids")
	if err != nil {
		return 0, err
	}
	n, err := readNumber(filepath.Join(dir, "pids.current"))
	if err != nil {
		return 0, fmt.Errorf("count the processes of cgroup %s: %w", c.Path, err)
	}
	return n, nil
}

func readNumber(path string) (int64, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
}
