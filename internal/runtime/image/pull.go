package image

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"
)

// PullImage implements CRI: it fetches the image from its registry and returns
// the image's ID. The registry is asked even where the image is here, by tag or
// by digest, since only it can say whether these credentials may have the image.
// The exception is an image that was loaded from a file under the name asked
// for: what a developer built and loaded as app:latest must run, whatever a
// registry has under that name.
//
// Where the registry cannot be reached, the error is
// [crierrors.ErrRegistryUnavailable]; what a registry answers never is.
func (s *Service) PullImage(ctx context.Context, spec *runtimeapi.ImageSpec, auth *runtimeapi.AuthConfig, _ *runtimeapi.PodSandboxConfig) (string, error) {
	asked := spec.GetImage()
	have, err := s.store.Get(asked)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return "", err
	}
	if have != nil && isID(have, asked) {
		return have.ID, nil
	}
	if name, err := Normalize(asked); err == nil && have != nil && have.loadedAs(name) {
		return have.ID, nil
	}
	access, err := pulledWith(spec, auth)
	if err != nil {
		return "", fmt.Errorf("pull image %q: %w", asked, err)
	}
	id, err := s.fetch(ctx, asked, auth, access)
	if stack := (*panicError)(nil); errors.As(err, &stack) {
		s.log.Error("the pull of an image panicked", "image", asked, "panic", stack.value, "stack", stack.stack)
	}
	return id, err
}

func (s *Service) fetch(ctx context.Context, asked string, auth *runtimeapi.AuthConfig, access Access) (id string, err error) {
	ref, err := parseReference(asked)
	if err != nil {
		return "", err
	}
	login, err := authenticator(auth)
	if err != nil {
		return "", fmt.Errorf("pull image %q: %w", asked, err)
	}
	c, err := s.find(ctx, ref, login)
	if err == nil {
		c.access = map[string]Access{repository(canonical(ref)): access}
		err = s.store.add(ctx, c, nil)
	}
	if err != nil {
		return "", pullError(ctx, asked, ref, err)
	}
	return c.id, nil
}

// find asks the registry for what an image consists of.
func (s *Service) find(ctx context.Context, ref name.Reference, login authn.Authenticator) (c *candidate, err error) {
	defer recoverAs(&err)
	img, err := remote.Image(ref,
		remote.WithContext(ctx),
		remote.WithAuth(login),
		remote.WithTransport(newBoundedTransport(s.transport)),
		remote.WithPlatform(v1.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}),
		remote.WithUserAgent("minato"))
	if err != nil {
		return nil, err
	}
	return remoteCandidate(img, ref)
}

// remoteCandidate asks for manifest and configuration, not yet for layers.
func remoteCandidate(img v1.Image, ref name.Reference) (*candidate, error) {
	manifest, err := img.Manifest()
	if err != nil {
		return nil, err
	}
	if err := checkSizes(manifest); err != nil {
		return nil, err
	}
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
		c.layers[i] = blob{
			diffID: c.config.RootFS.DiffIDs[i].String(),
			size:   manifest.Layers[i].Size,
			open:   func() (io.ReadCloser, error) { return layer.Compressed() },
		}
	}
	return c, nil
}

// checkSizes refuses a manifest whose blobs are larger than they may be. A
// negative size is the way to say that there is no limit.
func checkSizes(m *v1.Manifest) error {
	if m.Config.Size < 0 || m.Config.Size > maxConfig {
		return fmt.Errorf("its manifest gives the configuration a size of %d bytes; the limit is %d", m.Config.Size, maxConfig)
	}
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("its manifest has %d layers; the limit is %d", len(m.Layers), maxLayers)
	}
	for _, layer := range m.Layers {
		if layer.Size < 0 {
			return fmt.Errorf("its manifest gives layer %s a size of %d bytes", layer.Digest, layer.Size)
		}
	}
	return nil
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
func pullError(ctx context.Context, asked string, ref name.Reference, err error) error {
	registry := ref.Context().RegistryStr()
	hint := "load it with `minato image load FILE`, or check the name"
	var terr *transport.Error
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("pull image %q: %w", asked, errors.Join(ctx.Err(), err))
	case errors.As(err, &terr) && terr.StatusCode == http.StatusNotFound:
		return fmt.Errorf("pull image %q: registry %s does not have it (%s): %w", asked, registry, hint, err)
	case errors.As(err, &terr) && (terr.StatusCode == http.StatusUnauthorized || terr.StatusCode == http.StatusForbidden):
		return fmt.Errorf("pull image %q: registry %s refuses access: it does not exist or needs an imagePullSecret: %w", asked, registry, err)
	case errors.As(err, &terr):
		return fmt.Errorf("pull image %q: registry %s answers with an error: %w", asked, registry, err)
	case isUnreachable(err):
		return fmt.Errorf("pull image %q: registry %s cannot be reached (%s): %w", asked, registry, hint, unreachableError{err})
	}
	return fmt.Errorf("pull image %q: %w", asked, err)
}

// unreachableError is an error that no registry has answered with. It is CRI's
// RegistryUnavailable without these words in its text.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error        { return e.error }
func (e unreachableError) Is(target error) bool { return target == crierrors.ErrRegistryUnavailable }

// isUnreachable tells whether the network is to blame. An answer is not, and
// neither is a certificate that cannot be verified: somebody else may answer in
// the registry's place to have an older image run.
func isUnreachable(err error) bool {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Op == "dial" || op.Op == "proxyconnect" || op.Op == "read" || op.Op == "write"
	}
	var timeout net.Error
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, errStalled)
}
