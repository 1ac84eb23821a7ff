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
	file := filepath.Join(c.runDir, "update.json")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	defer os.Remove(file)
	if err := r.runOCI(ctx, "update", "--resources", file, id); err != nil {
		return fmt.Errorf("update resources of container %s: %w", id, err)
	}
	return c.change(func(s *containerState) { s.Resources = resources.GetLinux() })
}

// UpdatePodSandboxResources implements CRI. It is for runtimes whose sandboxes
// take resources of their own; these don't.
func (r *Runtime) UpdatePodSandboxResources(_ context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	if _, err := r.sandbox(req.GetPodSandboxId()); err != nil {
		return nil, err
	}
	return &runtimeapi.UpdatePodSandboxResourcesResponse{}, nil
}
