package spec

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
)

// How Kubernetes maps CPU to the kernel's scheduler.
const (
	sharesPerCPU = 1024
	minShares    = 2
	quotaPeriod  = 100_000
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
	request, limit := c.Resources.Requests, c.Resources.Limits
	cpu, ok := request[v1.ResourceCPU]
	if !ok {
		cpu = limit[v1.ResourceCPU]
	}
	r.CpuShares = shares(cpu.MilliValue())
	if cpu, ok := limit[v1.ResourceCPU]; ok && !cpu.IsZero() {
		r.CpuPeriod, r.CpuQuota = quotaPeriod, quota(cpu.MilliValue())
	}
	if m, ok := limit[v1.ResourceMemory]; ok && !m.IsZero() {
		r.MemoryLimitInBytes = m.Value()
		r.MemorySwapLimitInBytes = m.Value() // no swap beyond the limit
	}
	return r
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
		r.CpuPeriod, r.CpuQuota = quotaPeriod, quota(limits.Cpu().MilliValue())
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
		r.CpuShares, r.CpuPeriod, r.CpuQuota = cpu*sharesPerCPU/1000, quotaPeriod, cpu*quotaPeriod/1000
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

func shares(milli int64) int64 { return max(minShares, milli*sharesPerCPU/1000) }

func quota(milli int64) int64 { return max(minQuota, milli*quotaPeriod/1000) }

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
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/capacity
	return min(max(score, 1000+oomCritical), oomBestEffort-1)
}
