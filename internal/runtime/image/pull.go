package image

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"

	"minato/internal/runtime/registry"
)

// PullImage implements CRI: it fetches the image from its registry and returns
// the image's ID. The registry is asked even where the image is here, by tag or
// by digest, since only it can say whether these credentials may have the image.
// The exception is an image that was loaded from a file under the name asked
// for: what a developer built and loaded as app:latest must run, whatever a
// registry has under that name. With [AskAnnotation] there is no exception.
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
	if name, err := Normalize(asked); err == nil && have != nil && have.loadedAs(name) && spec.GetAnnotations()[AskAnnotation] != "true" {
		return have.ID, nil
	}
	access, err := pulledWith(spec, auth)
	if err != nil {
		return "", fmt.Errorf("pull image %q: %w", asked, err)
	}
	id, err := s.fetch(ctx, asked, auth, access, nil)
	if stack := (*registry.PanicError)(nil); errors.As(err, &stack) {
		s.log.Error("the pull of an image panicked", "image", asked, "panic", stack.Value, "stack", stack.Stack)
	}
	return id, err
}

// Pull fetches an image for a person, who decides that every Pod may use it, and
// returns its ID. auth may be nil, and so may progress.
func (s *Service) Pull(ctx context.Context, asked string, auth *runtimeapi.AuthConfig, progress func(Progress)) (string, error) {
	return s.fetch(ctx, asked, auth, Access{Hand: true}, progress)
}

func (s *Service) fetch(ctx context.Context, asked string, auth *runtimeapi.AuthConfig, access Access, progress func(Progress)) (id string, err error) {
	ref, err := parseReference(asked)
	if err != nil {
		return "", err
	}
	login, err := loginOf(auth)
	if err != nil {
		return "", fmt.Errorf("pull image %q: %w", asked, err)
	}
	repo, err := s.registries.Repository(registryOf(ref), ref.Context().RepositoryStr(), login)
	if err != nil {
		return "", fmt.Errorf("pull image %q: %w", asked, err)
	}
	defer repo.Close()
	c, err := find(ctx, repo, ref)
	if err == nil {
		c.access = map[string]Access{repository(canonical(ref)): access}
		err = s.store.add(ctx, c, progress)
	}
	if err != nil {
		return "", pullError(ctx, asked, ref, err)
	}
	return c.id, nil
}

// registryOf is the host of a registry as image names have it.
func registryOf(ref name.Reference) string {
	if host := ref.Context().RegistryStr(); host != name.DefaultRegistry {
		return host
	}
	return "docker.io"
}

// loginOf translates the credentials that a pull secret holds.
func loginOf(auth *runtimeapi.AuthConfig) (registry.Login, error) {
	login := registry.Login{
		Username:      auth.GetUsername(),
		Password:      auth.GetPassword(),
		IdentityToken: auth.GetIdentityToken(),
		RegistryToken: auth.GetRegistryToken(),
	}
	if login.Username == "" && auth.GetAuth() != "" {
		plain, err := base64.StdEncoding.DecodeString(auth.GetAuth())
		if err != nil {
			return login, errors.New("credentials: auth is not base64")
		}
		user, password, ok := strings.Cut(string(plain), ":")
		if !ok {
			return login, errors.New("credentials: auth is not of the form user:password")
		}
		login.Username, login.Password = user, strings.TrimRight(password, "\x00")
	}
	return login, nil
}

// pullError says in the first words what went wrong, since kubectl shows them.
func pullError(ctx context.Context, asked string, ref name.Reference, err error) error {
	from := registryOf(ref)
	hint := "load it with `minato image load FILE`, or check the name"
	var status *registry.StatusError
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("pull image %q: %w", asked, errors.Join(ctx.Err(), err))
	case errors.As(err, &status) && status.Code == http.StatusNotFound:
		return fmt.Errorf("pull image %q: registry %s does not have it (%s): %w", asked, from, hint, err)
	case errors.As(err, &status) && (status.Code == http.StatusUnauthorized || status.Code == http.StatusForbidden):
		return fmt.Errorf("pull image %q: registry %s refuses access: it does not exist or needs an imagePullSecret: %w", asked, from, err)
	case errors.As(err, &status):
		return fmt.Errorf("pull image %q: registry %s answers with an error: %w", asked, from, err)
	case registry.IsUnreachable(err):
		return fmt.Errorf("pull image %q: registry %s cannot be reached (%s): %w", asked, from, hint, unreachableError{err})
	}
	return fmt.Errorf("pull image %q: %w", asked, err)
}

// unreachableError is an error that no registry has answered with. It is CRI's
// RegistryUnavailable without these words in its text.
type unreachableError struct{ error }

func (e unreachableError) Unwrap() error        { return e.error }
func (e unreachableError) Is(target error) bool { return target == crierrors.ErrRegistryUnavailable }
