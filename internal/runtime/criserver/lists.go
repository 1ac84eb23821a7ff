package criserver

import (
	"slices"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// pieceLength is how many items of a list one message of a stream has: a few
// hundred kilobytes of containers with many labels.
const pieceLength = 256

// inPieces sends a list piece by piece.
func inPieces[T any](items []T, send func([]T) error) error {
	for piece := range slices.Chunk(items, pieceLength) {
		if err := send(piece); err != nil {
			return err
		}
	}
	return nil
}

// StreamPodSandboxes is ListPodSandbox in pieces.
func (s *runtimeService) StreamPodSandboxes(req *runtimeapi.StreamPodSandboxesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxesResponse]) error {
	items, err := s.cfg.Runtime.ListPodSandbox(stream.Context(), req.GetFilter())
	if err != nil {
		return err
	}
	return inPieces(items, func(some []*runtimeapi.PodSandbox) error {
		return stream.Send(&runtimeapi.StreamPodSandboxesResponse{PodSandboxes: some})
	})
}

// StreamContainers is ListContainers in pieces.
func (s *runtimeService) StreamContainers(req *runtimeapi.StreamContainersRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainersResponse]) error {
	items, err := s.cfg.Runtime.ListContainers(stream.Context(), req.GetFilter())
	if err != nil {
		return err
	}
	return inPieces(items, func(some []*runtimeapi.Container) error {
		return stream.Send(&runtimeapi.StreamContainersResponse{Containers: some})
	})
}

// StreamContainerStats is ListContainerStats in pieces.
func (s *runtimeService) StreamContainerStats(req *runtimeapi.StreamContainerStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamContainerStatsResponse]) error {
	items, err := s.cfg.Runtime.ListContainerStats(stream.Context(), req.GetFilter())
	if err != nil {
		return err
	}
	return inPieces(items, func(some []*runtimeapi.ContainerStats) error {
		return stream.Send(&runtimeapi.StreamContainerStatsResponse{ContainerStats: some})
	})
}

// StreamPodSandboxStats is ListPodSandboxStats in pieces.
func (s *runtimeService) StreamPodSandboxStats(req *runtimeapi.StreamPodSandboxStatsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxStatsResponse]) error {
	items, err := s.cfg.Runtime.ListPodSandboxStats(stream.Context(), req.GetFilter())
	if err != nil {
		return err
	}
	return inPieces(items, func(some []*runtimeapi.PodSandboxStats) error {
		return stream.Send(&runtimeapi.StreamPodSandboxStatsResponse{PodSandboxStats: some})
	})
}

// StreamPodSandboxMetrics is ListPodSandboxMetrics in pieces.
func (s *runtimeService) StreamPodSandboxMetrics(_ *runtimeapi.StreamPodSandboxMetricsRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamPodSandboxMetricsResponse]) error {
	items, err := s.cfg.Runtime.ListPodSandboxMetrics(stream.Context())
	if err != nil {
		return err
	}
	return inPieces(items, func(some []*runtimeapi.PodSandboxMetrics) error {
		return stream.Send(&runtimeapi.StreamPodSandboxMetricsResponse{PodSandboxMetrics: some})
	})
}
