package criserver

import (
	"context"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// ContainerStats says what a container uses.
func (s *runtimeService) ContainerStats(ctx context.Context, req *runtimeapi.ContainerStatsRequest) (*runtimeapi.ContainerStatsResponse, error) {
	stats, err := s.cfg.Runtime.ContainerStats(ctx, req.GetContainerId())
	return &runtimeapi.ContainerStatsResponse{Stats: stats}, err
}

// ListContainerStats says what containers use.
func (s *runtimeService) ListContainerStats(ctx context.Context, req *runtimeapi.ListContainerStatsRequest) (*runtimeapi.ListContainerStatsResponse, error) {
	stats, err := s.cfg.Runtime.ListContainerStats(ctx, req.GetFilter())
	return &runtimeapi.ListContainerStatsResponse{Stats: stats}, err
}

// PodSandboxStats says what a sandbox uses.
func (s *runtimeService) PodSandboxStats(ctx context.Context, req *runtimeapi.PodSandboxStatsRequest) (*runtimeapi.PodSandboxStatsResponse, error) {
	stats, err := s.cfg.Runtime.PodSandboxStats(ctx, req.GetPodSandboxId())
	return &runtimeapi.PodSandboxStatsResponse{Stats: stats}, err
}

// ListPodSandboxStats says what sandboxes use.
func (s *runtimeService) ListPodSandboxStats(ctx context.Context, req *runtimeapi.ListPodSandboxStatsRequest) (*runtimeapi.ListPodSandboxStatsResponse, error) {
	stats, err := s.cfg.Runtime.ListPodSandboxStats(ctx, req.GetFilter())
	return &runtimeapi.ListPodSandboxStatsResponse{Stats: stats}, err
}

// ListMetricDescriptors says which metrics there are.
func (s *runtimeService) ListMetricDescriptors(ctx context.Context, _ *runtimeapi.ListMetricDescriptorsRequest) (*runtimeapi.ListMetricDescriptorsResponse, error) {
	descriptors, err := s.cfg.Runtime.ListMetricDescriptors(ctx)
	return &runtimeapi.ListMetricDescriptorsResponse{Descriptors: descriptors}, err
}

// ListPodSandboxMetrics gives these metrics.
func (s *runtimeService) ListPodSandboxMetrics(ctx context.Context, _ *runtimeapi.ListPodSandboxMetricsRequest) (*runtimeapi.ListPodSandboxMetricsResponse, error) {
	metrics, err := s.cfg.Runtime.ListPodSandboxMetrics(ctx)
	return &runtimeapi.ListPodSandboxMetricsResponse{PodMetrics: metrics}, err
}

// GetContainerEvents tells what happens to containers until the client leaves.
func (s *runtimeService) GetContainerEvents(_ *runtimeapi.GetEventsRequest, stream grpc.ServerStreamingServer[runtimeapi.ContainerEventResponse]) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	events, ended := make(chan *runtimeapi.ContainerEventResponse), make(chan error, 1)
	go func() { ended <- s.cfg.Runtime.GetContainerEvents(ctx, events, nil) }()
	for {
		select {
		case e := <-events:
			if err := stream.Send(e); err != nil {
				return err
			}
		case err := <-ended:
			return err
		}
	}
}
