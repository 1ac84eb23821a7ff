package image

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"golang.org/x/sys/unix"
)

func TestLoadDockerArchive(t *testing.T) {
	s := openStore(t)
	base := makeTar(t, dir("etc", 0o755), file("etc/motd", "base"))
	one := makeImage(t, "one", base, makeTar(t, file("one", "1")))
	two := makeImage(t, "two", base, makeTar(t, file("two", "2")))
	var last Progress
	loaded, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"one": one, "example.org/team/two:v2": two}), func(p Progress) {
		if p.Image == last.Image && p.Done < last.Done {
			t.Errorf("progress goes back: %v after %v", p, last)
		}
		last = p
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(loaded) != 2 || last.Done == 0 || last.Done != last.Total {
		t.Errorf("loaded %v, progress ended at %v", loaded, last)
	}
	want, err := one.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	for _, ref := range []string{"one", "one:latest", "docker.io/library/one", "index.docker.io/library/one:latest", want.String(), want.Hex, "one@" + want.String()} {
		img, err := s.Get(ref)
		if err != nil {
			t.Errorf("Get(%q): %v", ref, err)
			continue
		}
		if img.ID != want.String() || img.Config.Config.Cmd[0] != "one" {
			t.Errorf("Get(%q) = %s", ref, img.ID)
		}
	}
	if _, err := s.Get("one:v9"); !errors.Is(err, ErrNotFound) {
		t.Errorf("another tag: %v", err)
	}
	// The base layer is there once.
	if dirs := layerDirs(t, s); len(dirs) != 3 {
		t.Errorf("layers = %q, want 3", dirs)
	}
	root := mounted(t, s, "example.org/team/two:v2")
	if got := readFile(t, filepath.Join(root, "etc/motd")) + readFile(t, filepath.Join(root, "two")); got != "base2" {
		t.Errorf("content = %q", got)
	}
	// A layer of a removed image stays as long as another image has it.
	if err := s.Remove("one"); err != nil {
		t.Fatal(err)
	}
	if dirs := layerDirs(t, s); len(dirs) != 2 {
		t.Errorf("layers = %q, want 2", dirs)
	}
	if err := s.Remove("one"); err != nil {
		t.Errorf("remove again: %v", err)
	}
}

func layerDirs(t testing.TB, s *Store) []string {
	t.Helper()
	entries, err := os.ReadDir(s.layersDir())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		if e.IsDir() && !strings.HasPrefix(e.Name(), "empty-") {
			out = append(out, e.Name())
		}
	}
	return out
}

func TestLoadGzippedArchive(t *testing.T) {
	s := openStore(t)
	path := writeArchive(t, map[string]v1.Image{"zipped": makeImage(t, "x", makeTar(t, file("f", "content")))})
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	zw.Write([]byte(readFile(t, path)))
	zw.Close()
	zipped := path + ".gz"
	if err := os.WriteFile(zipped, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), zipped, nil); err != nil {
		t.Fatal(err)
	}
	if got := readFile(t, filepath.Join(mounted(t, s, "zipped"), "f")); got != "content" {
		t.Errorf("content = %q", got)
	}
}

// Large labels and a long history do not get into the index.
func TestLargeLabels(t *testing.T) {
	large := strings.Repeat("x", maxKept)
	c, err := newCandidate([]byte(`{"history":[{"comment":"`+large+`"}],"config":{"Labels":{"l":"`+large+`"},"User":"u"}}`), 0)
	if err != nil || c.config.Config.User != "u" || c.config.Config.Labels != nil || c.config.History != nil {
		t.Errorf("candidate = %.200v, %v", c, err)
	}
}

