package criserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	utilexec "k8s.io/utils/exec"

	"minato/internal/runtime/oci"
)

// runtimeService is the CRI's RuntimeService.
type runtimeService struct {
	runtimeapi.UnimplementedRuntimeServiceServer
	cfg     Config
	streams *streamServers
}

// Version implements the CRI, as do the methods below.
func (s *runtimeService) Version(ctx context.Context, req *runtimeapi.VersionRequest) (*runtimeapi.VersionResponse, error) {
	return s.cfg.Runtime.Version(ctx, req.GetVersion())
}

// RunPodSandbox makes a sandbox, with its network.
func (s *runtimeService) RunPodSandbox(ctx context.Context, req *runtimeapi.RunPodSandboxRequest) (*runtimeapi.RunPodSandboxResponse, error) {
	id, err := s.cfg.Runtime.RunPodSandbox(ctx, req.GetConfig(), req.GetRuntimeHandler())
	return &runtimeapi.RunPodSandboxResponse{PodSandboxId: id}, err
}

// StopPodSandbox ends a sandbox and what is in it.
func (s *runtimeService) StopPodSandbox(ctx context.Context, req *runtimeapi.StopPodSandboxRequest) (*runtimeapi.StopPodSandboxResponse, error) {
	return &runtimeapi.StopPodSandboxResponse{}, s.cfg.Runtime.StopPodSandbox(ctx, req.GetPodSandboxId())
}

// RemovePodSandbox removes a sandbox and what is in it.
func (s *runtimeService) RemovePodSandbox(ctx context.Context, req *runtimeapi.RemovePodSandboxRequest) (*runtimeapi.RemovePodSandboxResponse, error) {
	return &runtimeapi.RemovePodSandboxResponse{}, s.cfg.Runtime.RemovePodSandbox(ctx, req.GetPodSandboxId())
}

// PodSandboxStatus describes one sandbox.
func (s *runtimeService) PodSandboxStatus(ctx context.Context, req *runtimeapi.PodSandboxStatusRequest) (*runtimeapi.PodSandboxStatusResponse, error) {
	return s.cfg.Runtime.PodSandboxStatus(ctx, req.GetPodSandboxId(), req.GetVerbose())
}

// ListPodSandbox lists sandboxes.
func (s *runtimeService) ListPodSandbox(ctx context.Context, req *runtimeapi.ListPodSandboxRequest) (*runtimeapi.ListPodSandboxResponse, error) {
	items, err := s.cfg.Runtime.ListPodSandbox(ctx, req.GetFilter())
	return &runtimeapi.ListPodSandboxResponse{Items: items}, err
}

// CreateContainer makes a container, whose program waits to be started.
func (s *runtimeService) CreateContainer(ctx context.Context, req *runtimeapi.CreateContainerRequest) (*runtimeapi.CreateContainerResponse, error) {
	id, err := s.cfg.Runtime.CreateContainer(ctx, req.GetPodSandboxId(), req.GetConfig(), req.GetSandboxConfig())
	return &runtimeapi.CreateContainerResponse{ContainerId: id}, err
}

// StartContainer starts a container.
func (s *runtimeService) StartContainer(ctx context.Context, req *runtimeapi.StartContainerRequest) (*runtimeapi.StartContainerResponse, error) {
	return &runtimeapi.StartContainerResponse{}, s.cfg.Runtime.StartContainer(ctx, req.GetContainerId())
}

// StopContainer ends a container.
func (s *runtimeService) StopContainer(ctx context.Context, req *runtimeapi.StopContainerRequest) (*runtimeapi.StopContainerResponse, error) {
	return &runtimeapi.StopContainerResponse{}, s.cfg.Runtime.StopContainer(ctx, req.GetContainerId(), req.GetTimeout())
}

// RemoveContainer removes a container.
func (s *runtimeService) RemoveContainer(ctx context.Context, req *runtimeapi.RemoveContainerRequest) (*runtimeapi.RemoveContainerResponse, error) {
	return &runtimeapi.RemoveContainerResponse{}, s.cfg.Runtime.RemoveContainer(ctx, req.GetContainerId())
}

// ListContainers lists containers.
func (s *runtimeService) ListContainers(ctx context.Context, req *runtimeapi.ListContainersRequest) (*runtimeapi.ListContainersResponse, error) {
	items, err := s.cfg.Runtime.ListContainers(ctx, req.GetFilter())
	return &runtimeapi.ListContainersResponse{Containers: items}, err
}

// ContainerStatus describes one container.
func (s *runtimeService) ContainerStatus(ctx context.Context, req *runtimeapi.ContainerStatusRequest) (*runtimeapi.ContainerStatusResponse, error) {
	return s.cfg.Runtime.ContainerStatus(ctx, req.GetContainerId(), req.GetVerbose())
}

// UpdateContainerResources changes the limits of a container.
func (s *runtimeService) UpdateContainerResources(ctx context.Context, req *runtimeapi.UpdateContainerResourcesRequest) (*runtimeapi.UpdateContainerResourcesResponse, error) {
	if req.GetWindows() != nil {
		return nil, fmt.Errorf("windows: %w", oci.ErrUnsupported)
	}
	err := s.cfg.Runtime.UpdateContainerResources(ctx, req.GetContainerId(), &runtimeapi.ContainerResources{Linux: req.GetLinux()})
	return &runtimeapi.UpdateContainerResourcesResponse{}, err
}

