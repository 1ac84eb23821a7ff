package oci

import "fmt"

// Limits is what all containers of a node may use together; 0 is no limit.
type Limits struct {
	CPUs int64
	// Memory is in bytes.
	Memory int64
	// Processes counts threads, too.
	Processes int64
}

// limitNode sets the limits of the node's cgroup, in which the Pods' are.
func (r *Runtime) limitNode() error {
	if r.cfg.Limits.Processes != 0 {
		if _, _, err := r.cfg.Cgroup.Controller("pids"); err != nil { // which a Pod can do without
			return fmt.Errorf("limit the node: %w", err)
		}
	}
	l := podLimits{cpuQuota: r.cfg.Limits.CPUs * defaultCPUPeriod, cpuPeriod: defaultCPUPeriod, memory: r.cfg.Limits.Memory, processes: r.cfg.Limits.Processes}
	if err := setLimits(r.cfg.Cgroup, l); err != nil {
		return fmt.Errorf("limit the node: %w", err)
	}
	return nil
}

// withinNode is the CPU quota for a cgroup below the node's. Version 1 refuses
// one that is higher than the node's own, while a Pod may have a limit that is: it
// gets as much as the node has either way.
func (r *Runtime) withinNode(quota, period int64) int64 {
	if r.layout.Unified || r.cfg.Limits.CPUs == 0 || quota <= 0 {
		return quota
	}
	if period <= 0 {
		period = defaultCPUPeriod
	}
	return min(quota, r.cfg.Limits.CPUs*period)
}
