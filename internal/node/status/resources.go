package status

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// Below these the kernel's settings are the same for all, so that it cannot be
// told from them what was asked for: kubelet's MinShares and MinMilliCPULimit, in
// thousandths of a CPU.
const (
	minRequest = 2
	minLimit   = 10
)

// resources sets what the node has granted a container, and what it has. The
// latter is, while the container runs, what its cgroup says; what no cgroup knows
// is what the container was given last.
func (c containers) resources(ctr *v1.Container, s *v1.ContainerStatus, latest *observe.Container) {
	s.AllocatedResources = ctr.Resources.Requests.DeepCopy()
	s.Resources = ctr.Resources.DeepCopy()
	if !latest.Running() {
		return
	}
	given := ctr.Resources
	if c.Has != nil {
		given = c.Has(ctr, latest)
	}
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		s.Resources.Requests = replace(s.Resources.Requests, name, given.Requests)
		if !c.fromPod(ctr, name) {
			s.Resources.Limits = replace(s.Resources.Limits, name, given.Limits)
		}
	}
	if r := latest.Resources; r != nil {
		// The machine may have no weights, and one that comes from a limit of the Pod
		// as a whole is no request of the container's.
		if _, requests := ctr.Resources.Requests[v1.ResourceCPU]; r.GetCpuShares() > 0 && (requests || !c.fromPod(ctr, v1.ResourceCPU)) {
			s.Resources.Requests = actual(s.Resources.Requests, v1.ResourceCPU, cpuRequest(r), minRequest)
		}
		if own := cpuLimit(r); !c.fromPod(ctr, v1.ResourceCPU) {
			s.Resources.Limits = actual(s.Resources.Limits, v1.ResourceCPU, own, minLimit)
		}
		if !c.fromPod(ctr, v1.ResourceMemory) {
			s.Resources.Limits = actualMemory(s.Resources.Limits, r)
		}
	}
}

// fromPod tells whether the container's limit of a resource is that of the Pod as
// a whole, which is no limit of its own.
func (c containers) fromPod(ctr *v1.Container, name v1.ResourceName) bool {
	own := ctr.Resources.Limits[name]
	whole := spec.EffectiveLimits(c.Pod, ctr)[name]
	return own.IsZero() && !whole.IsZero()
}

// podResources are the requests and limits of the Pod as a whole, as its cgroup
// has them; nil for a Pod that asks for none.
func podResources(in Input) (granted v1.ResourceList, has *v1.ResourceRequirements) {
	pod := in.Pod
	if !podresource.IsPodLevelResourcesSet(pod) {
		return nil, nil
	}
	granted = podresource.PodRequests(pod, podresource.PodResourcesOptions{})
	has = &v1.ResourceRequirements{
		Requests: granted.DeepCopy(), Limits: podresource.PodLimits(pod, podresource.PodResourcesOptions{}),
	}
	sandbox := in.View.Sandbox()
	if sandbox == nil {
		return granted, has
	}
	limits, known := spec.PodLimitsCreated(sandbox.Annotations)
	if in.PodHas != nil {
		limits, known = in.PodHas(), true
	}
	if !known {
		return granted, has
	}
	r := &runtimeapi.LinuxContainerResources{
		CpuShares: limits.CPUShares, CpuQuota: limits.CPUQuota, CpuPeriod: spec.QuotaPeriod, MemoryLimitInBytes: limits.Memory,
	}
	has.Requests = actual(has.Requests, v1.ResourceCPU, cpuRequest(r), minRequest)
	has.Limits = actual(has.Limits, v1.ResourceCPU, cpuLimit(r), minLimit)
	has.Limits = actualMemory(has.Limits, r)
	return granted, has
}

// replace takes one resource from another list, be it only that it is not there.
func replace(list v1.ResourceList, name v1.ResourceName, from v1.ResourceList) v1.ResourceList {
	if q, set := from[name]; set {
		return put(list, name, q.DeepCopy())
	}
	delete(list, name)
	return list
}

func put(list v1.ResourceList, name v1.ResourceName, q resource.Quantity) v1.ResourceList {
	if list == nil {
		list = v1.ResourceList{}
	}
	list[name] = q
	return list
}

// actual sets an amount of CPU that was read, in thousandths, unless it stands
// for the same as the one that is there.
func actual(list v1.ResourceList, name v1.ResourceName, milli int64, least int64) v1.ResourceList {
	if q := list[name]; max(q.MilliValue(), least) == max(milli, least) {
		return list
	}
	if milli == 0 {
		delete(list, name)
		return list
	}
	return put(list, name, *resource.NewMilliQuantity(milli, resource.DecimalSI))
}

// actualMemory sets the limit of memory. The kernel counts in pages, so one that
// differs by less than a page is the one that was asked for.
func actualMemory(list v1.ResourceList, r *runtimeapi.LinuxContainerResources) v1.ResourceList {
	const page = 4096
	limit := r.GetMemoryLimitInBytes()
	if q := list[v1.ResourceMemory]; q.Value()-limit < page && limit-q.Value() < page {
		return list
	}
	if limit <= 0 {
		delete(list, v1.ResourceMemory)
		return list
	}
	return put(list, v1.ResourceMemory, *resource.NewQuantity(limit, resource.BinarySI))
}

// cpuRequest is the request that shares stand for, in thousandths of a CPU.
func cpuRequest(r *runtimeapi.LinuxContainerResources) int64 {
	return (r.GetCpuShares()*1000 + 1023) / 1024
}

// cpuLimit is the limit that a quota stands for, in thousandths of a CPU; zero
// is none.
func cpuLimit(r *runtimeapi.LinuxContainerResources) int64 {
	if r.GetCpuQuota() <= 0 || r.GetCpuPeriod() <= 0 {
		return 0
	}
	return r.GetCpuQuota() * 1000 / r.GetCpuPeriod()
}
