package pod

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/credential"
	"minato/internal/node/credentialprovider"
	"minato/internal/node/spec"
)

// login is a login for an image's registry, and the Secret or service account that
// it comes from.
type login struct {
	auth   *runtimeapi.AuthConfig
	secret pullSecret
	key    string // which part of the registry it is for
}

func newLogin(f credential.Found) login {
	return login{
		auth:   &runtimeapi.AuthConfig{Username: f.Username, Password: f.Password, IdentityToken: f.IdentityToken, ServerAddress: f.Key},
		secret: pullSecret{Hash: f.Hash()},
		key:    f.Key,
	}
}

// logins finds the logins for an image: first among the Pod's imagePullSecrets,
// then with credential providers, and in both those for a longer part of the
// image's name first, as kubelet does. An error names Secrets that could not be
// read and providers that failed, which need not keep the pull from succeeding.
func logins(ctx context.Context, objects spec.Objects, providers Providers, pod *v1.Pod, image string) ([]login, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, err
	}
	all, errs := secretLogins(ctx, objects, pod, named.Name())
	if providers == nil {
		return all, errors.Join(errs...)
	}
	found, err := providers.Lookup(ctx, pod, named.Name())
	for _, f := range found {
		l := newLogin(f.Found)
		if l.secret.Node = f.Account == nil; !l.secret.Node {
			l.secret.Namespace, l.secret.Name, l.secret.UID = f.Account.Namespace, f.Account.Name, f.Account.UID
		}
		all = append(all, l)
	}
	return all, errors.Join(append(errs, err)...)
}

func secretLogins(ctx context.Context, objects spec.Objects, pod *v1.Pod, name string) (all []login, errs []error) {
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, err := objects.Secret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ref.Name, err))
			continue
		}
		parsed, err := parseLogins(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ref.Name, err))
			continue
		}
		found, err := parsed.Match(name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ref.Name, err))
		}
		for _, f := range found {
			l := newLogin(f)
			l.secret.Namespace, l.secret.Name, l.secret.UID = pod.Namespace, ref.Name, string(s.UID)
			all = append(all, l)
		}
	}
	slices.SortStableFunc(all, func(a, b login) int { return strings.Compare(b.key, a.key) })
	return all, errs
}

func parseLogins(s *v1.Secret) (credential.Logins, error) {
	switch s.Type {
	case v1.SecretTypeDockerConfigJson:
		return credential.ParseConfigJSON(s.Data[v1.DockerConfigJsonKey])
	case v1.SecretTypeDockercfg:
		return credential.ParseConfig(s.Data[v1.DockerConfigKey])
	}
	return nil, fmt.Errorf("a secret of type %s holds no registry login; use %s", s.Type, v1.SecretTypeDockerConfigJson)
}

// Providers have logins beside those of imagePullSecrets.
type Providers interface {
	Lookup(ctx context.Context, pod *v1.Pod, image string) ([]credentialprovider.Found, error)
}
