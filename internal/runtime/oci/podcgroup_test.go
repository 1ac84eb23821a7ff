package oci

import (
	"errors"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

func TestPodLimitsOf(t *testing.T) {
	limited := &runtimeapi.LinuxContainerResources{CpuShares: 1024, CpuQuota: 100_000, CpuPeriod: 100_000, MemoryLimitInBytes: 64 << 20}
	overhead := &runtimeapi.LinuxContainerResources{CpuShares: 102, CpuQuota: 10_000, CpuPeriod: 100_000, MemoryLimitInBytes: 1 << 20}
	for name, tc := range map[string]struct {
		config *runtimeapi.LinuxPodSandboxConfig
		want   podLimits
	}{
		"nothing":              {nil, podLimits{}},
		"best effort":          {&runtimeapi.LinuxPodSandboxConfig{Resources: &runtimeapi.LinuxContainerResources{CpuShares: 2}}, podLimits{cpuShares: 2}},
		"limits":               {&runtimeapi.LinuxPodSandboxConfig{Resources: limited}, podLimits{1024, 100_000, 100_000, 64 << 20, 0}},
		"limits and overhead":  {&runtimeapi.LinuxPodSandboxConfig{Resources: limited, Overhead: overhead}, podLimits{1126, 110_000, 100_000, 65 << 20, 0}},
		"overhead is no limit": {&runtimeapi.LinuxPodSandboxConfig{Resources: &runtimeapi.LinuxContainerResources{CpuShares: 10}, Overhead: overhead}, podLimits{cpuShares: 112}},
	} {
		if got := podLimitsOf(tc.config); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// What a Pod's overhead needs is added to what its containers may have.
func TestPodHugePages(t *testing.T) {
	of := func(size string, limit uint64) *runtimeapi.HugepageLimit {
		return &runtimeapi.HugepageLimit{PageSize: size, Limit: limit}
	}
	got := podHugePages(&runtimeapi.LinuxPodSandboxConfig{
		Resources: &runtimeapi.LinuxContainerResources{HugepageLimits: []*runtimeapi.HugepageLimit{of("2MB", 4), of("1GB", 0)}},
		Overhead:  &runtimeapi.LinuxContainerResources{HugepageLimits: []*runtimeapi.HugepageLimit{of("1GB", 3), of("64KB", 1)}},
	})
	if len(got) != 3 || got[0].Limit != 4 || got[1].Limit != 3 || got[2].Limit != 1 || podHugePages(nil) != nil {
		t.Errorf("got %v", got)
	}
	none := &Runtime{}
	if err := none.limitPodHugePages("uid", []*runtimeapi.HugepageLimit{of("2MB", 0)}); err != nil {
		t.Errorf("none asked for, where nothing limits them: %v", err)
	}
	if err := none.limitPodHugePages("uid", got[:1]); !errors.Is(err, ErrUnsupported) {
		t.Errorf("asked for where nothing limits them: %v", err)
	}
	none.cfg.Limits.HugePages = map[int64]int64{2 << 20: 0}
	if err := none.limitNodeHugePages(); !errors.Is(err, host.ErrNoController) {
		t.Errorf("a node's where nothing limits them: %v", err)
	}
}

// The limits are in the cgroups of the node and of the Pod.
func TestHugePageLimitsInCgroups(t *testing.T) {
	n := newNode(t)
	if err := host.HugePagesLimits(); err != nil {
		t.Skip(err)
	}
	n.stop()
	n.cfg.Limits = Limits{HugePages: map[int64]int64{2 << 20: 8 << 20}}
	n.start()
	cfg := sandboxConfig("huge")
	cfg.Linux.Resources = &runtimeapi.LinuxContainerResources{HugepageLimits: []*runtimeapi.HugepageLimit{{PageSize: "2MB", Limit: 4 << 20}}}
	sb := n.pod(cfg)
	limit := func(cg host.Cgroup) string {
		t.Helper()
		if root := n.layout.Controllers["hugetlb"]; root != "" {
			return readTestFile(t, filepath.Join(root, cg.Path), "hugetlb.2MB.limit_in_bytes")
		}
		return readTestFile(t, cg.V2(), "hugetlb.2MB.max")
	}
	if got := [2]string{limit(n.cfg.Cgroup), limit(n.podCgroup("uid-huge"))}; got != [2]string{"8388608", "4194304"} {
		t.Errorf("limits of the node and the Pod: %v", got)
	}
	if _, err := n.UpdatePodSandboxResources(t.Context(), &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: sb, Resources: &runtimeapi.LinuxContainerResources{CpuShares: 4}}); err != nil {
		t.Fatal(err)
	}
	if got := limit(n.podCgroup("uid-huge")); got != "4194304" {
		t.Errorf("after a change that does not tell of them: %s", got)
	}
}

func TestPodPidsLimit(t *testing.T) {
	for _, tc := range [][3]int64{{0, 4 << 20, 32768}, {0, 32768, 16384}, {0, 0, 32768}, {100, 32768, 100}, {-1, 32768, -1}} {
		if got := podProcesses(tc[0], tc[1]); got != tc[2] {
			t.Errorf("podProcesses(%d, %d) = %d, want %d", tc[0], tc[1], got, tc[2])
		}
	}
}

// The files of cgroup2, written into a directory that is none.
func TestLimitsOfCgroup2(t *testing.T) {
	dir := t.TempDir()
	read := func(name string) string { return readTestFile(t, dir, name) }
	for _, name := range []string{"cpu.weight", "cpu.max", "memory.max", "pids.max"} {
		writeTestFile(t, dir, name)
	}
	for _, tc := range []struct {
		limits podLimits
		want   [4]string
	}{
		{podLimits{1024, 50_000, 100_000, 1 << 20, 100}, [4]string{"100", "50000 100000", "1048576", "100"}},
		{podLimits{2, -1, 0, -1, -1}, [4]string{"1", "max 100000", "max", "max"}},
	} {
		if err := errors.Join(tc.limits.writeShares(dir, true), tc.limits.writeQuota(dir, true), tc.limits.writeMemory(dir, true), tc.limits.writeProcesses(dir, true)); err != nil {
			t.Fatal(err)
		}
		if got := [4]string{read("cpu.weight"), read("cpu.max"), read("memory.max"), read("pids.max")}; got != tc.want {
			t.Errorf("%+v: %q, want %q", tc.limits, got, tc.want)
		}
	}
}

// needControllers skips the test where the machine's cgroups lack any of them.
func (n *node) needControllers(names ...string) {
	n.t.Helper()
	for _, name := range names {
		if _, _, err := n.cfg.Cgroup.Controller(name); err != nil {
			n.t.Skip(err)
		}
	}
}

// control reads a file of a Pod's cgroup by its name in version 1 or cgroup2.
func (n *node) control(cg host.Cgroup, controller, v1, v2 string) string {
	n.t.Helper()
	dir, unified, err := cg.Controller(controller)
	if err != nil {
		n.t.Fatal(err)
	}
	if unified {
		return readTestFile(n.t, dir, v2)
	}
	return readTestFile(n.t, dir, v1)
}

func TestPodResources(t *testing.T) {
	n := newNode(t)
	n.needControllers("cpu", "memory", "pids")
	n.Runtime.cfg.PodPidsLimit = 1000
	cfg := sandboxConfig("limits")
	cfg.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuShares: 512, CpuQuota: 50_000, CpuPeriod: 100_000, MemoryLimitInBytes: 64 << 20}
	cfg.Linux.Overhead = &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: 1 << 20}
	sb := n.pod(cfg)
	cg := n.podCgroup("uid-limits")
	check := func(shares, weight, quota, cpuMax, memory string) {
		t.Helper()
		if got := n.control(cg, "cpu", "cpu.shares", "cpu.weight"); got != shares && got != weight {
			t.Errorf("CPU shares or weight = %s, want %s or %s", got, shares, weight)
		}
		if got := n.control(cg, "cpu", "cpu.cfs_quota_us", "cpu.max"); got != quota && got != cpuMax {
			t.Errorf("CPU quota = %s, want %s or %s", got, quota, cpuMax)
		}
		if got := n.control(cg, "memory", "memory.limit_in_bytes", "memory.max"); got != memory {
			t.Errorf("memory = %s, want %s", got, memory)
		}
		if got := n.control(cg, "pids", "pids.max", "pids.max"); got != "1000" {
			t.Errorf("processes = %s", got)
		}
	}
	check("512", "59", "50000", "50000 100000", "68157440")
	// Containers below it have limits of their own.
	container := containerConfig("sleep", "1h")
	container.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuShares: 512, CpuQuota: 50_000, CpuPeriod: 100_000, MemoryLimitInBytes: 32 << 20}
	n.run(sb, container)
	_, err := n.UpdatePodSandboxResources(t.Context(), &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: sb, Resources: &runtimeapi.LinuxContainerResources{
		CpuShares: 1024, CpuQuota: 100_000, CpuPeriod: 100_000, MemoryLimitInBytes: 128 << 20,
	}})
	if err != nil {
		t.Fatal(err)
	}
	check("1024", "100", "100000", "100000 100000", "134217728")
	if err := n.RemovePodSandbox(t.Context(), sb); err != nil {
		t.Fatal(err)
	}
	if left := n.leftovers(); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A Pod that makes processes without end meets its own limit.
