package oci

import (
	"fmt"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// hugetlb is what limits the huge pages of containers on this machine.
type hugetlb int

const (
	// hugetlbNone: nothing does.
	hugetlbNone hugetlb = iota
	// hugetlbOCI: the OCI runtime, in the hierarchy that has the other controllers.
	hugetlbOCI
	// hugetlbOwn: this package, in cgroup2, which on hybrid machines has this
	// controller alone, and which OCI runtimes leave alone there.
	hugetlbOwn
)

// findHugetlb looks at the machine. The node's cgroup must exist.
func (r *Runtime) findHugetlb() hugetlb {
	switch {
	case r.layout.Controllers["hugetlb"] != "":
		return hugetlbOCI
	case !hasController(r.layout.V2Root, "hugetlb"):
		return hugetlbNone
	case r.layout.Unified:
		return hugetlbOCI
	}
	if err := r.cfg.Cgroup.DelegateHugePages(); err != nil {
		r.cfg.Logger.Warn("huge pages can't be limited, so no container gets any that asks for a limit", "error", err)
		return hugetlbNone
	}
	return hugetlbOwn
}

// hugePages are a container's limits as the OCI runtime takes them. A limit of 0, which
// every container is given that asks for nothing, is dropped where there is nothing to
// set it in.
func (r *Runtime) hugePages(limits []*runtimeapi.HugepageLimit) ([]specs.LinuxHugepageLimit, error) {
	var out []specs.LinuxHugepageLimit
	for _, l := range limits {
		switch {
		case r.hugetlb == hugetlbOCI:
			out = append(out, specs.LinuxHugepageLimit{Pagesize: l.GetPageSize(), Limit: l.GetLimit()})
		case r.hugetlb == hugetlbNone && l.GetLimit() > 0:
			return nil, fmt.Errorf("huge pages of %s: %w: this machine's cgroups have no controller hugetlb to limit them with", l.GetPageSize(), ErrUnsupported)
		}
	}
	return out, nil
}

// limitHugePages sets the limits that no OCI runtime sets.
func (r *Runtime) limitHugePages(c *container) error {
	if r.hugetlb != hugetlbOwn {
		return nil
	}
	for _, l := range c.state.Config.GetLinux().GetResources().GetHugepageLimits() {
		if err := r.cgroupOf(c).LimitHugePages(l.GetPageSize(), l.GetLimit()); err != nil {
			return err
		}
	}
	return nil
}
