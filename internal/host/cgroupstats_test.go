package host

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// files makes a directory with files.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func TestStatsOfCgroup2(t *testing.T) {
	root := files(t, map[string]string{
		"cgroup.controllers":    "cpu memory pids\n",
		"p/cpu.stat":            "usage_usec 3000000\nuser_usec 2000000\nsystem_usec 1000000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 500000\n",
		"p/memory.current":      "1000\n",
		"p/memory.stat":         "anon 300\nfile 600\nkernel 50\nfile_mapped 70\nactive_file 40\ninactive_file 200\npgfault 9\npgmajfault 2\n",
		"p/memory.swap.current": "11\n",
		"p/memory.max":          "5000\n",
		"p/memory.swap.max":     "max\n",
		"p/memory.events":       "low 0\nmax 4\noom 3\noom_kill 2\n",
		"p/cpu.weight":          "100\n",
		"p/cpu.max":             "50000 100000\n",
		"p/pids.max":            "max\n",
		"p/pids.current":        "7\n",
	})
	c := Cgroup{Path: "p", Root: root}
	cpu, err := c.CPU()
	want := CPUUsage{Total: 3 * time.Second, User: 2 * time.Second, System: time.Second, Periods: 10, Throttled: 4, ThrottledTime: 500 * time.Millisecond}
	if err != nil || cpu != want {
		t.Errorf("CPU %+v, %v, want %+v", cpu, err, want)
	}
	memory, err := c.Memory()
	wantMemory := MemoryUsage{Usage: 1000, WorkingSet: 800, RSS: 300, Cache: 600, Mapped: 70, Swap: 11, Kernel: 50, ActiveFile: 40, InactiveFile: 200, Failures: 4, PageFaults: 9, MajorPageFaults: 2, Limit: 5000}
	if err != nil || memory != wantMemory {
		t.Errorf("memory %+v, %v, want %+v", memory, err, wantMemory)
	}
	share, err := c.Share()
	if err != nil || share != (CPUShare{Shares: 2597, Quota: 50 * time.Millisecond, Period: 100 * time.Millisecond}) {
		t.Errorf("share %+v, %v", share, err)
	}
	if kills, err := c.OOMKills(); err != nil || kills != 2 {
		t.Errorf("%d OOM kills, %v", kills, err)
	}
	if n, err := c.Pids(); err != nil || n != 7 || c.MaxPids() != 0 {
		t.Errorf("%d threads, %v, of %d", n, err, c.MaxPids())
	}
}

func TestStatsOfMissingCgroup(t *testing.T) {
	c := Cgroup{Path: "p", Root: files(t, map[string]string{"cgroup.controllers": "cpu memory\n"})}
	if _, err := c.CPU(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("CPU of a cgroup that is gone: %v", err)
	}
	if _, err := c.Memory(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("memory of a cgroup that is gone: %v", err)
	}
	c.Root = files(t, map[string]string{"cgroup.controllers": "pids\n"})
	if _, err := c.Memory(); !errors.Is(err, ErrNoController) {
		t.Errorf("memory without a controller: %v", err)
	}
}

func TestMemoryOfVersion1(t *testing.T) {
	for _, test := range []struct {
		limit, both string
		want        MemoryUsage
	}{
		{"9223372036854771712", "9223372036854771712", MemoryUsage{}},
		{"4096", "9223372036854771712", MemoryUsage{Limit: 4096}},
		{"4096", "6144", MemoryUsage{Limit: 4096, SwapLimit: 2048}},
	} {
		dir := files(t, map[string]string{
			"memory.usage_in_bytes": "1000\n",
			"memory.stat": "rss 1\ntotal_rss 300\ntotal_cache 600\ntotal_mapped_file 70\ntotal_swap 11\ntotal_inactive_file 1200\ntotal_pgfault 9\ntotal_pgmajfault 2\n" +
				"hierarchical_memory_limit " + test.limit + "\nhierarchical_memsw_limit " + test.both + "\n",
		})
		want := test.want
		want.Usage, want.RSS, want.Cache, want.Mapped, want.Swap, want.PageFaults, want.MajorPageFaults = 1000, 300, 600, 70, 11, 9, 2
		want.InactiveFile = 1200
		if have, err := memoryV1(dir); err != nil || have != want {
			t.Errorf("%+v, %v, want %+v", have, err, want)
		}
	}
}

// TestStatsOfThisMachine reads the counters of real cgroups.
func TestStatsOfThisMachine(t *testing.T) {
	c := Cgroup{Path: ""}
	cpu, err := c.CPU()
	if errors.Is(err, ErrNoController) || errors.Is(err, ErrNoCgroup2) {
		t.Skip(err)
	}
	if err != nil || cpu.Total <= 0 {
		t.Errorf("CPU time of the machine: %v, %v", cpu.Total, err)
	}
	l, err := Cgroups()
	if err != nil {
		t.Fatal(err)
	}
	if l.Unified {
		return // the root of cgroup2 has no file for memory
	}
	if memory, err := c.Memory(); err != nil || memory.Usage == 0 || memory.WorkingSet > memory.Usage {
		t.Errorf("memory of the machine: %+v, %v", memory, err)
	}
}

func TestSharesOfWeights(t *testing.T) {
	for weight, want := range map[uint64]uint64{0: 0, 1: 2, 39: 998, 10000: 262144} {
		if have := sharesOf(weight); have != want {
			t.Errorf("weight %d is %d shares, want %d", weight, have, want)
		}
	}
}
