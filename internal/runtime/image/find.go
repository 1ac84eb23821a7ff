package image

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"minato/internal/runtime/registry"
)

// maxManifests bounds the manifests and indexes that lead to one image: an index
// may name an index.
const maxManifests = 32

// find asks a repository for what an image consists of, but not for its layers.
func find(ctx context.Context, repo *registry.Repository, ref name.Reference) (c *candidate, err error) {
	defer recoverAs(&err)
	asked := ref.Identifier()
	var trail []string // digests, from what was asked for to the image's manifest
	for range maxManifests {
		m, err := repo.Manifest(ctx, asked)
		if err != nil {
			return nil, err
		}
		trail = append(trail, m.Digest)
		kind, err := manifestKind(m.MediaType, m.Raw)
		if err != nil {
			return nil, fmt.Errorf("manifest %s: %w", m.Digest, err)
		}
		if !kind.IsIndex() {
			return remoteCandidate(ctx, repo, ref, m, trail)
		}
		idx, err := v1.ParseIndexManifest(bytes.NewReader(m.Raw))
		if err != nil {
			return nil, fmt.Errorf("read index %s: %w", m.Digest, err)
		}
		list := forThisMachine(idx.Manifests)
		if len(list) == 0 {
			return nil, fmt.Errorf("index %s has no image for %s/%s but for %s: %w", m.Digest, runtime.GOOS, runtime.GOARCH, platforms(idx.Manifests), errOtherPlatform)
		}
		asked = list[0].Digest.String()
	}
	return nil, fmt.Errorf("the registry leads through more than the limit of %d manifests and indexes", maxManifests)
}

// manifestKind says what a document is: an image's manifest or an index. The
// registry's word counts where the document itself has none.
func manifestKind(mediaType string, raw []byte) (types.MediaType, error) {
	var doc struct {
		SchemaVersion int             `json:"schemaVersion"`
		MediaType     types.MediaType `json:"mediaType"`
		Manifests     json.RawMessage `json:"manifests"`
		Layers        json.RawMessage `json:"layers"`
		FSLayers      json.RawMessage `json:"fsLayers"`
	}
	if err := json.Unmarshal(raw, &doc); err != nil {
		return "", fmt.Errorf("it is not JSON: %w", err)
	}
	kind := doc.MediaType
	if kind == "" {
		kind = types.MediaType(mediaType)
	}
	switch {
	case doc.SchemaVersion == 1 || doc.FSLayers != nil || kind == types.DockerManifestSchema1 || kind == types.DockerManifestSchema1Signed:
		return "", registry.ErrSchema1
	case kind.IsIndex() && doc.Layers == nil, kind.IsImage() && doc.Manifests == nil:
		return kind, nil
	case kind.IsIndex() || kind.IsImage():
		return "", fmt.Errorf("its media type is %q, but it has both layers and manifests", kind)
	case doc.Manifests != nil && doc.Layers == nil:
		return types.OCIImageIndex, nil
	case doc.Layers != nil && doc.Manifests == nil:
		return types.OCIManifestSchema1, nil
	}
	return "", fmt.Errorf("%w: its media type is %q", ErrNotImage, kind)
}

// forThisMachine are those of an index that this machine can run, the best one
// first: a variant of the processor that not every one is comes last.
// Attestations are listed as images for the platform "unknown".
func forThisMachine(all []v1.Descriptor) []v1.Descriptor {
	var plain, variants, unsaid []v1.Descriptor
	for _, d := range all {
		switch p := d.Platform; {
		case !d.MediaType.IsImage() && !d.MediaType.IsIndex() && d.MediaType != "":
		case p == nil || p.OS == "" && p.Architecture == "":
			unsaid = append(unsaid, d)
		case !platformMatches(p):
		case p.Variant == "" || p.Variant == "v1" && p.Architecture == "amd64" || p.Variant == "v8" && p.Architecture == "arm64":
			plain = append(plain, d)
		default:
			variants = append(variants, d)
		}
	}
	return append(append(plain, variants...), unsaid...)
}

