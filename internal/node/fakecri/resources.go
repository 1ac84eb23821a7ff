package fakecri

import (
	"context"
	"errors"
	"fmt"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Use sets how much memory, in bytes, the containers of that name use.
func (r *Runtime) Use(name string, memory uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.memory == nil {
		r.memory = map[string]uint64{}
	}
	r.memory[name] = memory
}

// UpdateContainerResources implements the CRI. As a machine does, it refuses a
// container more than its Pod has.
func (r *Runtime) UpdateContainerResources(_ context.Context, id string, resources *runtimeapi.ContainerResources) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return errors.New("no such container")
	}
	l := resources.GetLinux()
	if err := r.called("UpdateContainerResources", fmt.Sprintf("%s shares=%d quota=%d memory=%d", c.config.Metadata.Name, l.CpuShares, l.CpuQuota, l.MemoryLimitInBytes)); err != nil {
		return err
	}
	pod := r.sandboxes[c.sandbox].limits
	if pod.GetCpuQuota() > 0 && l.CpuQuota > pod.CpuQuota || pod.GetMemoryLimitInBytes() > 0 && l.MemoryLimitInBytes > pod.MemoryLimitInBytes {
		return errors.New("more than the Pod has")
	}
	c.status.Resources = resources
	return nil
}

// UpdatePodSandboxResources implements the CRI. As a machine does, it refuses a
// Pod less CPU than one of its containers has.
func (r *Runtime) UpdatePodSandboxResources(_ context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.sandboxes[req.PodSandboxId]
	if s == nil {
		return nil, errors.New("no such sandbox")
	}
	l := req.GetResources()
	if err := r.called("UpdatePodSandboxResources", fmt.Sprintf("%s shares=%d quota=%d memory=%d", s.config.Metadata.Name, l.CpuShares, l.CpuQuota, l.MemoryLimitInBytes)); err != nil {
		return nil, err
	}
	for _, c := range r.containers {
		if c.sandbox == req.PodSandboxId && c.status.State == runtimeapi.ContainerState_CONTAINER_RUNNING && l.CpuQuota > 0 && c.status.Resources.GetLinux().GetCpuQuota() > l.CpuQuota {
			return nil, errors.New("less than a container has")
		}
	}
	if l.CpuShares != 0 {
		s.limits.CpuShares = l.CpuShares
	}
	if l.CpuQuota != 0 {
		s.limits.CpuQuota = l.CpuQuota
	}
	if l.MemoryLimitInBytes != 0 {
		s.limits.MemoryLimitInBytes = l.MemoryLimitInBytes
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}

// Limits returns what a Pod's sandbox has.
func (r *Runtime) Limits(pod string) *runtimeapi.LinuxContainerResources {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.sandboxes {
		if s.config.Metadata.Name == pod {
			return &runtimeapi.LinuxContainerResources{CpuShares: s.limits.CpuShares, CpuQuota: s.limits.CpuQuota, MemoryLimitInBytes: s.limits.MemoryLimitInBytes}
		}
	}
	return nil
}

// PodSandboxStats implements the CRI, as far as memory.
func (r *Runtime) PodSandboxStats(_ context.Context, id string) (*runtimeapi.PodSandboxStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	usage := func(n uint64) *runtimeapi.MemoryUsage {
		return &runtimeapi.MemoryUsage{UsageBytes: &runtimeapi.UInt64Value{Value: n}}
	}
	linux, sum := &runtimeapi.LinuxPodSandboxStats{}, uint64(0)
	for cid, c := range r.containers {
		if c.sandbox != id || c.status.State != runtimeapi.ContainerState_CONTAINER_RUNNING {
			continue
		}
		n := r.memory[c.config.Metadata.Name]
		sum += n
		linux.Containers = append(linux.Containers, &runtimeapi.ContainerStats{
			Attributes: &runtimeapi.ContainerAttributes{Id: cid, Metadata: c.status.Metadata}, Memory: usage(n),
		})
	}
	linux.Memory = usage(sum)
	return &runtimeapi.PodSandboxStats{Linux: linux}, r.fail["PodSandboxStats"]
}
