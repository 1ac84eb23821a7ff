package image

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"

	cri "k8s.io/cri-api/pkg/apis"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/runtime/registry"
)

var _ cri.ImageManagerService = (*Service)(nil)

// Service is a store behind CRI's image interface.
type Service struct {
	store      *Store
	log        *slog.Logger
	registries *registry.Registries
}

// ServiceConfig says how a Service works.
type ServiceConfig struct {
	Store  *Store
	Logger *slog.Logger
	// Registries says how registries are reached.
	Registries registry.Config
}

// NewService returns a Service.
func NewService(cfg ServiceConfig) (*Service, error) {
	if cfg.Store == nil {
		return nil, errors.New("image service: Store is required")
	}
	s := &Service{store: cfg.Store, log: cfg.Logger, registries: registry.New(cfg.Registries)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	return s, nil
}

// ListImages implements CRI.
func (s *Service) ListImages(_ context.Context, filter *runtimeapi.ImageFilter) ([]*runtimeapi.Image, error) {
	if ref := filter.GetImage().GetImage(); ref != "" {
		img, err := s.store.Get(ref)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		found, err := img.status(ref)
		if err != nil {
			return nil, err
		}
		return []*runtimeapi.Image{found}, nil
	}
	images, err := s.store.List()
	if err != nil {
		return nil, err
	}
	out := make([]*runtimeapi.Image, 0, len(images))
	for _, img := range images {
		out = append(out, img.CRI())
	}
	return out, nil
}

// ImageStatus implements CRI: an image that is not there has no Image set.
func (s *Service) ImageStatus(_ context.Context, spec *runtimeapi.ImageSpec, verbose bool) (*runtimeapi.ImageStatusResponse, error) {
	img, err := s.store.Get(spec.GetImage())
	if errors.Is(err, ErrNotFound) {
		return &runtimeapi.ImageStatusResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := img.status(spec.GetImage())
	if err != nil {
		return nil, err
	}
	resp := &runtimeapi.ImageStatusResponse{Image: found}
	if verbose {
		shown := *img
		shown.Access = nil // hashes of passwords are nothing to print and to pass on
		data, err := json.Marshal(shown)
		if err != nil {
			return nil, err
		}
		resp.Info = map[string]string{"info": string(data)}
	}
	return resp, nil
}

// RemoveImage implements CRI.
func (s *Service) RemoveImage(_ context.Context, spec *runtimeapi.ImageSpec) error {
	return s.store.Remove(spec.GetImage())
}

// ImageFsInfo implements CRI.
func (s *Service) ImageFsInfo(context.Context) (*runtimeapi.ImageFsInfoResponse, error) {
	bytes, inodes, err := s.store.Usage()
	if err != nil {
		return nil, err
	}
	usage := &runtimeapi.FilesystemUsage{
		Timestamp:  time.Now().UnixNano(),
		FsId:       &runtimeapi.FilesystemIdentifier{Mountpoint: s.store.Dir()},
		UsedBytes:  &runtimeapi.UInt64Value{Value: uint64(bytes)},
		InodesUsed: &runtimeapi.UInt64Value{Value: uint64(inodes)},
	}
	return &runtimeapi.ImageFsInfoResponse{
		ImageFilesystems:     []*runtimeapi.FilesystemUsage{usage},
		ContainerFilesystems: []*runtimeapi.FilesystemUsage{usage},
	}, nil
}

// Close implements CRI.
func (s *Service) Close(context.Context) error { return nil }

// CRI returns the image as CRI describes it.
func (img *Image) CRI() *runtimeapi.Image {
	out := &runtimeapi.Image{
		Id:          img.ID,
		RepoTags:    img.Names,
		RepoDigests: img.Digests,
		Size:        uint64(img.Size),
		Spec:        &runtimeapi.ImageSpec{Image: img.ID},
		Pinned:      len(img.Loaded) > 0, // what a person has loaded stays until a person removes it
	}
	// A user "name:group" or "uid:gid"; only the first part matters here. A
	// number that is no user ID is passed on as a name: so runAsNonRoot refuses
	// it, and the runtime does not cut it to the 32 bits of another user's ID.
	user, _, _ := strings.Cut(img.Config.Config.User, ":")
	if uid, err := strconv.ParseInt(user, 10, 64); err == nil && uid >= 0 && uid < math.MaxUint32 {
		out.Uid = &runtimeapi.Int64Value{Value: uid}
	} else {
		out.Username = user
	}
	return out
}

// Ref is how statuses name the image: by the digest of a manifest where there
// is one, else by its ID.
func (img *Image) Ref() string {
	if len(img.Digests) > 0 {
		return img.Digests[0]
	}
	return img.ID
}
