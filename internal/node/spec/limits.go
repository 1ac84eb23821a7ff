package spec

import (
	"encoding/json"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PodLimits is what a Pod's cgroup gives all of its containers together, without
// the Pod's overhead. A limit of zero is none.
type PodLimits struct {
	CPUShares int64 `json:"cpuShares"` // 1024 for a CPU
	CPUQuota  int64 `json:"cpuQuota,omitempty"`
	Memory    int64 `json:"memory,omitempty"` // bytes
}

// PodLimitsOf is what the Pod's cgroup should have.
func PodLimitsOf(pod *v1.Pod) PodLimits {
	r := podResources(pod)
	return PodLimits{CPUShares: r.GetCpuShares(), CPUQuota: r.GetCpuQuota(), Memory: r.GetMemoryLimitInBytes()}
}

// PodLimitsCreated is what the Pod's cgroup was made with, from the annotations
// of its sandbox; ok is false if they do not tell.
func PodLimitsCreated(annotations map[string]string) (l PodLimits, ok bool) {
	err := json.Unmarshal([]byte(annotations[annotationPodLimits]), &l)
	return l, err == nil
}

// Wider is, for each limit, the larger of both: what a cgroup must allow while
// its containers go from one to the other.
func (l PodLimits) Wider(m PodLimits) PodLimits {
	return PodLimits{CPUShares: max(l.CPUShares, m.CPUShares), CPUQuota: wider(l.CPUQuota, m.CPUQuota), Memory: wider(l.Memory, m.Memory)}
}

func wider(a, b int64) int64 {
	if a == 0 || b == 0 {
		return 0
	}
	return max(a, b)
}

// LowersMemory tells whether m allows less memory than l.
func (l PodLimits) LowersMemory(m PodLimits) bool {
	return m.Memory != 0 && (l.Memory == 0 || m.Memory < l.Memory)
}

// Update is the request that gives a sandbox these limits of one resource.
func (l PodLimits) Update(sandbox string, pod *v1.Pod, name v1.ResourceName) *runtimeapi.UpdatePodSandboxResourcesRequest {
	orNone := func(n int64) int64 {
		if n == 0 {
			return -1
		}
		return n
	}
	overhead := podOverhead(pod)
	r, o := &runtimeapi.LinuxContainerResources{}, &runtimeapi.LinuxContainerResources{}
	if name == v1.ResourceMemory {
		r.MemoryLimitInBytes, o.MemoryLimitInBytes = orNone(l.Memory), overhead.GetMemoryLimitInBytes()
	} else {
		r.CpuShares, r.CpuPeriod, r.CpuQuota = l.CPUShares, QuotaPeriod, orNone(l.CPUQuota)
		o.CpuShares, o.CpuPeriod, o.CpuQuota = overhead.GetCpuShares(), overhead.GetCpuPeriod(), overhead.GetCpuQuota()
	}
	return &runtimeapi.UpdatePodSandboxResourcesRequest{PodSandboxId: sandbox, Resources: r, Overhead: o}
}

// Limits are the limits of one container for the runtime, memory being the
// node's capacity and hugePages the sizes that the machine has, in bytes.
func Limits(pod *v1.Pod, c *v1.Container, memory resource.Quantity, hugePages []int64) *runtimeapi.LinuxContainerResources {
	r := resources(pod, c, memory)
	r.HugepageLimits = hugePageLimits(pod, c, hugePages)
	return r
}
