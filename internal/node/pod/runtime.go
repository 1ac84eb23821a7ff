package pod

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/observe"
)

// tracked is the container runtime with a view of it that every action keeps
// up: a read after an action is at least as new as the action.
type tracked struct {
	Runtime
	view *observe.Cache
}

// RunPodSandbox implements Runtime.
func (t tracked) RunPodSandbox(ctx context.Context, config *runtimeapi.PodSandboxConfig, handler string) (string, error) {
	uid := types.UID(config.GetMetadata().GetUid())
	id, err := t.Runtime.RunPodSandbox(ctx, config, handler)
	if err != nil {
		t.view.Distrust(uid)
		return "", err
	}
	t.view.AddSandbox(uid, id)
	return id, nil
}

// StopPodSandbox implements Runtime.
func (t tracked) StopPodSandbox(ctx context.Context, id string) error {
	defer t.view.ChangedAll(id)
	return t.Runtime.StopPodSandbox(ctx, id)
}

// RemovePodSandbox implements Runtime.
func (t tracked) RemovePodSandbox(ctx context.Context, id string) error {
	if err := t.Runtime.RemovePodSandbox(ctx, id); err != nil {
		t.view.ChangedAll(id)
		return err
	}
	t.view.Removed(id)
	return nil
}

// CreateContainer implements Runtime.
func (t tracked) CreateContainer(ctx context.Context, sandboxID string, config *runtimeapi.ContainerConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	uid := types.UID(sandbox.GetMetadata().GetUid())
	id, err := t.Runtime.CreateContainer(ctx, sandboxID, config, sandbox)
	if err != nil {
		t.view.ChangedAll(sandboxID)
		t.view.Distrust(uid)
		return "", err
	}
	t.view.AddContainer(uid, sandboxID, id)
	return id, nil
}

// StartContainer implements Runtime.
func (t tracked) StartContainer(ctx context.Context, id string) error {
	defer t.view.Changed("", id)
	return t.Runtime.StartContainer(ctx, id)
}

// StopContainer implements Runtime.
func (t tracked) StopContainer(ctx context.Context, id string, timeout int64) error {
	defer t.view.Changed("", id)
	return t.Runtime.StopContainer(ctx, id, timeout)
}

// UpdateContainerResources implements Runtime.
func (t tracked) UpdateContainerResources(ctx context.Context, id string, resources *runtimeapi.ContainerResources) error {
	defer t.view.Changed("", id)
	return t.Runtime.UpdateContainerResources(ctx, id, resources)
}

// RemoveContainer implements Runtime.
func (t tracked) RemoveContainer(ctx context.Context, id string) error {
	if err := t.Runtime.RemoveContainer(ctx, id); err != nil {
		t.view.Changed("", id)
		return err
	}
	t.view.Removed(id)
	return nil
}
