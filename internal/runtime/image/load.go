package image

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// Accepted names the kinds of files that Load takes, for messages.
const Accepted = "a docker-archive tar (`docker save`, `podman save`) or an OCI layout (a directory or a tar), plain or compressed by gzip or zstd"

// ErrNotImage says that a file holds no image.
var ErrNotImage = errors.New("not a container image")

// Bounds on images, wherever they come from.
const (
	// maxConfig bounds an image's configuration, in bytes, as containerd does.
	maxConfig = 8 << 20
	// maxKept bounds what of it goes into the index, in bytes: every user of the
	// store has the whole index in memory.
	maxKept = 1 << 20
	// maxLayers bounds an image's layers; Docker makes at most 127, and overlayfs
	// takes 500 different ones.
	maxLayers = 512
)

// Bounds on the documents of an archive: manifests, indexes, configurations.
const (
	// maxDocument bounds one of them, in bytes.
	maxDocument = maxConfig
	// maxDocuments bounds all of them together, in bytes.
	maxDocuments = 128 << 20
)

// Loaded is one image that Load has put into the store.
type Loaded struct {
	ID    string
	Names []string
}

// Load puts every image of a file or directory into the store; see [Accepted]
// for what that can be. Layers that the store has are not unpacked again.
// progress may be nil.
func (s *Store) Load(ctx context.Context, path string, progress func(Progress)) (loaded []Loaded, err error) {
	defer recoverAs(&err)
	src, err := openSource(ctx, path, filepath.Join(s.dir, "tmp"))
	if err != nil {
		return nil, fmt.Errorf("load image from %s: %w", path, err)
	}
	return s.loadAll(ctx, src, path, progress)
}

// LoadFrom is Load for what r gives; name is what errors call it. It needs room
// on the disk for all of it.
func (s *Store) LoadFrom(ctx context.Context, r io.Reader, name string, progress func(Progress)) (loaded []Loaded, err error) {
	defer recoverAs(&err)
	src, err := spool(ctx, r, filepath.Join(s.dir, "tmp"))
	if err != nil {
		return nil, fmt.Errorf("load image from %s: %w", name, err)
	}
	return s.loadAll(ctx, src, name, progress)
}

func (s *Store) loadAll(ctx context.Context, src source, path string, progress func(Progress)) (loaded []Loaded, err error) {
	defer src.Close()
	candidates, err := readCandidates(&documents{source: src, left: maxDocuments})
	if err != nil {
		return nil, fmt.Errorf("load image from %s: %w", path, err)
	}
	for _, c := range candidates {
		c.loaded = true
		if err := s.add(ctx, c, progress); err != nil {
			return loaded, fmt.Errorf("load image from %s: %w", path, err)
		}
		loaded = append(loaded, Loaded{ID: c.id, Names: c.names})
	}
	return loaded, nil
}

