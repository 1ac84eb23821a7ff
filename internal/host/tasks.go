package host

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// MachineTasks is how many processes and threads the machine has, and how many it
// can have.
func MachineTasks() (running, limit int64, err error) { return tasksIn("/proc") }

// tasksIn reads them below a directory such as /proc. Both pid_max and threads-max
// bound them, and on a machine with little memory threads-max is the lower one.
func tasksIn(proc string) (running, limit int64, err error) {
	load, err := os.ReadFile(filepath.Join(proc, "loadavg")) // 0.00 0.01 0.05 1/345 6789
	if err != nil {
		return 0, 0, err
	}
	f := strings.Fields(string(load))
	if len(f) < 4 {
		return 0, 0, fmt.Errorf("%s/loadavg reads %q", proc, load)
	}
	_, total, _ := strings.Cut(f[3], "/")
	if running, err = strconv.ParseInt(total, 10, 64); err != nil {
		return 0, 0, fmt.Errorf("%s/loadavg reads %q", proc, load)
	}
	for _, name := range []string{"pid_max", "threads-max"} {
		path := filepath.Join(proc, "sys/kernel", name)
		text, err := os.ReadFile(path)
		if err != nil {
			return 0, 0, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("%s: %w", path, err)
		}
		if limit == 0 || n < limit {
			limit = n
		}
	}
	return running, limit, nil
}
