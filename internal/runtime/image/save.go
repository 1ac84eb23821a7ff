package image

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"golang.org/x/sys/unix"
)

// sink takes the files that an image is saved as.
type sink interface {
	// file writes one file of that size; write fails if it writes another size.
	file(name string, size int64, write func(io.Writer) error) error
}

// SaveTar writes images as a tar that is both an OCI layout and what `docker save`
// writes. Layers are the archives that they came from, not compressed, so that the
// images have the same IDs wherever they are loaded. progress may be nil.
func (s *Store) SaveTar(ctx context.Context, w io.Writer, refs []string, progress func(Progress)) error {
	tw := tar.NewWriter(w)
	if err := s.save(ctx, tarSink{tw}, refs, progress); err != nil {
		return err
	}
	return tw.Close()
}

// SaveDir writes images as an OCI layout into a directory that is empty or not
// there yet. After an error it is empty.
func (s *Store) SaveDir(ctx context.Context, dir string, refs []string, progress func(Progress)) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	if len(entries) > 0 {
		return fmt.Errorf("save to %s: the directory is not empty", dir)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	if err := s.save(ctx, dirSink{root}, refs, progress); err != nil {
		// Half a layout would be taken for one, and keep the next try from here.
		for _, name := range []string{"index.json", "manifest.json", "oci-layout", "blobs"} {
			err = errors.Join(err, root.RemoveAll(name))
		}
		return err
	}
	return nil
}

type tarSink struct{ tw *tar.Writer }

func (t tarSink) file(name string, size int64, write func(io.Writer) error) error {
	hdr := &tar.Header{Name: name, Typeflag: tar.TypeReg, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0), Format: tar.FormatPAX}
	if err := t.tw.WriteHeader(hdr); err != nil {
		return err
	}
	if err := write(t.tw); err != nil {
		return err
	}
	return t.tw.Flush() // an error if it is shorter
}

type dirSink struct{ root *os.Root }

func (d dirSink) file(name string, size int64, write func(io.Writer) error) (err error) {
	if err := d.root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := write(f); err != nil {
		return err
	}
	if info, err := f.Stat(); err != nil || info.Size() != size {
		return errors.Join(err, fmt.Errorf("%s has not the size of %d bytes", name, size))
	}
	return nil
}

// savedImage is an image on its way out.
type savedImage struct {
	img      *Image
	names    []string
	config   []byte
	manifest []byte
	layers   []Layer
}

func (s *Store) save(ctx context.Context, out sink, refs []string, progress func(Progress)) error {
	// Nothing that is read here may be swept meanwhile.
	unlock, err := lockFile(filepath.Join(s.dir, "tmp.lock"), unix.LOCK_SH)
	if err != nil {
		return fmt.Errorf("lock image store: %w", err)
	}
	defer unlock()
	images, err := s.saved(refs)
	if err != nil {
		return err
	}
	if err := s.writeBlobs(ctx, out, images, progress); err != nil {
		return err
	}
	return writeIndexes(out, images)
}

// saved looks the images up; one that is named several times is there once, with
// the names that were asked for.
func (s *Store) saved(refs []string) ([]*savedImage, error) {
	var images []*savedImage
	for _, ref := range refs {
		img, err := s.Get(ref)
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(images, func(o *savedImage) bool { return o.img.ID == img.ID })
		if i < 0 {
			one, err := s.describe(img)
			if err != nil {
				return nil, fmt.Errorf("save image %s: %w", ref, err)
			}
			images, i = append(images, one), len(images)
		}
		if name, err := Normalize(ref); err == nil && slices.Contains(img.Names, name) && !isID(img, ref) {
			images[i].names = union(images[i].names, []string{name})
		} else if len(images[i].names) == 0 {
			images[i].names = slices.Clone(img.Names)
		}
	}
	return images, nil
}

// describe makes the manifest of an image.
func (s *Store) describe(img *Image) (*savedImage, error) {
	out := &savedImage{img: img}
	raw, err := os.ReadFile(s.configPath(img.ID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errors.New("it was put into the store by an earlier version, which has not kept all of it; remove it and pull or load it anew first")
	}
	if err != nil {
		return nil, err
	}
	out.config = raw
	m := v1.Manifest{SchemaVersion: 2, MediaType: types.OCIManifestSchema1, Layers: []v1.Descriptor{}}
	m.Config = v1.Descriptor{MediaType: types.OCIConfigJSON, Size: int64(len(raw)), Digest: hashOf(img.ID)}
	for i, name := range img.Layers {
		l, ok := s.layerReady(name)
		if !ok {
			return nil, fmt.Errorf("layer %s has vanished from the store", name)
		}
		if l.TarSize == 0 {
			return nil, fmt.Errorf("layer %s: %w: an earlier version has unpacked it (then remove the image and pull or load it anew), or it has sparse files, or files twice", img.Config.RootFS.DiffIDs[i], errNoTape)
		}
		out.layers = append(out.layers, l)
		m.Layers = append(m.Layers, v1.Descriptor{MediaType: types.OCIUncompressedLayer, Size: l.TarSize, Digest: hashOf(l.DiffID)})
	}
	out.manifest, err = json.Marshal(m)
	return out, err
}

func hashOf(digest string) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: strings.TrimPrefix(digest, "sha256:")}
}