// ReopenContainerLog has a container write to a new log file.
func (s *runtimeService) ReopenContainerLog(ctx context.Context, req *runtimeapi.ReopenContainerLogRequest) (*runtimeapi.ReopenContainerLogResponse, error) {
	return &runtimeapi.ReopenContainerLogResponse{}, s.cfg.Runtime.ReopenContainerLog(ctx, req.GetContainerId())
}

// ExecSync runs a command and returns what it has written.
func (s *runtimeService) ExecSync(ctx context.Context, req *runtimeapi.ExecSyncRequest) (*runtimeapi.ExecSyncResponse, error) {
	out, errOut, err := s.cfg.Runtime.ExecSync(ctx, req.GetContainerId(), req.GetCmd(), time.Duration(req.GetTimeout())*time.Second)
	resp := &runtimeapi.ExecSyncResponse{Stdout: out, Stderr: errOut}
	if exit := (utilexec.CodeExitError{}); errors.As(err, &exit) {
		resp.ExitCode, err = int32(exit.Code), nil
	}
	return resp, err
}

// Exec returns the URL of a command's streams.
func (s *runtimeService) Exec(ctx context.Context, req *runtimeapi.ExecRequest) (*runtimeapi.ExecResponse, error) {
	if err := s.running(ctx, req.GetContainerId()); err != nil {
		return nil, err
	}
	return s.streams.near(ctx).GetExec(req)
}

// Attach returns the URL of a container's streams.
func (s *runtimeService) Attach(ctx context.Context, req *runtimeapi.AttachRequest) (*runtimeapi.AttachResponse, error) {
	if err := s.running(ctx, req.GetContainerId()); err != nil {
		return nil, err
	}
	return s.streams.near(ctx).GetAttach(req)
}

// running refuses a container that runs no process. An empty name is refused by
// the server of the streams.
func (s *runtimeService) running(ctx context.Context, id string) error {
	if id == "" {
		return nil
	}
	resp, err := s.cfg.Runtime.ContainerStatus(ctx, id, false)
	if err != nil {
		return err
	}
	if state := resp.GetStatus().GetState(); state != runtimeapi.ContainerState_CONTAINER_RUNNING {
		return fmt.Errorf("container %s is in state %v: %w", id, state, oci.ErrNotRunning)
	}
	return nil
}

// PortForward returns the URL of the streams to a sandbox's ports.
func (s *runtimeService) PortForward(ctx context.Context, req *runtimeapi.PortForwardRequest) (*runtimeapi.PortForwardResponse, error) {
	if id := req.GetPodSandboxId(); id != "" {
		resp, err := s.cfg.Runtime.PodSandboxStatus(ctx, id, false)
		if err != nil {
			return nil, err
		}
		if resp.GetStatus().GetState() != runtimeapi.PodSandboxState_SANDBOX_READY {
			return nil, status.Errorf(codes.FailedPrecondition, "pod sandbox %s was stopped", id)
		}
	}
	return s.streams.near(ctx).GetPortForward(req)
}

// UpdateRuntimeConfig tells the runtime about the node.
func (s *runtimeService) UpdateRuntimeConfig(ctx context.Context, req *runtimeapi.UpdateRuntimeConfigRequest) (*runtimeapi.UpdateRuntimeConfigResponse, error) {
	return &runtimeapi.UpdateRuntimeConfigResponse{}, s.cfg.Runtime.UpdateRuntimeConfig(ctx, req.GetRuntimeConfig())
}

// Status says how the runtime is.
func (s *runtimeService) Status(ctx context.Context, req *runtimeapi.StatusRequest) (*runtimeapi.StatusResponse, error) {
	return s.cfg.Runtime.Status(ctx, req.GetVerbose())
}

// RuntimeConfig says how the runtime manages cgroups.
func (s *runtimeService) RuntimeConfig(ctx context.Context, _ *runtimeapi.RuntimeConfigRequest) (*runtimeapi.RuntimeConfigResponse, error) {
	return s.cfg.Runtime.RuntimeConfig(ctx)
}

// CheckpointContainer is not there: neither the store nor conmon can take a
// checkpoint up again.
func (s *runtimeService) CheckpointContainer(ctx context.Context, req *runtimeapi.CheckpointContainerRequest) (*runtimeapi.CheckpointContainerResponse, error) {
	err := s.cfg.Runtime.CheckpointContainer(ctx, req)
	if errors.Is(err, oci.ErrUnsupported) {
		return nil, status.Error(codes.Unimplemented, err.Error())
	}
	return &runtimeapi.CheckpointContainerResponse{}, err
}

// UpdatePodSandboxResources changes the limits of a Pod as a whole.
func (s *runtimeService) UpdatePodSandboxResources(ctx context.Context, req *runtimeapi.UpdatePodSandboxResourcesRequest) (*runtimeapi.UpdatePodSandboxResourcesResponse, error) {
	return s.cfg.Runtime.UpdatePodSandboxResources(ctx, req)
}
