// Package credential finds the logins for an image: it reads Docker's
// configurations, as imagePullSecrets hold them, and matches images against their
// keys as kubelet does. It does no I/O.
package credential

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Login is one entry of a Docker configuration.
type Login struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	Auth          string `json:"auth"`
	IdentityToken string `json:"identitytoken"`
}

// Found is a login for an image.
type Found struct {
	Login
	// Key is the part of the registry that the login is for, without a scheme.
	Key string
}

// Logins are those of a Docker configuration, by the keys that it has for them.
type Logins map[string]Login

// ParseConfigJSON reads the content of a Secret of the type
// kubernetes.io/dockerconfigjson, which is also that of ~/.docker/config.json.
func ParseConfigJSON(data []byte) (Logins, error) {
	var config struct {
		Auths Logins `json:"auths"`
	}
	if err := json.Unmarshal(data, &config); err != nil {
		return nil, errors.New("it is not a Docker configuration in JSON") // the error may have a password in it
	}
	return config.Auths, nil
}

// ParseConfig reads that of a Secret of the type kubernetes.io/dockercfg.
func ParseConfig(data []byte) (Logins, error) {
	var logins Logins
	if err := json.Unmarshal(data, &logins); err != nil {
		return nil, errors.New("it is not a Docker configuration in JSON")
	}
	return logins, nil
}

// dockerHub is the key that `docker login` writes without a registry.
const dockerHub = "index.docker.io"

// Match takes the logins whose keys cover an image's name, without tag and digest,
// such as "docker.io/library/nginx". They are in the order in which kubelet tries
// them: those for a longer part of the name first. An error names logins that
// can't be read; the others are returned nevertheless.
func (l Logins) Match(image string) ([]Found, error) {
	var found, hub []Found
	var errs []error
	for _, raw := range slices.Sorted(maps.Keys(l)) {
		key, ok := keyOf(raw)
		if !ok {
			errs = append(errs, fmt.Errorf("login for %q: it is no registry's name", raw))
			continue
		}
		matches := Covers(key, image)
		isHub := key == dockerHub && strings.HasPrefix(image, "docker.io/")
		if !matches && !isHub {
			continue
		}
		login, err := l[raw].decoded()
		if err != nil {
			errs = append(errs, fmt.Errorf("login for %s: %w", raw, err))
			continue
		}
		if matches {
			found = append(found, Found{login, key})
		} else {
			hub = append(hub, Found{login, key})
		}
	}
	if len(found) == 0 {
		found = hub
	}
	Sort(found)
	return found, errors.Join(errs...)
}

// Sort puts logins for a longer part of a name first, and keeps the order of
// those for the same one.
func Sort(found []Found) {
	slices.SortStableFunc(found, func(a, b Found) int { return strings.Compare(b.Key, a.Key) })
}

// decoded has user and password from auth, where that is given.
func (l Login) decoded() (Login, error) {
	if l.Auth == "" {
		return l, nil
	}
	text, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(strings.TrimSpace(l.Auth), "=")) // some write no padding
	if err != nil {
		return l, errors.New("auth is not base64")
	}
	user, password, ok := strings.Cut(string(text), ":")
	if !ok {
		return l, errors.New("auth is not of the form user:password")
	}
	l.Username, l.Password, l.Auth = user, password, ""
	return l, nil
}

// Hash tells one login from another without telling what it is.
func (l Login) Hash() string {
	text, err := json.Marshal([]string{l.Username, l.Password, l.IdentityToken})
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// keyOf strips a configuration's key of what is not part of an image's name.
func keyOf(key string) (string, bool) {
	if !strings.HasPrefix(key, "https://") && !strings.HasPrefix(key, "http://") {
		key = "https://" + key
	}
	u, err := url.Parse(key)
	if err != nil || u.Host == "" {
		return "", false
	}
	p := u.Path
	for _, version := range []string{"/v1", "/v2"} {
		if p == version || strings.HasPrefix(p, version+"/") {
			p = p[len(version):]
		}
	}
	return u.Host + strings.TrimSuffix(p, "/"), true
}

// Covers tells whether an image's name begins with key. Each label of the key's
// host may be a pattern, as in *.example.com; ports have to be equal.
func Covers(key, image string) bool {
	keyHost, keyPath, _ := strings.Cut(key, "/")
	host, rest, _ := strings.Cut(image, "/")
	keyHost, keyPort := cutPort(keyHost)
	host, port := cutPort(host)
	want, have := strings.Split(keyHost, "."), strings.Split(host, ".")
	if len(want) != len(have) || keyPort != port || !strings.HasPrefix(rest, keyPath) {
		return false
	}
	for i := range want {
		if ok, err := path.Match(want[i], have[i]); err != nil || !ok {
			return false
		}
	}
	return true
}

// cutPort takes a host and its port apart. An IPv6 address loses its brackets,
// which would be a pattern.
func cutPort(hostPort string) (host, port string) {
	if end := strings.LastIndexByte(hostPort, ']'); strings.HasPrefix(hostPort, "[") && strings.Contains(hostPort[:end+1], ":") {
		return hostPort[1:end], strings.TrimPrefix(hostPort[end+1:], ":")
	}
	host, port, _ = strings.Cut(hostPort, ":")
	return host, port
}