// writeBlobs writes layers, configurations and manifests, each once.
func (s *Store) writeBlobs(ctx context.Context, out sink, images []*savedImage, progress func(Progress)) error {
	p := Progress{}
	written := map[string]bool{}
	for _, one := range images {
		for _, l := range one.layers {
			if !written[l.DiffID] {
				written[l.DiffID] = true
				p.Total += l.TarSize
			}
		}
	}
	clear(written)
	for _, one := range images {
		p.Image = one.label()
		for i, l := range one.layers {
			if written[l.DiffID] {
				continue
			}
			written[l.DiffID] = true
			err := out.file(blobPath(hashOf(l.DiffID)), l.TarSize, func(w io.Writer) error {
				return s.writeLayer(ctx, w, one.img.Layers[i], l.DiffID, func(n int) {
					p.Done += int64(n)
					if progress != nil {
						progress(p)
					}
				})
			})
			if err != nil {
				return fmt.Errorf("save image %s: layer %s: %w", one.label(), l.DiffID, err)
			}
		}
		for _, doc := range [][]byte{one.config, one.manifest} {
			digest := digestOfBytes(doc)
			if written[digest] {
				continue
			}
			written[digest] = true
			if err := writeDocument(out, blobPath(hashOf(digest)), doc); err != nil {
				return fmt.Errorf("save image %s: %w", one.label(), err)
			}
		}
	}
	return nil
}

func (one *savedImage) label() string {
	if len(one.names) > 0 {
		return one.names[0]
	}
	return one.img.ID
}

// writeLayer makes a layer's archive again and verifies it.
func (s *Store) writeLayer(ctx context.Context, w io.Writer, name, diffID string, wrote func(int)) error {
	root, err := unix.Open(s.layerDir(name), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(root)
	sum := sha256.New()
	to := writerFunc(func(p []byte) (int, error) {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		sum.Write(p)
		n, err := w.Write(p)
		wrote(n)
		return n, err
	})
	if err := replay(to, s.tapePath(name), root); err != nil {
		return err
	}
	if got := "sha256:" + hex.EncodeToString(sum.Sum(nil)); got != diffID {
		return fmt.Errorf("what the store has of it makes an archive with the digest %s: a file of it was changed; remove the image and load it anew", got)
	}
	return nil
}

type writerFunc func(p []byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func digestOfBytes(data []byte) string {
	sum := sha256.Sum256(data)
	return "sha256:" + hex.EncodeToString(sum[:])
}

func writeDocument(out sink, name string, data []byte) error {
	return out.file(name, int64(len(data)), func(w io.Writer) error {
		_, err := io.Copy(w, bytes.NewReader(data))
		return err
	})
}

// writeIndexes writes what says which images there are, for OCI's tools and for
// Docker's.
func writeIndexes(out sink, images []*savedImage) error {
	idx := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: []v1.Descriptor{}}
	docker := []dockerManifest{}
	for _, one := range images {
		desc := v1.Descriptor{MediaType: types.OCIManifestSchema1, Size: int64(len(one.manifest)), Digest: hashOf(digestOfBytes(one.manifest))}
		entry := dockerManifest{Config: blobPath(hashOf(one.img.ID)), RepoTags: []string{}, Layers: []string{}}
		for _, l := range one.layers {
			entry.Layers = append(entry.Layers, blobPath(hashOf(l.DiffID)))
		}
		if len(one.names) == 0 {
			idx.Manifests = append(idx.Manifests, desc)
		}
		for _, name := range one.names {
			named := desc
			_, tag, _ := strings.Cut(strings.TrimPrefix(name, repository(name)), ":")
			named.Annotations = map[string]string{"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag}
			idx.Manifests = append(idx.Manifests, named)
			entry.RepoTags = append(entry.RepoTags, strings.TrimPrefix(strings.TrimPrefix(name, "docker.io/library/"), "docker.io/"))
		}
		docker = append(docker, entry)
	}
	for name, doc := range map[string]any{"index.json": idx, "manifest.json": docker, "oci-layout": map[string]string{"imageLayoutVersion": "1.0.0"}} {
		data, err := json.Marshal(doc)
		if err == nil {
			err = writeDocument(out, name, data)
		}
		if err != nil {
			return fmt.Errorf("save images: write %s: %w", name, err)
		}
	}
	return nil
}
