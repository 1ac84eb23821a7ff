package oci

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	specs "github.com/opencontainers/runtime-spec/specs-go"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// resources are limits, and the devices that the container gets.
func (b *specBuilder) resources() (*specs.LinuxResources, []specs.LinuxDevice, error) {
	res, err := b.r.containerResources(b.config().GetLinux().GetResources())
	if err != nil {
		return nil, nil, err
	}
	devices, rules, err := b.devices()
	if err != nil {
		return nil, nil, err
	}
	res.Devices = rules
	return res, devices, nil
}

// linuxResources translates limits; 0 is "not said" in CRI.
func linuxResources(in *runtimeapi.LinuxContainerResources) *specs.LinuxResources {
	out := &specs.LinuxResources{CPU: &specs.LinuxCPU{}, Memory: &specs.LinuxMemory{}}
	if v := in.GetCpuShares(); v > 0 {
		shares := uint64(v)
		out.CPU.Shares = &shares
	}
	if v := in.GetCpuQuota(); v != 0 {
		out.CPU.Quota = &v
	}
	if v := in.GetCpuPeriod(); v > 0 {
		period := uint64(v)
		out.CPU.Period = &period
	}
	out.CPU.Cpus, out.CPU.Mems = in.GetCpusetCpus(), in.GetCpusetMems()
	if v := in.GetMemoryLimitInBytes(); v > 0 {
		out.Memory.Limit = &v
	}
	if v := in.GetMemorySwapLimitInBytes(); v > 0 {
		out.Memory.Swap = &v
	}
	out.Unified = maps.Clone(in.GetUnified())
	return out
}

// groupKill is the file that has the kernel end a container as a whole when
// its memory runs out. Every container is given it, though nobody asked.
const groupKill = "memory.oom.group"

// containerResources are limits as the OCI runtime takes them on this machine.
// Preferences that every container is given are dropped where the machine's
// cgroups can't have them. Limits that somebody asked for stay, and are refused
// here or by the runtime if they can't be kept.
func (r *Runtime) containerResources(in *runtimeapi.LinuxContainerResources) (*specs.LinuxResources, error) {
	res := linuxResources(in)
	var err error
	if res.HugepageLimits, err = r.hugePages(in.GetHugepageLimits()); err != nil {
		return nil, err
	}
	if q := res.CPU.Quota; q != nil {
		*q = r.withinNode(*q, in.GetCpuPeriod())
	}
	if !r.layout.Unified {
		delete(res.Unified, groupKill)
		if len(res.Unified) > 0 {
			return nil, fmt.Errorf("cgroup2 settings %s: %w: this machine has its controllers in cgroup version 1",
				strings.Join(slices.Sorted(maps.Keys(res.Unified)), ", "), ErrUnsupported)
		}
		res.Unified = nil
		return res, nil
	}
	if !hasController(r.layout.V2Root, "cpu") {
		res.CPU.Shares = nil
	}
	if !hasController(r.layout.V2Root, "memory") {
		delete(res.Unified, groupKill)
	}
	r.withoutSwap(res)
	return res, nil
}

// noSwap is the file that says how much a container may swap.
const noSwap = "memory.swap.max"

// withoutSwap keeps a container without a limit of memory from the machine's swap,
// as a kubelet does that has not been told otherwise (KEP-2400, NoSwap). One with a
// limit has one of swap with it. Version 1 has no such setting without a limit.
func (r *Runtime) withoutSwap(res *specs.LinuxResources) {
	if _, asked := res.Unified[noSwap]; asked || res.Memory.Swap != nil {
		return
	}
	if _, err := os.Stat(filepath.Join(r.cfg.Cgroup.V2(), noSwap)); err != nil {
		return // a kernel without accounts of swap
	}
	if res.Unified == nil {
		res.Unified = map[string]string{}
	}
	res.Unified[noSwap] = "0"
}
