package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"
)

// Registries opens repositories. It holds connections that are used again.
type Registries struct {
	cfg Config
}

// New returns Registries; the configuration is read when it is needed.
func New(cfg Config) *Registries {
	if cfg.Transport == nil {
		cfg.Transport = newDefaultTransport()
	}
	if cfg.Pause == nil {
		cfg.Pause = pause
	}
	return &Registries{cfg: cfg}
}

// pause waits before an attempt to go on with a transfer: not at all, then 0.2 s
// and twice as long each time.
func pause(ctx context.Context, attempt int) error {
	if attempt == 0 {
		return ctx.Err()
	}
	t := time.NewTimer(min(100*time.Millisecond<<attempt, 5*time.Second))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Repository is one repository, wherever its content is taken from.
type Repository struct {
	clients []*client
	pause   func(ctx context.Context, attempt int) error
}

// Repository returns the repository of that path, such as "library/nginx", of a
// registry, such as "docker.io" or "registry.example:5000". Nothing is asked yet.
func (r *Registries) Repository(registry, path string, login Login) (*Repository, error) {
	endpoints, err := r.cfg.endpoints(registry)
	if err != nil {
		return nil, err
	}
	repo := &Repository{pause: r.cfg.Pause}
	for _, e := range endpoints {
		c, err := newClient(e, registry, path, login, r.cfg.Transport)
		if err != nil {
			repo.Close()
			return nil, fmt.Errorf("registry configuration for %s: %w", e.host, err)
		}
		repo.clients = append(repo.clients, c)
	}
	return repo, nil
}

// Close lets go of connections that only this repository could use.
func (r *Repository) Close() {
	for _, c := range r.clients {
		c.closeIdle()
	}
}

// Manifest is a manifest or an index of a repository.
type Manifest struct {
	Raw []byte
	// MediaType is what the registry says that it is.
	MediaType string
	// Digest is that of Raw, "sha256:…".
	Digest string
}

// manifestTypes are what may come, so that registries don't convert it.
var manifestTypes = strings.Join([]string{
	"application/vnd.oci.image.index.v1+json",
	"application/vnd.oci.image.manifest.v1+json",
	"application/vnd.docker.distribution.manifest.list.v2+json",
	"application/vnd.docker.distribution.manifest.v2+json",
	signedSchema1 + ";q=0.1",
	"*/*;q=0.1",
}, ", ")

// Manifest asks for a manifest by a tag or by a digest. A registry whose answer is
// not what the digest says is refused with [ErrDigest].
func (r *Repository) Manifest(ctx context.Context, ref string) (Manifest, error) {
	isDigest := strings.Contains(ref, ":")
	if isDigest && !isSHA256(ref) {
		return Manifest{}, fmt.Errorf("digest %s: only sha256 is supported", ref)
	}
	var m Manifest
	err := r.each(ctx, func(c *client) bool { return isDigest && c.pull || !isDigest && c.resolve }, func(c *client) (err error) {
		m, err = c.manifest(ctx, ref, isDigest)
		return err
	})
	return m, err
}

// each tries one endpoint after the other until one succeeds.
func (r *Repository) each(ctx context.Context, can func(*client) bool, try func(*client) error) error {
	var errs []error
	for _, c := range r.clients {
		if !can(c) {
			continue
		}
		err := try(c)
		if err == nil {
			return nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	if len(errs) == 0 {
		return errors.New("no host in the registry configuration has the capabilities pull and resolve")
	}
	return newTriedError(errs)
}

func (c *client) manifest(ctx context.Context, ref string, isDigest bool) (Manifest, error) {
	resp, err := c.get(ctx, "manifests/"+ref, http.Header{"Accept": {manifestTypes}})
	if err != nil {
		return Manifest{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body) // as much as boundedBody lets through
	if err != nil {
		return Manifest{}, requestError(resp.Request.URL, err)
	}
	sum := sha256.Sum256(raw)
	m := Manifest{Raw: raw, Digest: "sha256:" + hex.EncodeToString(sum[:])}
	m.MediaType, _, err = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		m.MediaType = ""
	}
	want := resp.Header.Get("Docker-Content-Digest")
	if isDigest {
		want = ref
	}
	if isSHA256(want) && want != m.Digest {
		if m.MediaType == signedSchema1 {
			return Manifest{}, fmt.Errorf("manifest %s of %s: %w", want, c.name(), ErrSchema1)
		}
		return Manifest{}, fmt.Errorf("manifest %s of %s: %w, %s: the registry does not tell the truth", want, c.name(), ErrDigest, m.Digest)
	}
	return m, nil
}

func isSHA256(digest string) bool {
	rest, ok := strings.CutPrefix(digest, "sha256:")
	if !ok || len(rest) != 2*sha256.Size {
		return false
	}
	for i := range len(rest) {
		if c := rest[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}
