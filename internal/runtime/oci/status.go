package oci

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/version"
)

func (s *sandboxState) criState() runtimeapi.PodSandboxState {
	if s.Ready {
		return runtimeapi.PodSandboxState_SANDBOX_READY
	}
	return runtimeapi.PodSandboxState_SANDBOX_NOTREADY
}

func (sb *sandbox) snapshot() sandboxState {
	sb.mu.Lock()
	defer sb.mu.Unlock()
	return sb.state
}

// ListPodSandbox implements CRI, the newest first.
func (r *Runtime) ListPodSandbox(_ context.Context, filter *runtimeapi.PodSandboxFilter) ([]*runtimeapi.PodSandbox, error) {
	r.mu.Lock()
	all := make([]*sandbox, 0, len(r.sandboxes))
	for _, sb := range r.sandboxes {
		all = append(all, sb)
	}
	r.mu.Unlock()
	var out []*runtimeapi.PodSandbox
	for _, sb := range all {
		s := sb.snapshot()
		if filter.GetId() != "" && filter.GetId() != s.ID ||
			filter.GetState() != nil && filter.GetState().GetState() != s.criState() ||
			!matches(filter.GetLabelSelector(), s.Config.GetLabels()) {
			continue
		}
		out = append(out, &runtimeapi.PodSandbox{
			Id: s.ID, Metadata: s.Config.GetMetadata(), State: s.criState(), CreatedAt: s.CreatedAt.UnixNano(),
			Labels: s.Config.GetLabels(), Annotations: s.Config.GetAnnotations(), RuntimeHandler: s.Handler,
		})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.PodSandbox) int { return int(b.CreatedAt - a.CreatedAt) })
	return out, nil
}

// PodSandboxStatus implements CRI.
func (r *Runtime) PodSandboxStatus(_ context.Context, id string, verbose bool) (*runtimeapi.PodSandboxStatusResponse, error) {
	sb, err := r.sandbox(id)
	if err != nil {
		return nil, err
	}
	s := sb.snapshot()
	status := &runtimeapi.PodSandboxStatus{
		Id: s.ID, Metadata: s.Config.GetMetadata(), State: s.criState(), CreatedAt: s.CreatedAt.UnixNano(),
		Labels: s.Config.GetLabels(), Annotations: s.Config.GetAnnotations(), RuntimeHandler: s.Handler,
		Linux:   &runtimeapi.LinuxPodSandboxStatus{Namespaces: &runtimeapi.Namespace{Options: sb.options()}},
		Network: &runtimeapi.PodSandboxNetworkStatus{},
	}
	for i, ip := range s.IPs {
		if i == 0 {
			status.Network.Ip = ip.String()
		} else {
			status.Network.AdditionalIps = append(status.Network.AdditionalIps, &runtimeapi.PodIP{Ip: ip.String()})
		}
	}
	resp := &runtimeapi.PodSandboxStatusResponse{Status: status, Timestamp: time.Now().UnixNano()}
	for _, c := range r.containersOf(id) {
		resp.ContainersStatuses = append(resp.ContainersStatuses, r.criStatus(c))
	}
	if verbose {
		info, err := json.Marshal(map[string]any{"netns": sb.netns().Path, "cgroup": r.podCgroup(sb.info().UID).Path})
		if err != nil {
			return nil, err
		}
		resp.Info = map[string]string{"info": string(info)}
	}
	return resp, nil
}

func (s *containerState) criState() runtimeapi.ContainerState {
	switch s.Phase {
	case phaseCreated:
		return runtimeapi.ContainerState_CONTAINER_CREATED
	case phaseRunning:
		return runtimeapi.ContainerState_CONTAINER_RUNNING
	case phaseExited:
		return runtimeapi.ContainerState_CONTAINER_EXITED
	}
	return runtimeapi.ContainerState_CONTAINER_UNKNOWN
}

// ListContainers implements CRI, the newest first.
func (r *Runtime) ListContainers(_ context.Context, filter *runtimeapi.ContainerFilter) ([]*runtimeapi.Container, error) {
	var out []*runtimeapi.Container
	for _, c := range r.allContainers() {
		s := c.snapshot()
		if filter.GetId() != "" && filter.GetId() != s.ID ||
			filter.GetPodSandboxId() != "" && filter.GetPodSandboxId() != s.SandboxID ||
			filter.GetState() != nil && filter.GetState().GetState() != s.criState() ||
			!matches(filter.GetLabelSelector(), s.Config.GetLabels()) {
			continue
		}
		out = append(out, &runtimeapi.Container{
			Id: s.ID, PodSandboxId: s.SandboxID, Metadata: s.Config.GetMetadata(), Image: s.Config.GetImage(),
			ImageRef: s.ImageRef, ImageId: s.ImageID, State: s.criState(), CreatedAt: s.CreatedAt.UnixNano(),
			Labels: s.Config.GetLabels(), Annotations: s.Config.GetAnnotations(),
		})
	}
	slices.SortFunc(out, func(a, b *runtimeapi.Container) int { return int(b.CreatedAt - a.CreatedAt) })
	return out, nil
}

