package host

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// CPUUsage is what the processes of a cgroup, and of those below it, have had of
// the CPUs since the cgroup was made.
type CPUUsage struct {
	Total, User, System time.Duration
	// Periods have passed with a limit in force, and Throttled of them ended
	// before their time, which cost ThrottledTime in all.
	Periods, Throttled uint64
	ThrottledTime      time.Duration
}

// MemoryUsage is the memory of a cgroup and of those below it, in bytes. The
// working set is the usage without files that were not used lately.
type MemoryUsage struct {
	Usage, WorkingSet, RSS, Cache, Mapped, Swap uint64
	ActiveFile, InactiveFile                    uint64
	// Peak is the most that Usage has been, and Failures how often the limit was hit;
	// 0 where the kernel doesn't tell.
	Peak, Failures uint64
	// Kernel is a part of Usage: what the kernel holds for the processes.
	Kernel                      uint64
	PageFaults, MajorPageFaults uint64
	// Limit and SwapLimit are 0 where there is none; SwapLimit is for swap alone.
	Limit, SwapLimit uint64
}

// CPU reads the use of the CPUs. The error is fs.ErrNotExist when the cgroup is
// gone, and ErrNoController where the machine counts nothing.
func (c Cgroup) CPU() (CPUUsage, error) {
	dir, v2, err := c.counter("cpuacct", "cpu")
	if err != nil {
		return CPUUsage{}, fmt.Errorf("CPU usage of cgroup %s: %w", c.Path, err)
	}
	var u CPUUsage
	if v2 {
		stat, err := keyedFile(dir, "cpu.stat")
		if err != nil {
			return u, fmt.Errorf("CPU usage of cgroup %s: %w", c.Path, err)
		}
		micro := func(key string) time.Duration { return time.Duration(stat[key]) * time.Microsecond }
		u.Total, u.User, u.System, u.ThrottledTime = micro("usage_usec"), micro("user_usec"), micro("system_usec"), micro("throttled_usec")
		u.Periods, u.Throttled = stat["nr_periods"], stat["nr_throttled"]
		return u, nil
	}
	total, err := numberFile(dir, "cpuacct.usage")
	if err != nil {
		return u, fmt.Errorf("CPU usage of cgroup %s: %w", c.Path, err)
	}
	u.Total = time.Duration(total)
	user, _ := numberFile(dir, "cpuacct.usage_user") // kernels before 4.8 lack both
	system, _ := numberFile(dir, "cpuacct.usage_sys")
	u.User, u.System = time.Duration(user), time.Duration(system)
	if dir, v2, err := c.Controller("cpu"); err == nil && !v2 {
		stat, _ := keyedFile(dir, "cpu.stat")
		u.Periods, u.Throttled, u.ThrottledTime = stat["nr_periods"], stat["nr_throttled"], time.Duration(stat["throttled_time"])
	}
	return u, nil
}

// Memory reads the use of memory; errors are those of CPU.
func (c Cgroup) Memory() (MemoryUsage, error) {
	dir, v2, err := c.counter("memory", "memory")
	if err != nil {
		return MemoryUsage{}, fmt.Errorf("memory of cgroup %s: %w", c.Path, err)
	}
	read := memoryV1
	if v2 {
		read = memoryV2
	}
	u, err := read(dir)
	if err != nil {
		return u, fmt.Errorf("memory of cgroup %s: %w", c.Path, err)
	}
	return u, nil
}

// memoryV1 reads a directory of version 1, which counts children under names of
// their own and says "no limit" with a huge number.
func memoryV1(dir string) (u MemoryUsage, err error) {
	if u.Usage, err = numberFile(dir, "memory.usage_in_bytes"); err != nil {
		return u, err
	}
	stat, err := keyedFile(dir, "memory.stat")
	if err != nil {
		return u, err
	}
	u.WorkingSet = u.Usage - min(u.Usage, stat["total_inactive_file"])
	u.RSS, u.Cache, u.Mapped, u.Swap = stat["total_rss"], stat["total_cache"], stat["total_mapped_file"], stat["total_swap"]
	u.PageFaults, u.MajorPageFaults = stat["total_pgfault"], stat["total_pgmajfault"]
	u.ActiveFile, u.InactiveFile = stat["total_active_file"], stat["total_inactive_file"]
	u.Kernel, _ = numberFile(dir, "memory.kmem.usage_in_bytes")
	u.Peak, _ = numberFile(dir, "memory.max_usage_in_bytes")
	u.Failures, _ = numberFile(dir, "memory.failcnt")
	u.Limit = limitOf(stat["hierarchical_memory_limit"])
	if both := limitOf(stat["hierarchical_memsw_limit"]); both > u.Limit && u.Limit > 0 {
		u.SwapLimit = both - u.Limit
	}
	return u, nil
}

func memoryV2(dir string) (u MemoryUsage, err error) {
	if u.Usage, err = numberFile(dir, "memory.current"); err != nil {
		return u, err
	}
	stat, err := keyedFile(dir, "memory.stat")
	if err != nil {
		return u, err
	}
	u.WorkingSet = u.Usage - min(u.Usage, stat["inactive_file"])
	u.RSS, u.Cache, u.Mapped, u.Kernel = stat["anon"], stat["file"], stat["file_mapped"], stat["kernel"]
	u.PageFaults, u.MajorPageFaults = stat["pgfault"], stat["pgmajfault"]
	u.ActiveFile, u.InactiveFile = stat["active_file"], stat["inactive_file"]
	u.Swap, _ = numberFile(dir, "memory.swap.current")
	u.Peak, _ = numberFile(dir, "memory.peak")
	if events, err := keyedFile(dir, "memory.events"); err == nil {
		u.Failures = events["max"]
	}
	u.Limit, _ = numberFile(dir, "memory.max") // "max" is no number
	u.SwapLimit, _ = numberFile(dir, "memory.swap.max")
	return u, nil
}

