package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// UpdateContainerResources implements CRI.
func (r *Runtime) UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error {
	c, err := r.container(id)
	if err != nil {
		return err
	}
	c.op.Lock()
	defer c.op.Unlock()
	if !c.unfinished() {
		return fmt.Errorf("update resources of container %s: %w", id, ErrNotRunning)
	}
	limits, err := r.containerResources(resources.GetLinux())
	if err != nil {
		return fmt.Errorf("update resources of container %s: %w", id, err)
	}
	data, err := json.Marshal(limits)
	if err != nil {
		return err
	}
	if err := write(c.runDir, updateFile, data); err != nil {
		return err
	}
	file := filepath.Join(c.runDir, updateFile)
	defer os.Remove(file)
	if err := r.runOCI(ctx, c, "update", "--resources", file, id); err != nil {
		return fmt.Errorf("update resources of container %s: %w", id, err)
	}
	return c.change(func(s *containerState) { s.Resources = resources.GetLinux() })
}

// UpdatePodSandboxResources implements CRI: it changes the limits of the Pod's
// cgroup. What the request does not say stays as it is.
func (r *Runtime) UpdatePodSandboxResources(_ context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	sb, err := r.sandbox(req.GetPodSandboxId())
	if err != nil {
		return nil, err
	}
	sb.op.Lock()
	defer sb.op.Unlock()
	if !sb.ready() {
		return nil, fmt.Errorf("update resources of pod sandbox %s: it was stopped", sb.state.ID)
	}
	for name, res := range map[string]*runtimeapi.LinuxContainerResources{"resources": req.GetResources(), "overhead": req.GetOverhead()} {
		if err := checkPodResources(res); err != nil {
			return nil, fmt.Errorf("update resources of pod sandbox %s: %s of the Pod: %w", sb.state.ID, name, err)
		}
	}
	config := &runtimeapi.LinuxPodSandboxConfig{Resources: req.GetResources(), Overhead: req.GetOverhead()}
	if err := r.limitPod(sb.info().UID, podLimitsOf(config), podHugePages(config)); err != nil {
		return nil, fmt.Errorf("update resources of pod sandbox %s: %w", sb.state.ID, err)
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}