// readCandidates finds the images of a source. Docker's manifest comes first:
// newer `docker save` writes both, and only this one has full names.
func readCandidates(src *documents) ([]*candidate, error) {
	data, err := src.read("manifest.json")
	if err == nil {
		return dockerCandidates(src, data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	data, err = src.read("index.json")
	if err == nil {
		return layoutCandidates(src, data)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return nil, fmt.Errorf("%w: it has neither a manifest.json nor an index.json; accepted is %s", ErrNotImage, Accepted)
}

// dockerManifest is one entry of a docker-archive's manifest.json.
type dockerManifest struct {
	Config   string
	RepoTags []string
	Layers   []string
}

func dockerCandidates(src *documents, data []byte) ([]*candidate, error) {
	var manifests []dockerManifest
	if err := json.Unmarshal(data, &manifests); err != nil {
		return nil, fmt.Errorf("%w: read manifest.json: %w; accepted is %s", ErrNotImage, err, Accepted)
	}
	if len(manifests) == 0 {
		return nil, fmt.Errorf("%w: its manifest.json lists no image", ErrNotImage)
	}
	var out []*candidate
	for _, m := range manifests {
		raw, err := src.read(m.Config)
		if err != nil {
			return nil, fmt.Errorf("read image configuration: %w", err)
		}
		c, err := newCandidate(raw, len(m.Layers))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Config, err)
		}
		for _, tag := range m.RepoTags {
			name, err := Normalize(tag)
			if err != nil {
				return nil, err
			}
			c.names = append(c.names, name)
		}
		for i, file := range m.Layers {
			c.layers[i] = fileBlob(src, file, c.config.RootFS.DiffIDs[i].String())
		}
		out = append(out, c)
	}
	return out, nil
}

func layoutCandidates(src *documents, data []byte) ([]*candidate, error) {
	idx, err := v1.ParseIndexManifest(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("%w: read index.json: %w; accepted is %s", ErrNotImage, err, Accepted)
	}
	byID := map[string]*candidate{}
	var out []*candidate
	for _, desc := range idx.Manifests {
		c, err := layoutCandidate(src, desc, 0)
		if errors.Is(err, errOtherPlatform) && len(idx.Manifests) > 1 {
			continue
		}
		if err != nil {
			return nil, err
		}
		if err := c.nameFrom(desc); err != nil {
			return nil, err
		}
		if have := byID[c.id]; have != nil {
			have.names = sortedUnion(have.names, c.names)
			have.digests = sortedUnion(have.digests, c.digests)
			continue
		}
		byID[c.id] = c
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%w: its index.json lists no image for %s/%s", ErrNotImage, runtime.GOOS, runtime.GOARCH)
	}
	return out, nil
}

var errOtherPlatform = errors.New("made for another platform")

// layoutCandidate follows a descriptor to the image for this machine. Indexes
// are nested at most a few levels deep in practice; a loop can't be, since
// blobs are named by their digests, but a long chain could be made on purpose.
func layoutCandidate(src *documents, desc v1.Descriptor, depth int) (*candidate, error) {
	if depth > 4 {
		return nil, fmt.Errorf("%w: its indexes are nested too deeply", ErrNotImage)
	}
	if desc.Platform != nil && !platformMatches(desc.Platform) {
		return nil, fmt.Errorf("image for %s: %w: this machine is %s/%s", desc.Platform, errOtherPlatform, runtime.GOOS, runtime.GOARCH)
	}
	raw, err := readBlob(src, desc.Digest)
	if err != nil {
		return nil, err
	}
	switch {
	case desc.MediaType.IsIndex():
		idx, err := v1.ParseIndexManifest(bytes.NewReader(raw))
		if err != nil {
			return nil, fmt.Errorf("read index %s: %w", desc.Digest, err)
		}
		for _, child := range forThisMachine(idx.Manifests) {
			c, err := layoutCandidate(src, child, depth+1)
			if !errors.Is(err, errOtherPlatform) {
				return c, err
			}
		}
		return nil, fmt.Errorf("index %s has no image for %s/%s: %w", desc.Digest, runtime.GOOS, runtime.GOARCH, errOtherPlatform)
	case desc.MediaType.IsImage():
		return manifestCandidate(src, desc.Digest, raw)
	}
	return nil, fmt.Errorf("%w: media type %q of %s", ErrNotImage, desc.MediaType, desc.Digest)
}

func manifestCandidate(src *documents, digest v1.Hash, raw []byte) (*candidate, error) {
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", digest, err)
	}
	config, err := readBlob(src, m.Config.Digest)
	if err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	c, err := newCandidate(config, len(m.Layers))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", digest, err)
	}
	c.digests = []string{digest.String()} // names are put before it by nameFrom
	for i, layer := range m.Layers {
		if err := checkLayerType(layer); err != nil {
			return nil, fmt.Errorf("manifest %s: %w", digest, err)
		}
		c.layers[i] = fileBlob(src, blobPath(layer.Digest), c.config.RootFS.DiffIDs[i].String())
	}
	return c, nil
}

