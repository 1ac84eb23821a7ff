package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"minato/test/images"
)

// imageRegistry serves the images on the loopback, where the nodes pull them:
// specs that pull always, however often, find them there as at registry.k8s.io.
type imageRegistry struct {
	address string
	server  *http.Server
}

// realRegistry is where the images are from, and what takes its place here.
const realRegistry = "registry.k8s.io"

// serveImages starts a registry with the archives of dir, which keeps its blobs in
// blobs. Close ends it.
func serveImages(ctx context.Context, dir, blobs string, recipes []images.Recipe) (*imageRegistry, error) {
	if err := os.MkdirAll(blobs, 0o755); err != nil {
		return nil, err
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	handler := registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(blobs)), registry.Logger(log.New(io.Discard, "", 0)))
	r := &imageRegistry{address: l.Addr().String(), server: &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}}
	go func() { _ = r.server.Serve(l) }() // Close ends it
	for _, recipe := range recipes {
		if err := r.push(ctx, filepath.Join(dir, recipe.Name+".tar"), recipe.Tags); err != nil {
			return nil, errors.Join(fmt.Errorf("put image %s into the registry: %w", recipe.Name, err), r.Close())
		}
	}
	return r, nil
}

func (r *imageRegistry) Close() error { return r.server.Close() }

func (r *imageRegistry) push(ctx context.Context, archive string, tags []string) error {
	for _, text := range tags {
		if !strings.HasPrefix(text, realRegistry+"/") { // a name that only tests here use
			continue
		}
		tag, err := name.NewTag(text)
		if err != nil {
			return err
		}
		img, err := tarball.ImageFromPath(archive, &tag)
		if err != nil {
			return err
		}
		here, err := name.NewTag(r.place(text))
		if err != nil {
			return err
		}
		if err := remote.Write(here, img, remote.WithContext(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// place is what an image of the real registry is called here.
func (r *imageRegistry) place(image string) string {
	return r.address + strings.TrimPrefix(image, realRegistry)
}

// list is a file for KUBE_TEST_REPO_LIST, by which the suite asks for the images here.
// Names of registries that it leaves out are as ever.
func (r *imageRegistry) list() []byte {
	var out strings.Builder
	for _, line := range [][2]string{
		{"promoterE2eRegistry", "/e2e-test-images"}, {"gcEtcdRegistry", ""}, {"gcRegistry", ""}, {"sigStorageRegistry", "/sig-storage"},
	} {
		fmt.Fprintf(&out, "%s: %s%s\n", line[0], r.address, line[1])
	}
	return []byte(out.String())
}