// limitOf is a limit of version 1.
func limitOf(n uint64) uint64 {
	if n >= 1<<60 {
		return 0
	}
	return n
}

// counter returns c's directory in the hierarchy that counts something: a
// controller of version 1, or cgroup2 with a controller of another name.
func (c Cgroup) counter(v1, v2 string) (string, bool, error) {
	dir, unified, err := c.Controller(v1)
	if v1 != v2 && (unified || errors.Is(err, ErrNoController)) {
		dir, unified, err = c.Controller(v2)
		if err == nil && !unified {
			err = fmt.Errorf("%s: %w", v1, ErrNoController)
		}
	}
	return dir, unified, err
}

// CPUShare is how a cgroup shares the CPUs: shares are those of version 1, whose
// default is 1024; a quota of 0 is none.
type CPUShare struct {
	Shares        uint64
	Quota, Period time.Duration
}

// Share reads how the cgroup shares the CPUs.
func (c Cgroup) Share() (CPUShare, error) {
	dir, v2, err := c.Controller("cpu")
	if err != nil {
		return CPUShare{}, fmt.Errorf("CPU share of cgroup %s: %w", c.Path, err)
	}
	var s CPUShare
	if !v2 {
		if s.Shares, err = numberFile(dir, "cpu.shares"); err != nil {
			return s, fmt.Errorf("CPU share of cgroup %s: %w", c.Path, err)
		}
		quota, _ := numberFile(dir, "cpu.cfs_quota_us") // -1, which is no such number, means none
		period, _ := numberFile(dir, "cpu.cfs_period_us")
		s.Quota, s.Period = time.Duration(quota)*time.Microsecond, time.Duration(period)*time.Microsecond
		return s, nil
	}
	weight, err := numberFile(dir, "cpu.weight")
	if err != nil {
		return s, fmt.Errorf("CPU share of cgroup %s: %w", c.Path, err)
	}
	s.Shares = sharesOf(weight)
	text, err := os.ReadFile(filepath.Join(dir, "cpu.max"))
	if err != nil {
		return s, fmt.Errorf("CPU share of cgroup %s: %w", c.Path, err)
	}
	if fields := strings.Fields(string(text)); len(fields) == 2 {
		quota, _ := strconv.ParseUint(fields[0], 10, 64) // "max" is none
		period, _ := strconv.ParseUint(fields[1], 10, 64)
		s.Quota, s.Period = time.Duration(quota)*time.Microsecond, time.Duration(period)*time.Microsecond
	}
	return s, nil
}

// sharesOf turns a weight of cgroup2 (1 to 10000) into shares (2 to 262144), as
// KEP-2254 does.
func sharesOf(weight uint64) uint64 {
	if weight < 1 {
		return 0
	}
	return 2 + (weight-1)*262142/9999
}

// MaxPids is how many threads and processes the cgroup may have; 0 is any number.
func (c Cgroup) MaxPids() uint64 {
	dir, _, err := c.Controller("pids")
	if err != nil {
		return 0
	}
	n, _ := numberFile(dir, "pids.max")
	return n
}

// Pids counts the threads of the processes in c and below it.
func (c Cgroup) Pids() (uint64, error) {
	dir, _, err := c.Controller("pids")
	if err != nil {
		return 0, fmt.Errorf("threads of cgroup %s: %w", c.Path, err)
	}
	n, err := numberFile(dir, "pids.current")
	if err != nil {
		return 0, fmt.Errorf("threads of cgroup %s: %w", c.Path, err)
	}
	return n, nil
}

// OOMKills counts the processes that the kernel has ended for the memory limit.
func (c Cgroup) OOMKills() (uint64, error) {
	dir, v2, err := c.Controller("memory")
	if err != nil {
		return 0, fmt.Errorf("OOM kills of cgroup %s: %w", c.Path, err)
	}
	name := "memory.oom_control"
	if v2 {
		name = "memory.events"
	}
	events, err := keyedFile(dir, name)
	if err != nil {
		return 0, fmt.Errorf("OOM kills of cgroup %s: %w", c.Path, err)
	}
	return events["oom_kill"], nil
}

// numberFile reads a file of one number.
func numberFile(dir, name string) (uint64, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, gone(err)
	}
	n, err := strconv.ParseUint(string(bytes.TrimSpace(data)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	return n, nil
}

// keyedFile reads a file of lines with a name and a number.
func keyedFile(dir, name string) (map[string]uint64, error) {
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return nil, gone(err)
	}
	out := map[string]uint64{}
	for lines := bufio.NewScanner(bytes.NewReader(data)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), " ")
		if n, err := strconv.ParseUint(strings.TrimSpace(value), 10, 64); err == nil {
			out[key] = n
		}
	}
	return out, nil
}

// gone makes fs.ErrNotExist of what a read of a cgroup says that was deleted
// after its file was opened.
func gone(err error) error {
	if err != nil && ignoreGone(err) == nil {
		return fs.ErrNotExist
	}
	return err
}
