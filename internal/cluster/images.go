package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/credential"
	"minato/internal/runtime/image"
	"minato/internal/runtime/registry"
)

// Image is one image of a cluster's content store.
type Image struct {
	ID      string    `json:"id"`
	Names   []string  `json:"names"`
	Digests []string  `json:"digests"`
	Size    int64     `json:"size"` // bytes on disk
	AddedAt time.Time `json:"addedAt"`
	// Loaded are the names under which it was loaded from a file.
	Loaded []string `json:"loaded,omitempty"`
}

// LoadedImage is an image that came into the store.
type LoadedImage struct {
	ID    string   `json:"id"`
	Names []string `json:"names"`
}

// ImageProgress is told of counts of bytes of an image; it may be nil.
type ImageProgress func(image string, done, total int64)

func (p ImageProgress) report() func(image.Progress) {
	if p == nil {
		return nil
	}
	return func(at image.Progress) { p(at.Image, at.Done, at.Total) }
}

// LoadImages puts the images of a file into the store that all nodes of the
// cluster share. The file "-" is what in gives.
func LoadImages(ctx context.Context, name, file string, in io.Reader, progress ImageProgress) ([]LoadedImage, error) {
	store, err := openImages(name)
	if err != nil {
		return nil, err
	}
	var loaded []image.Loaded
	if file == "-" {
		loaded, err = store.LoadFrom(ctx, in, "standard input", progress.report())
	} else {
		loaded, err = store.Load(ctx, file, progress.report())
	}
	out := []LoadedImage{}
	for _, l := range loaded {
		out = append(out, LoadedImage{ID: l.ID, Names: emptyNotNil(l.Names)})
	}
	return out, err
}

// ImageLogin says where the logins for a pull come from: Username and Password, or
// else a Docker configuration.
type ImageLogin struct {
	Username, Password string
	DockerConfig       string // a file; "" is none
}

// PullImage fetches an image from its registry into the store of the cluster, as
// the cluster's settings for registries say. Every Pod may use it.
func PullImage(ctx context.Context, name, ref string, login ImageLogin, progress ImageProgress) (LoadedImage, error) {
	store, err := openImages(name)
	if err != nil {
		return LoadedImage{}, err
	}
	c, err := LoadConfig(name)
	if err != nil {
		return LoadedImage{}, err
	}
	full, err := image.Normalize(ref)
	if err != nil {
		return LoadedImage{}, SettingError{err}
	}
	auths, err := login.find(image.RepositoryOf(full))
	if err != nil {
		return LoadedImage{}, err
	}
	svc, err := image.NewService(image.ServiceConfig{Store: store, Registries: registry.Config{Path: c.Registries.Config}})
	if err != nil {
		return LoadedImage{}, err
	}
	var errs []error
	for _, auth := range auths {
		id, err := svc.Pull(ctx, ref, auth, progress.report())
		if err == nil {
			return LoadedImage{ID: id, Names: []string{full}}, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 1 {
		return LoadedImage{}, errs[0]
	}
	return LoadedImage{}, errors.Join(errs...)
}

// find returns the logins to try, or nil alone for nobody.
func (l ImageLogin) find(repository string) ([]*runtimeapi.AuthConfig, error) {
	if l.Username != "" {
		return []*runtimeapi.AuthConfig{{Username: l.Username, Password: l.Password}}, nil
	}
	if l.DockerConfig == "" {
		return []*runtimeapi.AuthConfig{nil}, nil
	}
	data, err := os.ReadFile(l.DockerConfig)
	if err != nil {
		return nil, err
	}
	logins, err := credential.ParseConfigJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.DockerConfig, err)
	}
	found, err := logins.Match(repository)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.DockerConfig, err)
	}
	var auths []*runtimeapi.AuthConfig
	for _, f := range found {
		if f.Login == (credential.Login{}) {
			return nil, fmt.Errorf("%s: the login for %s is kept elsewhere, by a program of credsStore or credHelpers, which is not asked; give it by --username and --password-stdin", l.DockerConfig, f.Key)
		}
		auths = append(auths, &runtimeapi.AuthConfig{Username: f.Username, Password: f.Password, IdentityToken: f.IdentityToken})
	}
	if len(auths) == 0 {
		auths = append(auths, nil)
	}
	return auths, nil
}

// SaveImages writes images of the store: into the directory dir as an OCI layout,
// or where that is empty to w as a tar that Docker, Podman, containerd and
// LoadImages take.
func SaveImages(ctx context.Context, name string, refs []string, w io.Writer, dir string, progress ImageProgress) error {
	store, err := openImages(name)
	if err != nil {
		return err
	}
	if dir != "" {
		err = store.SaveDir(ctx, dir, refs, progress.report())
	} else {
		err = store.SaveTar(ctx, w, refs, progress.report())
	}
	if errors.Is(err, image.ErrNotFound) {
		return fmt.Errorf("save: %w; `minato image ls%s` lists those that there are", err, nameFlag(name))
	}
	return err
}

// PrunedImages are images that no container uses, and the bytes on disk that only
// they took.
type PrunedImages struct {
	Images []LoadedImage `json:"images"`
	Freed  int64         `json:"freed"`
}

// PruneImages removes the images that no container uses: those that pulls have
// brought, and with all those that were loaded as well. With dry it only tells.
func PruneImages(name string, all, dry bool) (PrunedImages, error) {
	store, err := openImages(name)
	if err != nil {
		return PrunedImages{}, err
	}
	pruned, freed, err := store.Prune(all, dry)
	out := PrunedImages{Images: []LoadedImage{}, Freed: freed}
	for _, p := range pruned {
		out.Images = append(out.Images, LoadedImage{ID: p.ID, Names: emptyNotNil(p.Names)})
	}
	return out, err
}

// ListImages returns the images that every node of the cluster can run.
func ListImages(name string) ([]Image, error) {
	store, err := openImages(name)
	if err != nil {
		return nil, err
	}
	all, err := store.List()
	if err != nil {
		return nil, err
	}
	images := make([]Image, 0, len(all))
	for _, img := range all {
		images = append(images, Image{ID: img.ID, Names: emptyNotNil(img.Names), Digests: emptyNotNil(img.Digests), Size: img.Size, AddedAt: img.AddedAt, Loaded: img.Loaded})
	}
	return images, nil
}

func emptyNotNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func openImages(name string) (*image.Store, error) {
	if err := ValidateName(name); err != nil {
		return nil, err
	}
	if err := RequireRoot(); err != nil {
		return nil, err
	}
	c, err := LoadConfig(name)
	if err == nil {
		err = c.OwnImages()
	}
	if err != nil {
		return nil, err
	}
	return image.Open(Paths{Name: name}.Store())
}

// RemoveImage removes a name from the store, and with its last name the image.
// It returns ErrNoImage for one that is not there.
func RemoveImage(name, ref string) error {
	store, err := openImages(name)
	if err != nil {
		return err
	}
	if _, err := store.Get(ref); err != nil {
		return fmt.Errorf("remove: %w; `minato image ls%s` lists those that there are", err, nameFlag(name))
	}
	return store.Remove(ref)
}
