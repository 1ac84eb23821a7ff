package criserver

import (
	"context"
	"errors"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/runtime/image"
)

// imageService is the CRI's ImageService.
type imageService struct {
	runtimeapi.UnimplementedImageServiceServer
	cfg Config
}

// ListImages implements the CRI, as do the methods below.
func (s *imageService) ListImages(ctx context.Context, req *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	images, err := s.list(ctx, req.GetFilter())
	return &runtimeapi.ListImagesResponse{Images: images}, err
}

// StreamImages is ListImages in pieces.
func (s *imageService) StreamImages(req *runtimeapi.StreamImagesRequest, stream grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	images, err := s.list(stream.Context(), req.GetFilter())
	if err != nil {
		return err
	}
	return inPieces(images, func(some []*runtimeapi.Image) error {
		return stream.Send(&runtimeapi.StreamImagesResponse{Images: some})
	})
}

// ImageStatus says what an image is.
func (s *imageService) ImageStatus(ctx context.Context, req *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	resp, err := s.cfg.Images.ImageStatus(ctx, req.GetImage(), req.GetVerbose())
	if err != nil {
		return nil, err
	}
	resp.Image = plain(resp.GetImage())
	return resp, nil
}

func (s *imageService) list(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	images, err := s.cfg.Images.ListImages(ctx, filter)
	for i := range images {
		images[i] = plain(images[i])
	}
	return images, err
}

// plain is an image without what the store tells the node's agent alone: who may
// use it, which depends on the name that was asked for.
func plain(img *runtimeapi.Image) *runtimeapi.Image {
	if img.GetSpec().GetAnnotations()[image.AccessAnnotation] == "" {
		return img
	}
	out, _ := proto.Clone(img).(*runtimeapi.Image)
	delete(out.Spec.Annotations, image.AccessAnnotation)
	if len(out.Spec.Annotations) == 0 {
		out.Spec.Annotations = nil
	}
	return out
}

// PullImage fetches an image.
func (s *imageService) PullImage(ctx context.Context, req *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	ref, err := s.cfg.Images.PullImage(ctx, req.GetImage(), req.GetAuth(), req.GetSandboxConfig())
	return &runtimeapi.PullImageResponse{ImageRef: ref}, err
}

// RemoveImage removes an image; one that is not there is removed already.
func (s *imageService) RemoveImage(ctx context.Context, req *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	err := s.cfg.Images.RemoveImage(ctx, req.GetImage())
	if errors.Is(err, image.ErrNotFound) {
		err = nil
	}
	return &runtimeapi.RemoveImageResponse{}, err
}

// ImageFsInfo says what the images take.
func (s *imageService) ImageFsInfo(ctx context.Context, _ *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return s.cfg.Images.ImageFsInfo(ctx)
}
