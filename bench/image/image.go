package main

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// newImage makes an image whose layers are made anew from their number each time
// that they are read, so that it takes no memory. Files are of 1 KiB to 1 MiB, half
// of their content is random.
func newImage(size int64, layers int) (v1.Image, error) {
	img := v1.Image(empty.Image)
	for i := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			r, w := io.Pipe()
			go func() { w.CloseWithError(writeLayer(w, i, size/int64(layers))) }()
			return r, nil
		})
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			return nil, err
		}
	}
	cf, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	cf = cf.DeepCopy()
	cf.OS, cf.Architecture = "linux", runtime.GOARCH
	return mutate.ConfigFile(img, cf)
}

func writeLayer(w io.Writer, number int, size int64) error {
	random := rand.NewChaCha8([32]byte{byte(number)})
	sizes := rand.New(random)
	tw := tar.NewWriter(w)
	top := fmt.Sprintf("layer-%d", number)
	if err := tw.WriteHeader(&tar.Header{Name: top + "/", Typeflag: tar.TypeDir, Mode: 0o755}); err != nil {
		return err
	}
	text := bytes.Repeat([]byte("what compresses well "), 1<<20/20)
	noise := make([]byte, 1<<20)
	for n := 0; size > 0; n++ {
		length := min(size, int64(1024)<<sizes.IntN(11))
		size -= length
		if err := tw.WriteHeader(&tar.Header{Name: fmt.Sprintf("%s/file-%d", top, n), Mode: 0o644, Size: length}); err != nil {
			return err
		}
		half := length / 2
		_, _ = random.Read(noise[:half]) // never fails
		if _, err := tw.Write(noise[:half]); err != nil {
			return err
		}
		if _, err := tw.Write(text[:length-half]); err != nil {
			return err
		}
	}
	return tw.Close()
}

func writeArchive(path, ref string, img v1.Image) error {
	tag, err := name.NewTag(ref)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(path, tag, img)
}

func push(ctx context.Context, ref string, img v1.Image) error {
	to, err := name.ParseReference(ref)
	if err != nil {
		return err
	}
	return remote.Write(to, img, remote.WithContext(ctx))
}

// localRegistry serves on loopback, with its blobs on the disk.
type localRegistry struct {
	*http.Server
	host string
}

func startRegistry(dir string) (*localRegistry, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	r := &localRegistry{host: l.Addr().String(), Server: &http.Server{
		Handler: registry.New(registry.WithBlobHandler(registry.NewDiskBlobHandler(dir)), registry.Logger(quiet())),
	}}
	go r.Serve(l)
	return r, nil
}

// diskMiB is what the files below a directory take of the disk.
func diskMiB(dir string) (float64, error) {
	var blocks int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st, ok := info.Sys().(*syscall.Stat_t); ok {
			blocks += st.Blocks
		}
		return nil
	})
	if _, serr := os.Stat(dir); serr != nil {
		err = errors.Join(err, serr)
	}
	return float64(blocks) * 512 / (1 << 20), err
}
