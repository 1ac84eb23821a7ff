package fakecri

import (
	"context"
	"sync"

	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// Images is an image store in memory.
type Images struct {
	cri.ImageManagerService

	mu    sync.Mutex
	local map[string]*runtimeapi.Image
	pulls []string
	auths []*runtimeapi.AuthConfig
	fail  error
}

// NewImages returns a store that has the named images.
func NewImages(names ...string) *Images {
	i := &Images{local: map[string]*runtimeapi.Image{}}
	for _, n := range names {
		i.Add(n, nil)
	}
	return i
}

// Add puts an image into the store, run as the given user or root.
func (i *Images) Add(name string, uid *int64) {
	i.mu.Lock()
	defer i.mu.Unlock()
	img := &runtimeapi.Image{Id: name, RepoTags: []string{name}, Size: 1000}
	if uid != nil {
		img.Uid = &runtimeapi.Int64Value{Value: *uid}
	}
	i.local[name] = img
}

// FailPulls makes pulls return err, nil to let them succeed again.
func (i *Images) FailPulls(err error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.fail = err
}

// Pulls lists what was pulled, and with which login.
func (i *Images) Pulls() ([]string, []*runtimeapi.AuthConfig) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return append([]string(nil), i.pulls...), append([]*runtimeapi.AuthConfig(nil), i.auths...)
}

// ImageStatus implements the CRI.
func (i *Images) ImageStatus(_ context.Context, image *runtimeapi.ImageSpec, _ bool) (*runtimeapi.ImageStatusResponse, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	return &runtimeapi.ImageStatusResponse{Image: i.local[image.Image]}, nil
}

// PullImage implements the CRI.
func (i *Images) PullImage(_ context.Context, image *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	i.mu.Lock()
	i.pulls, i.auths = append(i.pulls, image.Image), append(i.auths, auth)
	err := i.fail
	i.mu.Unlock()
	if err != nil {
		return "", err
	}
	i.Add(image.Image, nil)
	return image.Image, nil
}

// ListImages implements the CRI.
func (i *Images) ListImages(context.Context, *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	var out []*runtimeapi.Image
	for _, img := range i.local {
		out = append(out, img)
	}
	return out, nil
}

// ImageFsInfo implements the CRI: of where the images are nothing is told.
func (i *Images) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	return &runtimeapi.ImageFsInfoResponse{}, nil
}
