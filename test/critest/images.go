package main

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"minato/test/images"
)

// standIn is an image and the paths at which registries have it.
type standIn struct {
	image v1.Image
	paths []string
}

// recipe is how a standIn is made from an image of test/images.
type recipe struct {
	paths []string
	base  string // its archive's name
	files map[string]string
	user  string
	cmd   []string
}

const (
	suiteImages = "e2e-test-images/"
	toolImages  = "k8s-staging-cri-tools/"
)

// recipes are the images that the suite pulls. The files of cri-tools'
// images/*/Dockerfile say what is in them.
func recipes() []recipe {
	only := func(text string) map[string]string { return map[string]string{"content": text} }
	return []recipe{
		{base: images.ValidationShell, paths: []string{suiteImages + "busybox:1.29-2"}},
		// A spec looks with grep for text in a file that has zero bytes.
		{base: "e2e-nginx", paths: []string{suiteImages + "nginx:1.14-2"}, files: map[string]string{
			"usr/local/bin/grep": "#!/bin/sh\nexec /usr/bin/grep --text \"$@\"\n",
		}},
		// A spec looks for the server's name in its log.
		{base: "e2e-nginx", paths: []string{suiteImages + "httpd:2.4.39-4"}, cmd: []string{"sh", "-c", "echo httpd starts; exec nginx -g 'daemon off;'"}},
		{base: "e2e-nonewprivs", paths: []string{suiteImages + "nonewprivs:1.3"}},
		{base: "pause", paths: []string{"pause:3.9"}},
		{base: "e2e-nginx", paths: []string{toolImages + "hostnet-nginx-" + runtime.GOARCH}, files: map[string]string{
			"etc/nginx/conf.d/default.conf": "server {\n  listen 12003;\n  root /usr/share/nginx/html;\n}\n",
		}},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-latest"}, files: only("latest")},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-tag:test"}, files: only("tag")},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-tag:all"}, files: only("all")},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-1"}, files: only("1")},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-2"}, files: only("2")},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-3"}, files: only("3")},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-tags:1", toolImages + "test-image-tags:2", toolImages + "test-image-tags:3"}, files: only("tags")},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-user-uid"}, user: "1002"},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-user-username"}, user: "www-data"},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-user-uid-group"}, user: "1003:users"},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-user-username-group"}, user: "www-data:100"},
		{base: images.ValidationShell, paths: []string{toolImages + "test-image-predefined-group"}, user: "1000", files: map[string]string{
			"etc/passwd": "root:x:0:0:root:/root:/bin/sh\ndefault-user:x:1000:1000::/home/default-user:/bin/sh\n",
			"etc/group":  "root:x:0:\ndefault-user:x:1000:\ngroup-defined-in-image:x:50000:default-user\n",
		}},
	}
}

// standIns makes the images from the archives in dir.
func standIns(dir string) ([]standIn, error) {
	var out []standIn
	for _, r := range recipes() {
		img, err := r.make(dir)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", r.paths[0], err)
		}
		out = append(out, standIn{img, r.paths})
	}
	return out, nil
}

func (r recipe) make(dir string) (v1.Image, error) {
	img, err := tarball.ImageFromPath(filepath.Join(dir, r.base+".tar"), nil)
	if err != nil {
		return nil, fmt.Errorf("%w; `make images` and `make critest` make the archives", err)
	}
	if len(r.files) > 0 {
		layer, err := layerOf(r.files)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, layer); err != nil {
			return nil, err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config := file.Config
	if r.user != "" {
		config.User = r.user
	}
	if r.cmd != nil {
		config.Cmd = r.cmd
	}
	return mutate.Config(img, config)
}

func layerOf(files map[string]string) (v1.Layer, error) {
	var data bytes.Buffer
	w := tar.NewWriter(&data)
	for path, text := range files {
		if err := w.WriteHeader(&tar.Header{Name: path, Mode: 0o755, Size: int64(len(text)), Typeflag: tar.TypeReg}); err != nil {
			return nil, err
		}
		if _, err := io.WriteString(w, text); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data.Bytes())), nil })
}
