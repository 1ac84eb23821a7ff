package images

import (
	"bytes"
	"fmt"
	"io"
	"path"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// The image that agnhost's registry has, as specs ask for it.
const (
	fakeRegistryImage = "pause"
	fakeRegistryTag   = "testing"
)

// finishFakeRegistry makes, of the layer's program pause, the image that agnhost
// serves as a registry that asks for a password, in the directories that it looks in.
func finishFakeRegistry(_ *kitchen, t *tree) error {
	program, err := t.content("pause")
	if err != nil {
		return err
	}
	delete(t.entries, "pause")
	img, err := singleProgram("pause", program)
	if err != nil {
		return err
	}
	return putImage(t, "var/registry/"+fakeRegistryImage, fakeRegistryTag, img)
}

// singleProgram is an image that has nothing but a program.
func singleProgram(name string, program []byte) (v1.Image, error) {
	content := newTree()
	content.put(executable(name), program)
	var archive bytes.Buffer
	if err := content.write(&archive); err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(archive.Bytes())), nil })
	if err != nil {
		return nil, err
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, err
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created = "linux", runtime.GOARCH, v1.Time{Time: epoch}
	file.Config = v1.Config{Env: []string{"PATH=/"}, Entrypoint: []string{"/" + name}, User: "65535:65535"}
	return mutate.ConfigFile(img, file)
}

// putImage writes an image's manifest and blobs where agnhost's registry looks for
// them, and the tag as a file that names the manifest.
func putImage(t *tree, dir, tag string, img v1.Image) error {
	manifest, err := img.RawManifest()
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	t.file(blobPath(dir, "manifests", digest), 0o644, manifest)
	t.file(path.Join(dir, "manifests", tag), 0o644, []byte(digest.String()+"\n"))
	config, err := img.RawConfigFile()
	if err != nil {
		return err
	}
	if digest, err = img.ConfigName(); err != nil {
		return err
	}
	t.file(blobPath(dir, "blobs", digest), 0o644, config)
	layers, err := img.Layers()
	if err != nil {
		return err
	}
	for _, l := range layers {
		if err := putLayer(t, dir, l); err != nil {
			return err
		}
	}
	return nil
}

func putLayer(t *tree, dir string, l v1.Layer) error {
	digest, err := l.Digest()
	if err != nil {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return fmt.Errorf("read layer %s: %w", digest, err)
	}
	t.file(blobPath(dir, "blobs", digest), 0o644, data)
	return r.Close()
}

func blobPath(dir, kind string, digest v1.Hash) string {
	return path.Join(dir, kind, digest.Algorithm, digest.Hex[:2], digest.Hex, "data")
}
