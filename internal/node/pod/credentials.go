package pod

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
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

// credential is a login for an image's registry, and the Secret that it comes
// from.
type credential struct {
	auth   *runtimeapi.AuthConfig
	secret pullSecret
	key    string // which part of the registry it is for
}

// credentials finds the logins for an image among the Pod's imagePullSecrets, in
// the order in which kubelet tries them: those for a longer part of the image's
// name first. An error names Secrets that could not be read, which need not keep
// the pull from succeeding.
func credentials(ctx context.Context, objects spec.Objects, pod *v1.Pod, image string) ([]credential, error) {
	var errs []error
	var all []credential
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
		found, err := match(logins, image)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", ref.Name, err))
		}
		for _, c := range found {
			c.secret.Namespace, c.secret.Name, c.secret.UID = pod.Namespace, ref.Name, string(s.UID)
			all = append(all, c)
		}
	}
	slices.SortStableFunc(all, func(a, b credential) int { return strings.Compare(b.key, a.key) })
	return all, errors.Join(errs...)
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

// match takes the entries whose keys cover the image's name.
func match(logins map[string]login, image string) ([]credential, error) {
	named, err := reference.ParseNormalizedNamed(image)
	if err != nil {
		return nil, err
	}
	var found []credential
	var errs []error
	for _, raw := range slices.Sorted(maps.Keys(logins)) {
		key := registryOf(raw)
		if !covers(key, named.Name()) {
			continue
		}
		l := logins[raw]
		if l.Auth != "" {
			if l.Username, l.Password, err = decodeAuth(l.Auth); err != nil {
				errs = append(errs, fmt.Errorf("login for %s: %w", raw, err))
				continue
			}
		}
		found = append(found, credential{
			auth: &runtimeapi.AuthConfig{
				Username: l.Username, Password: l.Password, IdentityToken: l.IdentityToken, ServerAddress: key,
			},
			secret: pullSecret{Hash: l.hash()},
			key:    key,
		})
	}
	return found, errors.Join(errs...)
}

// decodeAuth reads the field auth of a docker configuration, which some write
// without padding.
func decodeAuth(auth string) (user, password string, err error) {
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(auth), "="))
	if err != nil {
		return "", "", errors.New("auth is not base64")
	}
	user, password, ok := strings.Cut(string(text), ":")
	if !ok {
		return "", "", errors.New("auth is not of the form user:password")
	}
	return user, password, nil
}

// hash tells one login from another without telling what it is.
func (l login) hash() string {
	text, err := json.Marshal([]string{l.Username, l.Password, l.IdentityToken})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
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

// covers tells whether an image's name is at or below key. Each label of the
// key's host may be a pattern, as in *.example.com.
func covers(key, name string) bool {
	keyHost, keyPath, _ := strings.Cut(key, "/")
	host, rest, _ := strings.Cut(name, "/")
	keyHost, keyPort, _ := strings.Cut(keyHost, ":")
	host, port, _ := strings.Cut(host, ":")
	want, have := strings.Split(keyHost, "."), strings.Split(host, ".")
	if len(want) != len(have) || keyPort != port {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return keyPath == "" || rest == keyPath || strings.HasPrefix(rest, keyPath+"/")
}