// What comes out of an archive's gzip is bounded, whatever it says of itself.
func TestGunzipIsBounded(t *testing.T) {
	var b bytes.Buffer
	zw := gzip.NewWriter(&b)
	zw.Write(make([]byte, 1<<20))
	zw.Close()
	for _, tc := range []struct {
		limit int64
		room  *space
		want  string
	}{
		{1 << 20, roomFor(1<<20, 1), ""},
		{1<<20 - 1, roomFor(1<<30, 1), "limit of 1048575 bytes"},
		{1 << 30, roomFor(1<<19, 1), "do not fit on the disk"},
	} {
		path, scratch := filepath.Join(t.TempDir(), "f.gz"), t.TempDir()
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := uncompressed(t.Context(), f, scratch, tc.limit, tc.room)
		if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("limit %d: %v, want %q", tc.limit, err, tc.want)
		}
		if err == nil {
			plain.Close()
		}
		if left, err := os.ReadDir(scratch); err != nil || len(left) != 0 {
			t.Errorf("limit %d: left behind: %v, %v", tc.limit, left, err)
		}
	}
}

func TestLoadOCILayout(t *testing.T) {
	img := makeImage(t, "x", makeTar(t, file("f", "layout")))
	platform := func(img v1.Image, arch string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}}
	}
	other := makeImage(t, "other", makeTar(t, file("f", "not for us")))
	multi := mutate.AppendManifests(empty.Index, platform(other, "pdp11"), platform(img, "amd64"), platform(img, "arm64"))
	for _, tc := range []struct {
		name string
		add  func(p layout.Path) error
	}{
		{"image", func(p layout.Path) error {
			return p.AppendImage(img, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": "example.org/app:v1"}))
		}},
		{"index", func(p layout.Path) error {
			return p.AppendIndex(multi, layout.WithAnnotations(map[string]string{"io.containerd.image.name": "example.org/app:v1"}))
		}},
	} {
		for _, packed := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				s := openStore(t)
				p, err := layout.Write(t.TempDir(), empty.Index)
				if err != nil {
					t.Fatal(err)
				}
				if err := tc.add(p); err != nil {
					t.Fatal(err)
				}
				path := string(p)
				if packed {
					path = tarDirectory(t, path)
				}
				if _, err := s.Load(t.Context(), path, nil); err != nil {
					t.Fatal(err)
				}
				got, err := s.Get("example.org/app:v1")
				if err != nil {
					t.Fatal(err)
				}
				digest, _ := img.Digest()
				if diff := cmp.Diff([]string{"example.org/app@" + digest.String()}, got.Digests); diff != "" {
					t.Error(diff)
				}
				if _, err := s.Get(got.Digests[0]); err != nil {
					t.Error(err)
				}
				if got := readFile(t, filepath.Join(mounted(t, s, "example.org/app:v1"), "f")); got != "layout" {
					t.Errorf("content = %q", got)
				}
			})
		}
	}
}