func platforms(all []v1.Descriptor) string {
	var out []string
	for _, d := range all {
		if d.Platform != nil && d.Platform.OS != "unknown" && len(out) < 20 {
			out = append(out, printable(d.Platform.String()))
		}
	}
	if len(out) == 0 {
		return "none that it names"
	}
	return strings.Join(out, ", ")
}

// remoteCandidate asks for the configuration.
func remoteCandidate(ctx context.Context, repo *registry.Repository, ref name.Reference, m registry.Manifest, trail []string) (*candidate, error) {
	manifest, err := v1.ParseManifest(bytes.NewReader(m.Raw))
	if err != nil {
		return nil, fmt.Errorf("read manifest %s: %w", m.Digest, err)
	}
	if err := checkManifest(manifest); err != nil {
		return nil, err
	}
	raw, err := repo.Document(ctx, manifest.Config.Digest.String(), manifest.Config.Size)
	if err != nil {
		return nil, fmt.Errorf("read image configuration: %w", err)
	}
	c, err := newCandidate(raw, len(manifest.Layers))
	if err != nil {
		return nil, err
	}
	full := canonical(ref)
	if _, isDigest := ref.(name.Digest); !isDigest {
		c.names = []string{full}
	}
	for _, digest := range trail {
		c.digests = append(c.digests, repository(full)+"@"+digest)
	}
	for i, layer := range manifest.Layers {
		c.layers[i] = blob{
			diffID: c.config.RootFS.DiffIDs[i].String(),
			size:   layer.Size,
			open: func(ctx context.Context) (io.ReadCloser, error) {
				return repo.Blob(ctx, layer.Digest.String(), layer.Size)
			},
		}
	}
	return c, nil
}

// checkManifest refuses a manifest that is not an image's, whose blobs are larger
// than they may be, or elsewhere. A negative size is the way to say that there is
// no limit.
func checkManifest(m *v1.Manifest) error {
	if m.Config.Size < 0 || m.Config.Size > maxConfig {
		return fmt.Errorf("its manifest gives the configuration a size of %d bytes; the limit is %d", m.Config.Size, maxConfig)
	}
	if !m.Config.MediaType.IsConfig() && m.Config.MediaType != "" && m.Config.MediaType != "application/octet-stream" {
		return fmt.Errorf("%w: its configuration is of the type %q, as of something else that is kept in registries", ErrNotImage, printable(string(m.Config.MediaType)))
	}
	if len(m.Layers) > maxLayers {
		return fmt.Errorf("its manifest has %d layers; the limit is %d", len(m.Layers), maxLayers)
	}
	for _, layer := range m.Layers {
		if layer.Size < 0 {
			return fmt.Errorf("its manifest gives layer %s a size of %d bytes", layer.Digest, layer.Size)
		}
		if err := checkLayerType(layer); err != nil {
			return err
		}
	}
	return nil
}

// checkLayerType refuses layers that are not archives of files, or that registries
// don't have.
func checkLayerType(layer v1.Descriptor) error {
	kind := string(layer.MediaType)
	switch {
	case !layer.MediaType.IsDistributable() || len(layer.URLs) > 0:
		return fmt.Errorf("layer %s is a foreign one, of the type %q: its maker does not let registries and files have it, and it is not fetched from elsewhere", layer.Digest, printable(kind))
	case strings.HasSuffix(kind, "+encrypted"):
		return fmt.Errorf("layer %s is encrypted, which is not supported", layer.Digest)
	case kind == "", layer.MediaType.IsLayer(), strings.HasPrefix(kind, string(types.DockerUncompressedLayer)):
		return nil // some say .zstd, and the content says itself how it is compressed
	}
	return fmt.Errorf("%w: layer %s is of the type %q", ErrNotImage, layer.Digest, printable(kind))
}

// printable is a word of a registry's in an error.
func printable(s string) string {
	if len(s) > 100 {
		s = s[:100]
	}
	return strings.ToValidUTF8(s, "?")
}
