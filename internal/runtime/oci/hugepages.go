package oci

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
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

// hugetlbOf is what limits huge pages on a machine with that layout.
func hugetlbOf(layout host.CgroupLayout) hugetlb {
	switch {
	case layout.Controllers["hugetlb"] != "":
		return hugetlbOCI
	case !hasController(layout.V2Root, "hugetlb"):
		return hugetlbNone
	case layout.Unified:
		return hugetlbOCI
	}
	return hugetlbOwn
}

// findHugetlb looks at the machine, and has the node's cgroup, which must exist, limit
// huge pages.
func (r *Runtime) findHugetlb() hugetlb {
	by := hugetlbOf(r.layout)
	if by != hugetlbOwn {
		return by
	}
	if err := r.cfg.Cgroup.DelegateHugePages(); err != nil {
		r.log.Warn("huge pages can't be limited, so no container gets any that asks for a limit", "error", err)
		return hugetlbNone
	}
	return by
}

// limitNodeHugePages bounds what all Pods of the node may have, of each size that there is
// a limit of.
func (r *Runtime) limitNodeHugePages() error {
	for _, size := range slices.Sorted(maps.Keys(r.cfg.Limits.HugePages)) {
		name := host.HugePages{Size: size}.Name()
		if r.hugetlb == hugetlbNone {
			return fmt.Errorf("huge pages of %s: %w", name, host.ErrNoController)
		}
		if err := r.cfg.Cgroup.LimitHugePages(name, uint64(max(0, r.cfg.Limits.HugePages[size]))); err != nil {
			return err
		}
	}
	return nil
}

// podHugePages are the limits of a Pod as a whole, its overhead included. A size that is
// not listed stays as it is.
func podHugePages(config *runtimeapi.LinuxPodSandboxConfig) []*runtimeapi.HugepageLimit {
	var out []*runtimeapi.HugepageLimit
	for _, l := range append(slices.Clone(config.GetResources().GetHugepageLimits()), config.GetOverhead().GetHugepageLimits()...) {
		if i := slices.IndexFunc(out, func(o *runtimeapi.HugepageLimit) bool { return o.GetPageSize() == l.GetPageSize() }); i >= 0 {
			out[i].Limit += l.GetLimit()
			continue
		}
		out = append(out, &runtimeapi.HugepageLimit{PageSize: l.GetPageSize(), Limit: l.GetLimit()})
	}
	return out
}

// limitPodHugePages bounds what the containers of a Pod may have together.
func (r *Runtime) limitPodHugePages(uid string, limits []*runtimeapi.HugepageLimit) error {
	for _, l := range limits {
		var err error
		if r.hugetlb == hugetlbNone {
			err = fmt.Errorf("%w: this machine's cgroups have no controller hugetlb to limit them with", ErrUnsupported)
		} else {
			err = r.podCgroup(uid).LimitHugePages(l.GetPageSize(), l.GetLimit())
		}
		// Nobody asked for the limit of 0 that every Pod is given.
		if err != nil && (l.GetLimit() > 0 || !errors.Is(err, ErrUnsupported) && !errors.Is(err, os.ErrNotExist)) {
			return fmt.Errorf("huge pages of %s: %w", l.GetPageSize(), err)
		}
	}
	return nil
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
