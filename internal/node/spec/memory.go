package spec

import v1 "k8s.io/api/core/v1"

// PodMemoryLimit is how much memory, in bytes, a Pod's cgroup allows all of its
// containers together; zero is no limit.
func PodMemoryLimit(pod *v1.Pod) int64 { return podResources(pod).GetMemoryLimitInBytes() }
