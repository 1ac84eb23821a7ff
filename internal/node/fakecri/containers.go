package fakecri

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// CreateContainer implements the CRI.
func (r *Runtime) CreateContainer(_ context.Context, sandboxID string, config *runtimeapi.ContainerConfig, sandboxConfig *runtimeapi.PodSandboxConfig) (string, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.called("CreateContainer", config.Metadata.Name); err != nil {
		return "", err
	}
	if s := r.sandboxes[sandboxID]; s == nil || s.status.State != runtimeapi.PodSandboxState_SANDBOX_READY {
		return "", errors.New("sandbox is not ready")
	}
	id := r.id("c")
	r.containers[id] = &container{config: config, sandbox: sandboxID, status: &runtimeapi.ContainerStatus{
		Id: id, Metadata: config.Metadata, State: runtimeapi.ContainerState_CONTAINER_CREATED, CreatedAt: r.now(),
		Image: config.Image, ImageRef: "sha256:" + config.Image.Image, Labels: config.Labels, Annotations: config.Annotations,
		LogPath:   filepath.Join(sandboxConfig.LogDirectory, config.LogPath),
		Resources: &runtimeapi.ContainerResources{Linux: config.GetLinux().GetResources()},
	}}
	return id, nil
}

// StartContainer implements the CRI.
func (r *Runtime) StartContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return errors.New("no such container")
	}
	if err := r.called("StartContainer", c.config.Metadata.Name); err != nil {
		c.status.State = runtimeapi.ContainerState_CONTAINER_EXITED
		c.status.ExitCode, c.status.FinishedAt = 128, r.now()
		c.status.Reason = "StartError"
		return err
	}
	c.status.State, c.status.StartedAt = runtimeapi.ContainerState_CONTAINER_RUNNING, r.Clock.Now().UnixNano()
	return nil
}

// StopContainer implements the CRI.
func (r *Runtime) StopContainer(_ context.Context, id string, timeout int64) error {
	r.mu.Lock()
	c := r.containers[id]
	if c == nil {
		r.mu.Unlock()
		return nil
	}
	name := c.config.Metadata.Name
	err := r.called("StopContainer", name)
	held := r.held[name]
	r.mu.Unlock()
	if err != nil {
		return err
	}
	code := int32(0)
	if held != nil {
		if timeout > 2 {
			<-held
		} else {
			code = 137
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.exit(c, code)
	return nil
}

// RemoveContainer implements the CRI.
func (r *Runtime) RemoveContainer(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c := r.containers[id]; c != nil {
		if err := r.called("RemoveContainer", c.config.Metadata.Name); err != nil {
			return err
		}
	}
	delete(r.containers, id)
	return nil
}

// ListContainers implements the CRI.
func (r *Runtime) ListContainers(_ context.Context, f *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.Container
	for id, c := range r.containers {
		state := f.GetState()
		if (f.GetId() == "" || f.GetId() == id) && selected(c.status.Labels, f.GetLabelSelector()) && (state == nil || state.State == c.status.State) {
			out = append(out, &runtimeapi.Container{Id: id, PodSandboxId: c.sandbox, Metadata: c.status.Metadata, State: c.status.State, CreatedAt: c.status.CreatedAt, Labels: c.status.Labels})
		}
	}
	return out, nil
}

// ContainerStatus implements the CRI.
func (r *Runtime) ContainerStatus(_ context.Context, id string, _ bool) (*runtimeapi.ContainerStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.containers[id]
	if c == nil {
		return nil, errors.New("no such container")
	}
	s := c.status
	return &runtimeapi.ContainerStatusResponse{Status: &runtimeapi.ContainerStatus{
		Id: id, Metadata: s.Metadata, State: s.State, CreatedAt: s.CreatedAt, StartedAt: s.StartedAt, FinishedAt: s.FinishedAt,
		ExitCode: s.ExitCode, Reason: s.Reason, Image: s.Image, ImageRef: s.ImageRef, Labels: s.Labels, Annotations: s.Annotations, LogPath: s.LogPath, Resources: s.Resources,
	}}, nil
}

// ExecSync implements the CRI.
func (r *Runtime) ExecSync(_ context.Context, id string, cmd []string, _ time.Duration) (stdout, stderr []byte, err error) {
	r.mu.Lock()
	c, fn := r.containers[id], r.exec
	if c != nil {
		r.called("ExecSync", c.config.Metadata.Name)
	}
	r.mu.Unlock()
	if fn == nil {
		return nil, nil, nil
	}
	out, err := fn(id, cmd)
	return []byte(out), nil, err
}

// ReopenContainerLog implements the CRI.
func (r *Runtime) ReopenContainerLog(_ context.Context, id string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.called("ReopenContainerLog", id)
}

// ListContainerStats implements the CRI.
func (r *Runtime) ListContainerStats(context.Context, *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var out []*runtimeapi.ContainerStats
	for id, c := range r.containers {
		out = append(out, &runtimeapi.ContainerStats{
			Attributes: &runtimeapi.ContainerAttributes{Id: id, Metadata: c.status.Metadata, Labels: c.status.Labels},
			Cpu:        &runtimeapi.CpuUsage{Timestamp: 1, UsageCoreNanoSeconds: &runtimeapi.UInt64Value{Value: 2e9}},
			Memory:     &runtimeapi.MemoryUsage{Timestamp: 1, WorkingSetBytes: &runtimeapi.UInt64Value{Value: 4096}},
		})
	}
	return out, nil
}
