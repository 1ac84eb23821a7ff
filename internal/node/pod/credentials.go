package pod

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/distribution/reference"
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/spec"
)

// login is one entry of a docker configuration.
type login struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// credentials finds the login for an image among the Pod's imagePullSecrets;
// nil if there is none. An error names Secrets that could not be read, which
// need not keep the pull from succeeding.
func credentials(ctx context.Context, objects spec.Objects, pod *v1.Pod, image string) (*runtimeapi.AuthConfig, error) {
	var errs []error
	for _, ref := range pod.Spec.ImagePullSecrets {
		s, err := objects.Secret(ctx, pod.Namespace, ref.Name)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ref.Name, err))
			continue
		}
		logins, err := parseLogins(s)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ref.Name, err))
			continue
		}
		if auth := match(logins, image); auth != nil {
			return auth, errors.Join(errs...)
		}
	}
	return nil, errors.Join(errs...)
}

func parseLogins(s *v1.Secret) (map[string]login, error) {
	var config struct {
		Auths map[string]login `json:"auths"`
	}
	switch {
	case s.Type == v1.SecretTypeDockerConfigJson:
		err := json.Unmarshal(s.Data[v1.DockerConfigJsonKey], &config)
		return config.Auths, err
	case s.Type == v1.SecretTypeDockercfg:
		err := json.Unmarshal(s.Data[v1.DockerConfigKey], &config.Auths)
		return config.Auths, err
	}
	return nil, fmt.Errorf("a secret of type %s holds no registry login; use %s", s.Type, v1.SecretTypeDockerConfigJson)
}

// match takes the entry whose key covers most of the image's name.
func match(logins map[string]login, image string) *runtimeapi.AuthConfig {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil
	}
	best := ""
	for key := range logins {
		if covers(registryOf(key), named.Name()) && len(key) >= len(best) {
			best = key
		}
	}
	l, ok := logins[best]
	if !ok {
		return nil
	}
	if l.Username == "" && l.Auth != "" {
		if text, err := base64.StdEncoding.DecodeString(l.Auth); err == nil {
			l.Username, l.Password, _ = strings.Cut(string(text), ":")
		}
	}
	return &runtimeapi.AuthConfig{
		Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken,
		ServerAddress: registryOf(best),
	}
}

// registryOf strips a configuration's key of what is not part of an image name.
func registryOf(key string) string {
	key = strings.TrimPrefix(strings.TrimPrefix(key, "https://"), "http://")
	key = strings.TrimSuffix(key, "/")
	for _, version := range []string{"/v1", "/v2"} {
		key = strings.TrimSuffix(key, version)
	}
	if key == "index.docker.io" || key == "registry-1.docker.io" {
		return "docker.io"
	}
	return key
}

// covers tells whether an image's name is at or below key, in which the host
// may hold * for one label.
func covers(key, name string) bool {
	keyHost, keyPath, _ := strings.Cut(key, "/")
	host, path, _ := strings.Cut(name, "/")
	want, have := strings.Split(keyHost, "."), strings.Split(host, ".")
	if len(want) != len(have) {
		return false
	}
	for i := range want {
		if want[i] != "*" && want[i] != have[i] {
			return false
		}
	}
	return keyPath == "" || path == keyPath || strings.HasPrefix(path, keyPath+"/")
}