func tarDirectory(t *testing.T, root string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "layout.tar")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	tw := tar.NewWriter(f)
	if err := tw.AddFS(os.DirFS(root)); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadRefuses(t *testing.T) {
	s := openStore(t)
	base := t.TempDir()
	write := func(name string, data []byte) string {
		path := filepath.Join(base, name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	pipes := filepath.Join(base, "pipes")
	if err := errors.Join(os.Mkdir(pipes, 0o755), unix.Mkfifo(filepath.Join(pipes, "index.json"), 0o644)); err != nil {
		t.Fatal(err)
	}
	good := []byte(readFile(t, writeArchive(t, map[string]v1.Image{"x": makeImage(t, "x", makeTar(t, file("f", "plain content")))})))
	for _, tc := range []struct{ path, want string }{
		{write("text", []byte("hello, this is a text file and no image at all")), "docker-archive"},
		{write("empty", nil), "docker-archive"},
		{write("other.tar", makeTar(t, file("a", "b"))), "docker-archive"},
		{write("list.tar", makeTar(t, file("manifest.json", "[]"))), "no image"},
		{write("broken.tar", makeTar(t, file("manifest.json", "{"))), "manifest.json"},
		{write("no-config.tar", makeTar(t, file("manifest.json", `[{"Config":"gone.json","Layers":[]}]`))), "gone.json"},
		{write("fewer.tar", makeTar(t, file("manifest.json", `[{"Config":"c","Layers":[]}]`), file("c", `{"rootfs":{"type":"layers","diff_ids":["sha256:`+strings.Repeat("a", 64)+`"]}}`))), "1 layers"},
		{write("pdp11.tar", makeTar(t, file("manifest.json", `[{"Config":"c","Layers":[]}]`), file("c", `{"os":"linux","architecture":"pdp11"}`))), "pdp11"},
		{write("cut.tar", good[:len(good)/2]), "cut.tar"},
		{write("config.tar", makeTar(t, file("manifest.json", `[{"Config":"c","Layers":[]}]`), file("c", strings.Repeat(" ", maxDocument+1)))), "limit of 8388608 bytes"},
		{write("again.tar", makeTar(t, file("manifest.json", "["+strings.Repeat(`{"Config":"c","Layers":[]},`, 50)+`{}]`), file("c", `{"os":"linux"}`+strings.Repeat(" ", maxDocument/2)))), "limit of 134217728 bytes together"},
		{write("env.tar", makeTar(t, file("manifest.json", `[{"Config":"c","Layers":[]}]`), file("c", `{"config":{"Env":["A=`+strings.Repeat("x", maxKept)+`"]}}`))), "the limit is 1048576"},
		{write("layers.tar", makeTar(t, file("manifest.json", `[{"Config":"c","Layers":[`+strings.Repeat(`"l",`, maxLayers)+`"l"]}]`), file("c", `{}`))), "513 layers; the limit is 512"},
		{write("name.tar", makeTar(t, file(strings.Repeat("n", 2000), ""))), "limit of 1024 bytes"},
		{filepath.Join(base, "nothing"), "no such file"},
		{base, "docker-archive"},
		{filepath.Join(pipes, "index.json"), "standard input"},
		{pipes, "index.json in it is not a file"},
	} {
		_, err := s.Load(t.Context(), tc.path, nil)
		if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.path) {
			t.Errorf("Load(%s) = %v, want it to say %q", tc.path, err, tc.want)
		}
	}
	if images, err := s.List(); err != nil || len(images) != 0 {
		t.Errorf("images = %v, %v", images, err)
	}
	if dirs := layerDirs(t, s); len(dirs) != 0 {
		t.Errorf("layers = %q", dirs)
	}
}

// A second process sees at once what the first has loaded or removed.
func TestTwoStoresOneDirectory(t *testing.T) {
	a := openStore(t)
	b, err := Open(a.Dir())
	if err != nil {
		t.Fatal(err)
	}
	path := writeArchive(t, map[string]v1.Image{"shared": makeImage(t, "x", makeTar(t, file("f", "1")))})
	if _, err := a.Load(t.Context(), path, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Get("shared"); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove("shared"); err != nil {
		t.Fatal(err)
	}
	if _, err := a.Get("shared"); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
	var wg sync.WaitGroup
	for range 4 {
		for _, s := range []*Store{a, b} {
			wg.Go(func() {
				if _, err := s.Load(t.Context(), path, nil); err != nil {
					t.Error(err)
				}
				if err := s.Remove("shared"); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
	if dirs := layerDirs(t, a); len(dirs) != 0 {
		t.Errorf("layers = %q", dirs)
	}
}

func TestNamesMoveAndGo(t *testing.T) {
	s := openStore(t)
	load := func(cmd string) string {
		loaded, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"app": makeImage(t, cmd, makeTar(t, file("f", cmd)))}), nil)
		if err != nil {
			t.Fatal(err)
		}
		return loaded[0].ID
	}
	old := load("old")
	if err := s.Tag("app", "app:stable"); err != nil {
		t.Fatal(err)
	}
	fresh := load("new")
	if img, err := s.Get("app"); err != nil || img.ID != fresh {
		t.Errorf("app is %v, %v", img, err)
	}
	if img, err := s.Get("app:stable"); err != nil || img.ID != old {
		t.Errorf("app:stable is %v, %v", img, err)
	}
	if err := s.Tag("app", "app:extra"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("app"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("app:extra"); err != nil {
		t.Errorf("the other name: %v", err)
	}
	if err := s.Remove(fresh); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get("app:extra"); !errors.Is(err, ErrNotFound) {
		t.Errorf("after removing the ID: %v", err)
	}
}

// A name with a digest stands for the names of one repository.
func TestRemoveByDigest(t *testing.T) {
	s := openStore(t)
	img := makeImage(t, "x", makeTar(t, file("f", "x")))
	digest, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	reg := startRegistry(t, map[string]v1.Image{"team/app:v1": img, "team/app:v2": img, "other/app:v1": img, "lone/app:v1": img})
	svc := newTestService(t, s)
	for _, ref := range []string{"/team/app:v1", "/team/app:v2", "/other/app:v1", "/lone/app@" + digest.String()} {
		if _, err := svc.PullImage(t.Context(), spec(reg.host+ref), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Remove(reg.host + "/team/app@" + digest.String()); err != nil {
		t.Fatal(err)
	}
	for ref, stays := range map[string]bool{
		"/team/app:v1": false, "/team/app:v2": false, "/team/app@" + digest.String(): false,
		"/other/app:v1": true, "/lone/app@" + digest.String(): true,
	} {
		if _, err := s.Get(reg.host + ref); (err == nil) != stays {
			t.Errorf("%s: %v; want it there: %v", ref, err, stays)
		}
	}
	if err := s.Remove(reg.host + "/other/app@" + digest.String()); err != nil {
		t.Fatal(err)
	}
	if all, err := s.List(); err != nil || len(all) != 0 {
		t.Errorf("after its last name: %v, %v", all, err)
	}
}

func TestPinnedImageStays(t *testing.T) {
	s := openStore(t)
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"app": makeImage(t, "x", makeTar(t, file("f", "1")))}), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pin("container-1", "app"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("app"); !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), "container-1") {
		t.Errorf("Remove = %v", err)
	}
	if err := s.Unpin("container-1"); err != nil {
		t.Fatal(err)
	}
	if err := s.Remove("app"); err != nil {
		t.Error(err)
	}
}

// Open removes what a killed loader has left, and only that.
func TestOpenSweeps(t *testing.T) {
	s := openStore(t)
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"app": makeImage(t, "x", makeTar(t, file("f", "1")))}), nil); err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"tmp/half", "layers/orphan", ".index.json-123"} {
		if err := os.MkdirAll(filepath.Join(s.Dir(), d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(s.Dir())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range []string{"tmp/half", "layers/orphan", ".index.json-123"} {
		if _, err := os.Stat(filepath.Join(s.Dir(), d)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", d, err)
		}
	}
	if got := readFile(t, filepath.Join(mounted(t, again, "app"), "f")); got != "1" {
		t.Errorf("content = %q", got)
	}
}

func TestNormalize(t *testing.T) {
	hex := strings.Repeat("0123456789abcdef", 4)
	for in, want := range map[string]string{
		"nginx":                             "docker.io/library/nginx:latest",
		"centos:6":                          "docker.io/library/centos:6",
		"bitnami/redis":                     "docker.io/bitnami/redis:latest",
		"docker.io/nginx":                   "docker.io/library/nginx:latest",
		"localhost:5000/a/b":                "localhost:5000/a/b:latest",
		"localhost/a":                       "localhost/a:latest",
		"registry.k8s.io/pause:3.10":        "registry.k8s.io/pause:3.10",
		"nginx@sha256:" + hex:               "docker.io/library/nginx@sha256:" + hex,
		"registry.k8s.io/p:1@sha256:" + hex: "registry.k8s.io/p@sha256:" + hex,
	} {
		got, err := Normalize(in)
		if err != nil || got != want {
			t.Errorf("Normalize(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	for _, bad := range []string{"", "UPPER", "a b", "nginx:", "x@sha256:12", "/x", "r.io/a//b", "r.io/a/../b", "r.io/./a", "../a", "r.io/a/..:1"} {
		if got, err := Normalize(bad); err == nil {
			t.Errorf("Normalize(%q) = %q, want an error", bad, got)
		}
	}
}
