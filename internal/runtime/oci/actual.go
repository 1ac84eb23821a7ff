package oci

import (
	"sort"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// actualResources are the limits of a container as its cgroup has them. What
// can't be read, or of a container that does not run, is what it was given last.
func (r *Runtime) actualResources(c *container, s containerState) *runtimeapi.LinuxContainerResources {
	if s.Resources == nil || s.Phase != phaseRunning {
		return s.Resources
	}
	return r.resourcesOf(r.cgroupOf(c), s.Resources)
}

// ResourcesOf is the same for a container of a runtime that another program is, given
// being what it was given last as far as that runtime tells, or nil.
func ResourcesOf(cg host.Cgroup, given *runtimeapi.LinuxContainerResources) (*runtimeapi.LinuxContainerResources, error) {
	layout, err := host.Cgroups()
	if err != nil {
		return nil, err
	}
	r := &Runtime{layout: layout}
	if _, err := r.readControl(cg, "memory.max", "memory.limit_in_bytes"); err != nil {
		return given, nil // it has ended meanwhile
	}
	if given == nil {
		given = &runtimeapi.LinuxContainerResources{}
	}
	out := r.resourcesOf(cg, given)
	if layout.Unified && given.GetCpuShares() == 0 {
		out.CpuShares = 0 // many shares have the same weight
	}
	return out, nil
}

func (r *Runtime) resourcesOf(cg host.Cgroup, given *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	out := proto.CloneOf(given)
	if n, ok := r.readNumber(cg, "cpu.shares"); ok {
		out.CpuShares = int64(n)
	} else if n, ok := r.readNumber(cg, "cpu.weight"); ok {
		out.CpuShares = sharesOf(n, out.GetCpuShares())
	}
	if quota, period, ok := r.readQuota(cg); ok && (quota > 0 || out.GetCpuQuota() > 0) {
		out.CpuQuota, out.CpuPeriod = quota, period
	}
	if data, err := r.readControl(cg, "memory.max", "memory.limit_in_bytes"); err == nil {
		out.MemoryLimitInBytes = parseLimit(string(data))
	}
	return out
}

// sharesOf are the shares that a weight of cgroup2 stands for: those that the
// container was given if they have that weight, or the fewest that do.
func sharesOf(weight uint64, given int64) int64 {
	if given > 0 && cgroups.ConvertCPUSharesToCgroupV2Value(uint64(given)) == weight {
		return given
	}
	const least, most = 2, 262144
	return int64(least + sort.Search(most-least, func(i int) bool {
		return cgroups.ConvertCPUSharesToCgroupV2Value(uint64(least+i)) >= weight
	}))
}

// readQuota reads how many microseconds of CPU the cgroup has in each period;
// -1 is no limit.
func (r *Runtime) readQuota(cg host.Cgroup) (quota, period int64, ok bool) {
	if data, err := r.readControl(cg, "cpu.max"); err == nil {
		return parseCPUMax(string(data))
	}
	data, err := r.readControl(cg, "cpu.cfs_quota_us")
	if err != nil {
		return 0, 0, false
	}
	n, known := r.readNumber(cg, "cpu.cfs_period_us")
	quota, err = strconv.ParseInt(strings.TrimSpace(string(data)), 10, 64)
	return quota, int64(n), known && err == nil
}

// parseCPUMax reads cpu.max: a number or max, and the period.
func parseCPUMax(text string) (quota, period int64, ok bool) {
	first, second, _ := strings.Cut(strings.TrimSpace(text), " ")
	period, err := strconv.ParseInt(second, 10, 64)
	if err != nil {
		return 0, 0, false
	}
	if first == "max" {
		return -1, period, true
	}
	quota, err = strconv.ParseInt(first, 10, 64)
	return quota, period, err == nil
}

// parseLimit reads a limit of memory; zero is none. Version 1 says "none" with a
// huge number.
func parseLimit(text string) int64 {
	n, err := strconv.ParseUint(strings.TrimSpace(text), 10, 64)
	if err != nil || n >= 1<<60 {
		return 0
	}
	return int64(n)
}