// nameFrom takes the image's name from the annotations that tools put beside
// it. A bare tag, which OCI layouts may have as well, says too little.
func (c *candidate) nameFrom(desc v1.Descriptor) error {
	manifest := c.digests
	c.digests = nil
	for _, key := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
		value := desc.Annotations[key]
		if !strings.ContainsAny(value, "/:") {
			continue
		}
		name, err := Normalize(value)
		if err != nil {
			return err
		}
		c.names = []string{name}
		for _, digest := range manifest {
			c.digests = append(c.digests, repository(name)+"@"+digest)
		}
		return nil
	}
	return nil
}

// newCandidate reads a configuration, whose digest is the image's ID. It keeps
// what a container needs.
func newCandidate(raw []byte, layers int) (*candidate, error) {
	var doc struct {
		v1.ConfigFile
		// Nobody reads it, and it can be large: the index is read often.
		History json.RawMessage `json:"history"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	config := &doc.ConfigFile
	if layers > maxLayers {
		return nil, fmt.Errorf("%w: it has %d layers; the limit is %d", ErrNotImage, layers, maxLayers)
	}
	if n := len(config.RootFS.DiffIDs); n != layers {
		return nil, fmt.Errorf("%w: the configuration names %d layers and the manifest %d", ErrNotImage, n, layers)
	}
	if config.Architecture != "" && config.Architecture != runtime.GOARCH || config.OS != "" && config.OS != runtime.GOOS {
		return nil, fmt.Errorf("image for %s/%s: %w: this machine is %s/%s", config.OS, config.Architecture, errOtherPlatform, runtime.GOOS, runtime.GOARCH)
	}
	config.Config.Labels = nil // nobody reads them either
	kept, err := json.Marshal(config)
	if err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	if len(kept) > maxKept {
		return nil, fmt.Errorf("%w: its configuration takes %d bytes without history and labels; the limit is %d", ErrNotImage, len(kept), maxKept)
	}
	sum, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	return &candidate{id: sum.String(), config: config, raw: raw, layers: make([]blob, layers)}, nil
}

func platformMatches(p *v1.Platform) bool {
	return p.OS == runtime.GOOS && p.Architecture == runtime.GOARCH || p.OS == "" && p.Architecture == ""
}

func fileBlob(src source, name, diffID string) blob {
	size, _ := src.Size(name) // only for progress; opening reports errors
	return blob{diffID: diffID, size: size, open: func(context.Context) (io.ReadCloser, error) { return src.Open(name) }}
}

func blobPath(digest v1.Hash) string {
	return path.Join("blobs", digest.Algorithm, digest.Hex)
}

// readBlob reads a small blob of an OCI layout and verifies it.
func readBlob(src *documents, digest v1.Hash) ([]byte, error) {
	if digest.Algorithm != "sha256" || len(digest.Hex) != hex.EncodedLen(32) {
		return nil, fmt.Errorf("digest %s: only sha256 is supported", digest)
	}
	data, err := src.read(blobPath(digest))
	if err != nil {
		return nil, err
	}
	if sum, _, err := v1.SHA256(bytes.NewReader(data)); err != nil || sum != digest {
		return nil, fmt.Errorf("blob %s: its content has the digest %s: the file is damaged", digest, sum)
	}
	return data, nil
}

// documents reads the documents of a source, up to a limit for all of them: an
// archive of a few bytes can name the same document any number of times.
type documents struct {
	source
	left int64
}

func (d *documents) read(name string) ([]byte, error) {
	rc, err := d.Open(name)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	limit := min(maxDocument, d.left)
	data, err := io.ReadAll(io.LimitReader(rc, limit+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	switch {
	case len(data) > maxDocument:
		return nil, fmt.Errorf("read %s: it is larger than the limit of %d bytes", name, maxDocument)
	case int64(len(data)) > limit:
		return nil, fmt.Errorf("read %s: manifests and configurations of the archive are larger than the limit of %d bytes together", name, maxDocuments)
	}
	d.left -= int64(len(data))
	return data, nil
}
