package oci

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/opencontainers/cgroups"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func TestSharesOfAWeight(t *testing.T) {
	for _, shares := range []uint64{2, 3, 20, 100, 1024, 2048, 262144} {
		weight := cgroups.ConvertCPUSharesToCgroupV2Value(shares)
		if got := sharesOf(weight, int64(shares)); got != int64(shares) {
			t.Errorf("a container with %d shares is said to have %d", shares, got)
		}
		// Somebody else has set it: the fewest shares that have that weight.
		got := sharesOf(weight, 7)
		if cgroups.ConvertCPUSharesToCgroupV2Value(uint64(got)) != weight || got > int64(shares) {
			t.Errorf("weight %d of %d shares is read as %d", weight, shares, got)
		}
	}
}

func TestParseLimits(t *testing.T) {
	for text, want := range map[string]int64{"max\n": 0, "9223372036854771712\n": 0, "1048576\n": 1 << 20, "": 0} {
		if got := parseLimit(text); got != want {
			t.Errorf("limit %q = %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string][2]int64{"max 100000\n": {-1, 100_000}, "5000 100000\n": {5000, 100_000}} {
		if quota, period, ok := parseCPUMax(text); !ok || quota != want[0] || period != want[1] {
			t.Errorf("%q = %d, %d, %v", text, quota, period, ok)
		}
	}
	for _, text := range []string{"", "max", "x 100000", "5000 y"} {
		if _, _, ok := parseCPUMax(text); ok {
			t.Errorf("%q was understood", text)
		}
	}
}

// The status says what the cgroup has, whoever has set it.
func TestStatusIsTheCgroups(t *testing.T) {
	n := newNode(t)
	n.needControllers("cpu", "memory")
	config := containerConfig("sleep", "1h")
	config.Linux.Resources = &runtimeapi.LinuxContainerResources{CpuShares: 20, CpuQuota: 5_000, CpuPeriod: 100_000, MemoryLimitInBytes: 32 << 20}
	id := n.run(n.pod(sandboxConfig("actual")), config)
	check := func(shares, quota, memory int64) {
		t.Helper()
		got := n.status(id).GetResources().GetLinux()
		if got.GetCpuShares() != shares || got.GetCpuQuota() != quota || got.GetMemoryLimitInBytes() != memory {
			t.Errorf("resources = %v, want shares %d, quota %d, memory %d", got, shares, quota, memory)
		}
	}
	check(20, 5_000, 32<<20)
	err := n.UpdateContainerResources(t.Context(), id, &runtimeapi.ContainerResources{Linux: &runtimeapi.LinuxContainerResources{
		CpuShares: 25, CpuQuota: 6_000, CpuPeriod: 100_000, MemoryLimitInBytes: 48 << 20,
	}})
	if err != nil {
		t.Fatal(err)
	}
	check(25, 6_000, 48<<20)
	c, err := n.container(id)
	if err != nil {
		t.Fatal(err)
	}
	dir, unified, err := n.cgroupOf(c).Controller("memory")
	if err != nil {
		t.Fatal(err)
	}
	file := "memory.limit_in_bytes"
	if unified {
		file = "memory.max"
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte("41943040"), 0); err != nil {
		t.Fatal(err)
	}
	check(25, 6_000, 40<<20)
}
