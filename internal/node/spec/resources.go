package spec

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
)

// How Kubernetes maps CPU to the kernel's scheduler; QuotaPeriod is in microseconds.
const (
	sharesPerCPU = 1024
	minShares    = 2
	QuotaPeriod  = 100_000
	minQuota     = 1_000
)

// Scores that tell the kernel whom to kill first when memory runs out.
const (
	oomCritical   = -997
	oomBestEffort = 1000
)

// resources are the limits of one container.
func resources(pod *v1.Pod, c *v1.Container, memory resource.Quantity) *runtimeapi.LinuxContainerResources {
	r := &runtimeapi.LinuxContainerResources{
		OomScoreAdj: oomScore(pod, c, memory.Value()),
		// The OOM killer ends all processes of a container instead of leaving
		// half of it.
		Unified: map[string]string{"memory.oom.group": "1"},
	}
	request, limit := c.Resources.Requests, EffectiveLimits(pod, c)
	cpu, ok := request[v1.ResourceCPU]
	if !ok {
		cpu = limit[v1.ResourceCPU]
	}
	r.CpuShares = shares(cpu.MilliValue())
	if cpu, ok := limit[v1.ResourceCPU]; ok && !cpu.IsZero() {
		r.CpuPeriod, r.CpuQuota = QuotaPeriod, quota(cpu.MilliValue())
	}
	if m, ok := limit[v1.ResourceMemory]; ok && !m.IsZero() {
		r.MemoryLimitInBytes = m.Value()
		r.MemorySwapLimitInBytes = m.Value() // no swap beyond the limit
	}
	return r
}

// EffectiveLimits are a container's limits of CPU and memory, and where it has
// none those of the Pod as a whole (KEP-2837). They may be the container's own
// list.
func EffectiveLimits(pod *v1.Pod, c *v1.Container) v1.ResourceList {
	limits := c.Resources.Limits
	if pod.Spec.Resources == nil {
		return limits
	}
	for _, name := range []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory} {
		own, whole := limits[name], pod.Spec.Resources.Limits[name]
		if own.IsZero() && !whole.IsZero() {
			limits = with(limits, pod.Spec.Resources.Limits, name)
		}
	}
	return limits
}

// podResources are what all containers of a Pod need together, which becomes
// the weight and the limits of the Pod's cgroup (see ResourceConfigForPod in the
// kubelet's pkg/kubelet/cm). A limit holds where every container has one, or
// the Pod as a whole.
func podResources(pod *v1.Pod) *runtimeapi.LinuxContainerResources {
	options := podresource.PodResourcesOptions{ExcludeOverhead: true}
	requests := podresource.PodRequests(pod, options)
	r := &runtimeapi.LinuxContainerResources{CpuShares: shares(requests.Cpu().MilliValue())}
	limits := podresource.PodLimits(pod, options)
	if limitsEvery(pod, v1.ResourceCPU) {
		r.CpuPeriod, r.CpuQuota = QuotaPeriod, quota(limits.Cpu().MilliValue())
	}
	if limitsEvery(pod, v1.ResourceMemory) {
		r.MemoryLimitInBytes = limits.Memory().Value()
	}
	return r
}

// podOverhead is what the Pod's RuntimeClass adds for the sandbox itself.
func podOverhead(pod *v1.Pod) *runtimeapi.LinuxContainerResources {
	r := &runtimeapi.LinuxContainerResources{MemoryLimitInBytes: pod.Spec.Overhead.Memory().Value()}
	if cpu := pod.Spec.Overhead.Cpu().MilliValue(); cpu > 0 {
		r.CpuShares, r.CpuPeriod, r.CpuQuota = cpu*sharesPerCPU/1000, QuotaPeriod, cpu*QuotaPeriod/1000
	}
	return r
}

func limitsEvery(pod *v1.Pod, name v1.ResourceName) bool {
	if whole := pod.Spec.Resources; whole != nil {
		if q := whole.Limits[name]; !q.IsZero() {
			return true
		}
	}
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if q := list[i].Resources.Limits[name]; q.IsZero() {
				return false
			}
		}
	}
	return true
}

// sharedRequest is a container's part of the memory that the Pod as a whole has
// requested and its containers have not.
func sharedRequest(pod *v1.Pod) int64 {
	if pod.Spec.Resources == nil || pod.Spec.Resources.Requests.Memory().IsZero() {
		return 0
	}
	own := podresource.AggregateContainerRequests(pod, podresource.PodResourcesOptions{})
	left := pod.Spec.Resources.Requests.Memory().Value() - own.Memory().Value()
	return left / int64(max(1, len(pod.Spec.Containers)+len(pod.Spec.InitContainers)))
}

func shares(milli int64) int64 { return max(minShares, milli*sharesPerCPU/1000) }

func quota(milli int64) int64 { return max(minQuota, milli*QuotaPeriod/1000) }

func oomScore(pod *v1.Pod, c *v1.Container, capacity int64) int64 {
	if Critical(pod) {
		return oomCritical
	}
	switch qos.GetPodQOS(pod) {
	case v1.PodQOSGuaranteed:
		return oomCritical
	case v1.PodQOSBestEffort:
		return oomBestEffort
	}
	if capacity <= 0 {
		return oomBestEffort - 1
	}
	// The more memory a container has requested, the later the OOM killer picks
	// it; but never before a guaranteed container, and never after a
	// best-effort one.
	score := 1000 - 1000*(c.Resources.Requests.Memory().Value()+sharedRequest(pod))/capacity
	return min(max(score, 1000+oomCritical), oomBestEffort-1)
}
