package oci

import (
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

func TestQuotaWithinTheNode(t *testing.T) {
	for name, tc := range map[string]struct {
		unified             bool
		cpus                int64
		quota, period, want int64
	}{
		"no limits":             {false, 0, 400_000, 100_000, 400_000},
		"less than the node":    {false, 2, 150_000, 100_000, 150_000},
		"more than the node":    {false, 2, 400_000, 100_000, 200_000},
		"another period":        {false, 2, 400_000, 50_000, 100_000},
		"the default period":    {false, 1, 400_000, 0, 100_000},
		"no quota":              {false, 2, -1, 100_000, -1},
		"cgroup2 takes it":      {true, 2, 400_000, 100_000, 400_000},
		"nothing said about it": {false, 2, 0, 0, 0},
	} {
		r := &Runtime{cfg: Config{Limits: Limits{CPUs: tc.cpus}}, layout: host.CgroupLayout{Unified: tc.unified}}
		if got := r.withinNode(tc.quota, tc.period); got != tc.want {
			t.Errorf("%s: %d, want %d", name, got, tc.want)
		}
	}
}

// A Pod may have a limit that is higher than the node's. It runs, and gets what
// the node has.
func TestNodeLimits(t *testing.T) {
	n := newNode(t)
	n.needControllers("cpu", "memory", "pids")
	n.stop()
	n.cfg.Limits = Limits{CPUs: 1, Memory: 300 << 20, Processes: 500}
	n.start()
	for what, got := range map[string][2]string{
		"CPU":       {n.control(n.cfg.Cgroup, "cpu", "cpu.cfs_quota_us", "cpu.max"), "100000"},
		"memory":    {n.control(n.cfg.Cgroup, "memory", "memory.limit_in_bytes", "memory.max"), "314572800"},
		"processes": {n.control(n.cfg.Cgroup, "pids", "pids.max", "pids.max"), "500"},
	} {
		if got[0] != got[1] && got[0] != got[1]+" 100000" {
			t.Errorf("the node's %s = %s, want %s", what, got[0], got[1])
		}
	}
	large := &runtimeapi.LinuxContainerResources{CpuShares: 4096, CpuQuota: 400_000, CpuPeriod: 100_000, MemoryLimitInBytes: 1 << 30}
	cfg := sandboxConfig("large")
	cfg.Linux.Resources = large
	sb := n.pod(cfg)
	container := containerConfig("sleep", "1h")
	container.Linux.Resources = large
	id := n.run(sb, container)
	if got := n.output(id, "echo", "it", "runs"); got != "it runs" {
		t.Errorf("exec = %q", got)
	}
	set, err := n.cfg.Cgroup.WorkingSet()
	if err != nil || set <= 0 || set > 300<<20 {
		t.Errorf("the node's working set = %d, %v", set, err)
	}
	threads, err := n.cfg.Cgroup.Threads()
	if err != nil || threads <= 0 || threads > 500 {
		t.Errorf("the node's processes = %d, %v", threads, err)
	}
}
