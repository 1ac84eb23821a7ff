package oci

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// Limits is what all containers of a node may use together; 0 is no limit.
type Limits struct {
	CPUs int64
	// Memory is in bytes.
	Memory int64
	// Processes counts threads, too.
	Processes int64
	// HugePages are in bytes, by the size of a page in bytes; a size that is not there has
	// no limit.
	HugePages map[int64]int64
}

// limitNode sets the limits of the node's cgroup, in which the Pods' are.
func (r *Runtime) limitNode() error {
	if r.cfg.Limits.Processes != 0 {
		if _, _, err := r.cfg.Cgroup.Controller("pids"); err != nil { // which a Pod can do without
			return fmt.Errorf("limit the node: %w", err)
		}
	}
	l := podLimits{cpuQuota: r.cfg.Limits.CPUs * defaultCPUPeriod, cpuPeriod: defaultCPUPeriod, memory: r.cfg.Limits.Memory, processes: r.cfg.Limits.Processes}
	if err := errors.Join(setLimits(r.cfg.Cgroup, l), r.limitNodeHugePages()); err != nil {
		return fmt.Errorf("limit the node: %w", err)
	}
	return nil
}

// withinNode is the CPU quota for a cgroup below the node's.
func (r *Runtime) withinNode(quota, period int64) int64 {
	return r.cfg.Limits.Within(r.layout, quota, period)
}

// Within is the CPU quota for a cgroup below that of a node with these limits, in
// microseconds of a period. Version 1 refuses one that is higher than the node's own,
// while a Pod may have a limit that is: it gets as much as the node has either way.
func (l Limits) Within(layout host.CgroupLayout, quota, period int64) int64 {
	if layout.Unified || l.CPUs == 0 || quota <= 0 {
		return quota
	}
	if period <= 0 {
		period = defaultCPUPeriod
	}
	return min(quota, l.CPUs*period)
}

// LimitNode sets the limits of a node's cgroup, for a runtime that has its
// containers run by another program.
func LimitNode(cg host.Cgroup, limits Limits, logger *slog.Logger) error {
	layout, err := host.Cgroups()
	if err != nil {
		return err
	}
	r := &Runtime{cfg: Config{Cgroup: cg, Limits: limits}, layout: layout, log: logger}
	r.hugetlb = r.findHugetlb()
	return r.limitNode()
}

// LimitPod does the same for a Pod's, a child of the node's.
func LimitPod(node host.Cgroup, limits Limits, uid string, config *runtimeapi.LinuxPodSandboxConfig) error {
	layout, err := host.Cgroups()
	if err != nil {
		return err
	}
	for name, res := range map[string]*runtimeapi.LinuxContainerResources{"resources": config.GetResources(), "overhead": config.GetOverhead()} {
		if err := checkPodResources(res); err != nil {
			return fmt.Errorf("%s of the Pod: %w", name, err)
		}
	}
	l := podLimitsOf(config)
	l.processes = podProcesses(0, readPIDMax())
	return (&Runtime{cfg: Config{Cgroup: node, Limits: limits}, layout: layout, hugetlb: hugetlbOf(layout)}).limitPod(uid, l, podHugePages(config))
}

// UsageOf is what the processes in a cgroup use, as the CRI tells it.
func UsageOf(cg host.Cgroup, at time.Time) (*runtimeapi.CpuUsage, *runtimeapi.MemoryUsage) {
	return cpuUsage(cg, at.UnixNano()), memoryUsage(cg, at.UnixNano())
}
