package remote

import (
	"context"
	"slices"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Images are the runtime's images, which all of its users share.
type Images struct{ r *Runtime }

// Images returns the runtime's images.
func (r *Runtime) Images() *Images { return &Images{r} }

// Close implements CRI; the connection is the Runtime's.
func (i *Images) Close(context.Context) error { return nil }

// ListImages implements CRI. The image of sandboxes, which old runtimes don't say
// is pinned, is.
func (i *Images) ListImages(ctx context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	c := i.r.conn
	resp, err := invoke(ctx, c, patience, c.images.ListImages, &runtimeapi.ListImagesRequest{Filter: filter})
	if err != nil {
		return nil, err
	}
	about, err := i.r.whoIs(ctx)
	if err != nil {
		return nil, err
	}
	for _, img := range resp.GetImages() {
		if about.PauseImage != "" && slices.Contains(img.GetRepoTags(), about.PauseImage) {
			img.Pinned = true
		}
	}
	return resp.GetImages(), nil
}

// ImageStatus implements CRI.
func (i *Images) ImageStatus(ctx context.Context, image *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	c := i.r.conn
	return invoke(ctx, c, patience, c.images.ImageStatus, &runtimeapi.ImageStatusRequest{Image: image, Verbose: verbose})
}

// PullImage implements CRI. It takes as long as ctx gives it.
func (i *Images) PullImage(ctx context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, sandbox *runtimeapi.PodSandboxConfig) (string, error) {
	c := i.r.conn
	resp, err := invoke(ctx, c, 0, c.images.PullImage, &runtimeapi.PullImageRequest{Image: image, Auth: auth, SandboxConfig: sandbox})
	return resp.GetImageRef(), err
}

// RemoveImage implements CRI.
func (i *Images) RemoveImage(ctx context.Context, image *runtimeapi.ImageSpec) error {
	c := i.r.conn
	_, err := invoke(ctx, c, patience, c.images.RemoveImage, &runtimeapi.RemoveImageRequest{Image: image})
	return err
}

// ImageFsInfo implements CRI.
func (i *Images) ImageFsInfo(ctx context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	c := i.r.conn
	return invoke(ctx, c, patience, c.images.ImageFsInfo, &runtimeapi.ImageFsInfoRequest{})
}
