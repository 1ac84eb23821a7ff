package images

import (
	"archive/tar"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// source is everything that an image is made by, but for its programs; when it
// changes, images are made anew.
//
//go:embed *.go files
var source embed.FS

// Config says where images go.
type Config struct {
	// Out is the directory of the archives; packages and layers are kept in .cache below it.
	Out string
	// Force makes images anew even if nothing has changed.
	Force bool
	// Log is told what is done.
	Log io.Writer
}

// Builder makes images.
type Builder struct {
	cfg      Config
	cache    string
	debian   *debian
	source   string
	programs map[string][]byte   // compiled in this run, by package
	layers   map[*layer]v1.Layer // made or found in this run
}

// New checks cfg.
func New(cfg Config) (*Builder, error) {
	if cfg.Out == "" {
		return nil, errors.New("no directory for the images; set Out")
	}
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	sum, err := sourceSum()
	if err != nil {
		return nil, err
	}
	cache := filepath.Join(cfg.Out, ".cache")
	return &Builder{
		cfg:      cfg,
		cache:    cache,
		source:   sum,
		debian:   &debian{cache: filepath.Join(cache, "debs"), log: cfg.Log, known: map[string]*deb{}},
		programs: map[string][]byte{},
		layers:   map[*layer]v1.Layer{},
	}, nil
}

func sourceSum() (string, error) {
	h := sha256.New()
	fmt.Fprintln(h, runtime.Version(), runtime.GOARCH)
	err := fs.WalkDir(source, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_test.go") {
			return err
		}
		data, err := source.ReadFile(path)
		fmt.Fprintf(h, "%s %d\n%s", path, len(data), data)
		return err
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

// Build makes the images of the recipes; one that is there and current is left alone.
func (b *Builder) Build(ctx context.Context, recipes []Recipe) error {
	for _, dir := range []string{b.cfg.Out, b.debian.cache, filepath.Join(b.cache, "layers")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	for _, r := range recipes {
		madeBy, err := b.madeBy(ctx, r.layer)
		if err != nil {
			return fmt.Errorf("image %s: %w", r.Name, err)
		}
		if !b.cfg.Force && b.current(r, madeBy) {
			continue
		}
		start := time.Now()
		if err := b.image(ctx, r); err != nil {
			return fmt.Errorf("image %s: %w", r.Name, err)
		}
		if err := os.WriteFile(b.stamp(r), []byte(madeBy), 0o644); err != nil {
			return err
		}
		info, err := os.Stat(b.archive(r))
		if err != nil {
			return err
		}
		fmt.Fprintf(b.cfg.Log, "%s: %s, %.1f MB, %.1f s\n", b.archive(r), strings.Join(r.Tags, " "), float64(info.Size())/1e6, time.Since(start).Seconds())
	}
	return nil
}

func (b *Builder) archive(r Recipe) string { return filepath.Join(b.cfg.Out, r.Name+".tar") }
func (b *Builder) stamp(r Recipe) string   { return filepath.Join(b.cache, r.Name+".made-by") }

func (b *Builder) current(r Recipe, madeBy string) bool {
	if _, err := os.Stat(b.archive(r)); err != nil {
		return false
	}
	stamp, err := os.ReadFile(b.stamp(r))
	return err == nil && string(stamp) == madeBy
}

func (b *Builder) image(ctx context.Context, r Recipe) error {
	img := mutate.MediaType(empty.Image, "application/vnd.docker.distribution.manifest.v2+json")
	img = mutate.ConfigMediaType(img, "application/vnd.docker.container.image.v1+json")
	for _, l := range r.layer.stack() {
		blob, err := b.layer(ctx, l)
		if err != nil {
			return fmt.Errorf("layer %s: %w", l.name, err)
		}
		img, err = mutate.Append(img, mutate.Addendum{Layer: blob, History: v1.History{
			Created: v1.Time{Time: epoch}, CreatedBy: "minato test/images layer " + l.name,
		}})
		if err != nil {
			return err
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		return err
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Created, file.Config = "linux", runtime.GOARCH, v1.Time{Time: epoch}, r.Config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		return err
	}
	return b.write(r, img)
}

// write puts the archive in place in one step: another process may be loading it.
func (b *Builder) write(r Recipe, img v1.Image) error {
	refs := map[name.Tag]v1.Image{}
	for _, t := range r.Tags {
		tag, err := name.NewTag(t)
		if err != nil {
			return err
		}
		refs[tag] = img
	}
	part := b.archive(r) + ".part"
	if err := tarball.MultiWriteToFile(part, refs); err != nil {
		return errors.Join(err, os.Remove(part))
	}
	return os.Rename(part, b.archive(r))
}

// kitchen is what a layer's last step may use.
type kitchen struct {
	ctx     context.Context
	scratch string
}

// layer returns a layer, making it if the same was not made before.
func (b *Builder) layer(ctx context.Context, l *layer) (v1.Layer, error) {
	if blob, done := b.layers[l]; done {
		return blob, nil
	}
	packages, err := b.packages(ctx, l)
	if errors.Is(err, errStale) && !b.debian.updated {
		if err := b.debian.update(ctx); err != nil {
			return nil, err
		}
		packages, err = b.packages(ctx, l)
	}
	if err != nil {
		return nil, err
	}
	key := sha256.New()
	madeBy, err := b.madeBy(ctx, l)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(key, madeBy, l.name)
	for _, p := range packages {
		fmt.Fprintln(key, p.sha256)
	}
	path := filepath.Join(b.cache, "layers", l.name+"-"+hex.EncodeToString(key.Sum(nil))[:20]+".tar.gz")
	if _, err := os.Stat(path); b.cfg.Force || errors.Is(err, os.ErrNotExist) {
		if err := b.makeLayer(ctx, l, packages, path); err != nil {
			return nil, err
		}
	}
	blob, err := tarball.LayerFromFile(path)
	if err != nil {
		return nil, err
	}
	b.layers[l] = blob
	return blob, nil
}

// packages lists, and fetches, what belongs into l and not into a layer below.
func (b *Builder) packages(ctx context.Context, l *layer) ([]*deb, error) {
	if len(l.packages) == 0 {
		return nil, nil
	}
	var below []string
	for _, lower := range l.on.stack() {
		below = append(below, lower.packages...)
	}
	have := map[string]bool{}
	lower, err := b.debian.closure(ctx, below)
	if err != nil {
		return nil, err
	}
	for _, p := range lower {
		have[p.name] = true
	}
	all, err := b.debian.closure(ctx, append(below, l.packages...))
	if err != nil {
		return nil, err
	}
	var out []*deb
	for _, p := range all {
		if !have[p.name] {
			out = append(out, p)
		}
	}
	return out, b.debian.fetch(ctx, out)
}

func (b *Builder) makeLayer(ctx context.Context, l *layer, packages []*deb, path string) error {
	scratch, err := os.MkdirTemp("", "minato-images-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	t, err := b.debian.unpackAll(ctx, packages)
	if err != nil {
		return err
	}
	if l.program != "" {
		data, err := b.program(ctx, l)
		if err != nil {
			return err
		}
		t.put(executable(filepath.Base(l.program)), data)
	}
	if l.finish != nil {
		if err := l.finish(&kitchen{ctx: ctx, scratch: scratch}, t); err != nil {
			return err
		}
	}
	f, err := os.Create(path + ".part")
	if err != nil {
		return err
	}
	defer f.Close()
	zip, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	if err := errors.Join(t.write(zip), zip.Close(), f.Close()); err != nil {
		return errors.Join(err, os.Remove(path+".part"))
	}
	return os.Rename(path+".part", path)
}

func executable(name string) tar.Header {
	return tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o755, ModTime: epoch}
}