// ContainerStatus implements CRI.
func (r *Runtime) ContainerStatus(_ context.Context, id string, verbose bool) (*runtimeapi.ContainerStatusResponse, error) {
	c, err := r.container(id)
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ContainerStatusResponse{Status: r.criStatus(c)}
	if verbose {
		s := c.snapshot()
		info, err := json.Marshal(map[string]any{"sandboxID": s.SandboxID, "pid": s.Init.PID, "bundle": c.runDir})
		if err != nil {
			return nil, err
		}
		resp.Info = map[string]string{"info": string(info), "pid": strconv.Itoa(s.Init.PID)}
	}
	return resp, nil
}

func (r *Runtime) criStatus(c *container) *runtimeapi.ContainerStatus {
	s := c.snapshot()
	status := &runtimeapi.ContainerStatus{
		Id: s.ID, Metadata: s.Config.GetMetadata(), State: s.criState(), CreatedAt: s.CreatedAt.UnixNano(),
		Image:    &runtimeapi.ImageSpec{Image: s.ImageName, UserSpecifiedImage: s.Config.GetImage().GetUserSpecifiedImage()},
		ImageRef: s.ImageRef, ImageId: s.ImageID, Reason: s.Reason, Message: s.Message, ExitCode: s.ExitCode,
		Labels: s.Config.GetLabels(), Annotations: s.Config.GetAnnotations(), Mounts: s.Config.GetMounts(), LogPath: s.LogPath,
		Resources:  &runtimeapi.ContainerResources{Linux: r.actualResources(c, s)},
		User:       &runtimeapi.ContainerUser{Linux: s.User},
		StopSignal: s.Config.GetStopSignal(),
	}
	if !s.StartedAt.IsZero() {
		status.StartedAt = s.StartedAt.UnixNano()
	}
	if !s.FinishedAt.IsZero() {
		status.FinishedAt = s.FinishedAt.UnixNano()
	}
	return status
}

func matches(selector, labels map[string]string) bool {
	for key, value := range selector {
		if got, ok := labels[key]; !ok || got != value {
			return false
		}
	}
	return true
}

// Version implements CRI. The runtime is Minato's; Programs has the versions of
// the programs that it runs.
func (r *Runtime) Version(context.Context, string) (*runtimeapi.VersionResponse, error) {
	return &runtimeapi.VersionResponse{
		Version: "0.1.0", RuntimeName: "minato", RuntimeVersion: version.Get().Version, RuntimeApiVersion: "v1",
	}, nil
}

// Status implements CRI.
func (r *Runtime) Status(_ context.Context, verbose bool) (*runtimeapi.StatusResponse, error) {
	resp := &runtimeapi.StatusResponse{
		Status: &runtimeapi.RuntimeStatus{Conditions: []*runtimeapi.RuntimeCondition{
			{Type: "RuntimeReady", Status: true},
			{Type: "NetworkReady", Status: true},
		}},
		Features: &runtimeapi.RuntimeFeatures{SupplementalGroupsPolicy: true},
	}
	machine := userNamespaces()
	for _, name := range r.handlerNames() {
		features := &runtimeapi.RuntimeHandlerFeatures{
			RecursiveReadOnlyMounts: r.handlers[name].recursiveReadOnly, UserNamespaces: r.handlers[name].users && machine == nil,
		}
		resp.RuntimeHandlers = append(resp.RuntimeHandlers, &runtimeapi.RuntimeHandler{Name: name, Features: features})
	}
	if r.cfg.Network == nil {
		cond := resp.Status.Conditions[1]
		cond.Status, cond.Reason, cond.Message = false, "NoNetwork", "no pod network is configured"
	}
	if verbose {
		resp.Info = map[string]string{"runtime": r.oci.path, "conmon": r.oci.conmon}
	}
	return resp, nil
}

// RuntimeConfig implements CRI.
func (r *Runtime) RuntimeConfig(context.Context) (*runtimeapi.RuntimeConfigResponse, error) {
	return &runtimeapi.RuntimeConfigResponse{Linux: &runtimeapi.LinuxRuntimeConfiguration{CgroupDriver: runtimeapi.CgroupDriver_CGROUPFS}}, nil
}

// UpdateRuntimeConfig implements CRI: it would bring the pod CIDR, which is
// the network's matter here.
func (r *Runtime) UpdateRuntimeConfig(context.Context, *runtimeapi.RuntimeConfig) error { return nil }

// CheckpointContainer implements CRI.
func (r *Runtime) CheckpointContainer(context.Context, *runtimeapi.CheckpointContainerRequest) error {
	return fmt.Errorf("checkpoint: %w", ErrUnsupported)
}