func TestPodProcessLimit(t *testing.T) {
	n := newNode(t)
	n.needControllers("pids")
	const limit = 40
	n.Runtime.cfg.PodPidsLimit = limit
	n.run(n.pod(sandboxConfig("crowd")), containerConfig("crowd", "100"))
	cg := n.podCgroup("uid-crowd")
	eventually(t, "the limit to be met", func() bool {
		return n.readKeyed(cg, "pids.events")["max"] > 0 || n.control(cg, "pids", "pids.current", "pids.current") == strconv.Itoa(limit)
	})
	if got, _ := n.readNumber(cg, "pids.current"); got > limit {
		t.Errorf("the Pod has %d processes and threads", got)
	}
	other := n.run(n.pod(sandboxConfig("other")), containerConfig("echo", "fine"))
	if st := n.awaitExit(other); st.GetExitCode() != 0 {
		t.Errorf("a Pod beside it: %v", st)
	}
}

func TestContainerLimits(t *testing.T) {
	n := newNode(t)
	n.needControllers("cpu", "memory", "cpuset")
	cfg := containerConfig("sleep", "1h")
	cfg.Linux.Resources = &runtimeapi.LinuxContainerResources{
		CpuShares: 100, CpuQuota: 20_000, CpuPeriod: 50_000, MemoryLimitInBytes: 64 << 20, OomScoreAdj: 900, CpusetCpus: "0", CpusetMems: "0",
	}
	id := n.run(n.pod(sandboxConfig("container-limits")), cfg)
	c, err := n.container(id)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct{ controller, v1, v2, want string }{
		{"cpu", "cpu.shares", "cpu.weight", "100 4 17"}, // by the OCI runtime's formula
		{"cpu", "cpu.cfs_quota_us", "cpu.max", "20000"},
		{"cpu", "cpu.cfs_period_us", "cpu.max", "50000"},
		{"memory", "memory.limit_in_bytes", "memory.max", "67108864"},
		{"cpuset", "cpuset.cpus", "cpuset.cpus", "0"},
		{"cpuset", "cpuset.mems", "cpuset.mems", "0"},
	} {
		got := n.control(n.cgroupOf(c), tc.controller, tc.v1, tc.v2)
		if !strings.Contains(" "+got+" ", " "+tc.want+" ") && !strings.Contains(" "+tc.want+" ", " "+got+" ") {
			t.Errorf("%s = %s, want %s", tc.v1, got, tc.want)
		}
	}
	if got := n.output(id, "cat", "/proc/1/oom_score_adj"); got != "900" {
		t.Errorf("oom_score_adj = %s", got)
	}
}

