package image

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"slices"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PullImage implements CRI: it fetches the image from its registry and returns
// the image's ID. An image named by digest that is here already is not asked
// for again, nor is one that was loaded from a file: what a developer built and
// loaded as app:latest must run, whatever a registry has under that name. Other
// tags may have moved, but where the registry does not answer, the image that
// is here is what the tag means.
func (s *Service) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	asked := spec.GetImage()
	have, err := s.store.Get(asked)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", err
	}
	if have != nil && (strings.Contains(asked, "@") || asked == have.ID || have.isLoaded(asked)) {
		return have.ID, nil
	}
	id, err := s.fetch(ctx, asked, auth)
	if err == nil {
		return id, nil
	}
	if have != nil && ctx.Err() == nil {
		s.log.Info("image could not be fetched, taking the one in the store", "image", asked, "error", err)
		return have.ID, nil
	}
	return "", err
}

// isLoaded tells whether it was by hand that the image got the name asked for.
func (img *Image) isLoaded(asked string) bool {
	name, err := Normalize(asked)
	return err == nil && slices.Contains(img.Loaded, name)
}

func (s *Service) fetch(ctx context.Context, asked string, auth *runtimeapi.AuthConfig) (string, error) {
	ref, err := parseReference(asked)
	if err != nil {
		return "", err
	}
	login, err := authenticator(auth)
	if err != nil {
		return "", fmt.Errorf("pull image %q: %w", asked, err)
	}
	img, err := remote.Image(ref,
		remote.WithContext(ctx),
		remote.WithAuth(login),
		remote.WithTransport(s.transport),
		remote.WithPlatform(v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}),
		remote.WithUserAgent("minato"))
	if err != nil {
		return "", pullError(asked, ref, err)
	}
	c, err := remoteCandidate(img, ref)
	if err != nil {
		return "", pullError(asked, ref, err)
	}
	if err := s.store.add(ctx, c, nil); err != nil {
		return "", pullError(asked, ref, err)
	}
	return c.id, nil
}

// remoteCandidate asks for manifest and configuration, not yet for layers.
func remoteCandidate(img v1.Image, ref name.Reference) (*candidate, error) {
	raw, err := img.RawConfigFile()
	if err != nil {
		return nil, err
	}
	digest, err := img.Digest()
	if err != nil {
		return nil, err
	}
	layers, err := img.Layers()
	if err != nil {
		return nil, err
	}
	c, err := newCandidate(raw, len(layers))
	if err != nil {
		return nil, err
	}
	full := canonical(ref)
	if _, isDigest := ref.(name.Digest); !isDigest {
		c.names = []string{full}
	}
	c.digests = []string{repository(full) + "@" + digest.String()}
	for i, layer := range layers {
		size, err := layer.Size()
		if err != nil {
			return nil, err
		}
		c.layers[i] = blob{
			diffID: c.config.RootFS.DiffIDs[i].String(),
			size:   size,
			open:   func() (io.ReadCloser, error) { return layer.Compressed() },
		}
	}
	return c, nil
}

// authenticator translates the credentials that a pull secret holds.
func authenticator(auth *runtimeapi.AuthConfig) (authn.Authenticator, error) {
	if auth == nil {
		return authn.Anonymous, nil
	}
	cfg := authn.AuthConfig{
		Username:      auth.GetUsername(),
		Password:      auth.GetPassword(),
		IdentityToken: auth.GetIdentityToken(),
		RegistryToken: auth.GetRegistryToken(),
	}
	if cfg.Username == "" && auth.GetAuth() != "" {
		plain, err := base64.StdEncoding.DecodeString(auth.GetAuth())
		if err != nil {
			return nil, fmt.Errorf("credentials: auth is not base64: %w", err)
		}
		user, password, ok := strings.Cut(string(plain), ":")
		if !ok {
			return nil, errors.New("credentials: auth is not of the form user:password")
		}
		cfg.Username, cfg.Password = user, strings.TrimRight(password, "\x00")
	}
	if cfg == (authn.AuthConfig{}) {
		return authn.Anonymous, nil
	}
	return authn.FromConfig(cfg), nil
}

// pullError says in the first words what went wrong, since kubectl shows them.
func pullError(asked string, ref name.Reference, err error) error {
	registry := ref.Context().RegistryStr()
	hint := "load it with `minato image load FILE`, or check the name"
	var terr *transport.Error
	switch {
	case errors.As(err, &terr) && terr.StatusCode == http.StatusNotFound:
		return fmt.Errorf("pull image %q: registry %s does not have it (%s): %w", asked, registry, hint, err)
	case errors.As(err, &terr) && (terr.StatusCode == http.StatusUnauthorized || terr.StatusCode == http.StatusForbidden):
		return fmt.Errorf("pull image %q: registry %s refuses access: it does not exist or needs an imagePullSecret: %w", asked, registry, err)
	case errors.As(err, &terr):
		return fmt.Errorf("pull image %q: registry %s answers with an error: %w", asked, registry, err)
	}
	return fmt.Errorf("pull image %q: it is not in the store, and registry %s can't be asked (%s): %w", asked, registry, hint, err)
}