// Pods get the CPU in proportion to their requests, whatever their containers
// want: 900m beside 10m and 10m.
func TestCPUBetweenPods(t *testing.T) {
	n := newNode(t)
	n.needControllers("cpu")
	usage := map[string]func() uint64{}
	// The big one comes last: beside it the others would take long to start.
	for _, pod := range []struct {
		name   string
		shares int64
	}{{"tiny", 10}, {"small", 10}, {"big", 921}} {
		cfg := sandboxConfig(pod.name)
		cfg.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuShares: pod.shares}
		container := containerConfig("spin", "4") // so that it would like more than there is
		container.Linux.Resources = cfg.Linux.Resources
		id := n.run(n.pod(cfg), container)
		n.awaitLog(id, "stdout: ready")
		cg := n.podCgroup("uid-" + pod.name)
		usage[pod.name] = func() uint64 { return cpuUsage(cg, 0).GetUsageCoreNanoSeconds().GetValue() }
	}
	start := map[string]uint64{}
	for name, now := range usage {
		start[name] = now()
	}
	// Over short times the scheduler deals out slices as they come.
	var used map[string]uint64
	defer func() { t.Logf("nanoseconds: %v", used) }()
	eventually(t, "a Pod of 900m to use five times what one of 10m uses", func() bool {
		used = map[string]uint64{}
		for name, now := range usage {
			used[name] = now() - start[name]
		}
		return used["big"] > 3e8 && used["big"] > 5*used["small"] && used["big"] > 5*used["tiny"]
	})
}
