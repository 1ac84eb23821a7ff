package image

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

// What is saved is what came: the same image ID and the same layers, from a tar and
// from a directory.
func TestSave(t *testing.T) {
	s := openStore(t)
	big := file("d/big", strings.Repeat("0123456789", 50_000))
	xattr := file("d/x", "")
	xattr.PAXRecords = map[string]string{"SCHILY.xattr.user.k": "v", "comment": "kept"}
	whiteout := file("d/.wh.gone", "")
	link := file("d/link", "")
	link.Typeflag, link.Linkname = tar.TypeLink, "d/big"
	padded := append(makeTar(t, file("d/y", "y"), whiteout), make([]byte, 20_000)...)
	app := makeImage(t, "x", makeTar(t, dir("d", 0o755), big, xattr, symlink("l", "d"), file("l/through", "1"), link), padded)
	other := makeImage(t, "y", makeTar(t, dir("d", 0o755), big, xattr, symlink("l", "d"), file("l/through", "1"), link))
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"app:v1": app, "reg.example/team/other:v2": other}), nil); err != nil {
		t.Fatal(err)
	}
	archive := filepath.Join(t.TempDir(), "saved.tar")
	f, err := os.Create(archive)
	if err != nil {
		t.Fatal(err)
	}
	var last Progress
	if err := s.SaveTar(t.Context(), f, []string{"app:v1", "reg.example/team/other:v2"}, func(p Progress) { last = p }); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if last.Done != last.Total || last.Total < 500_000 {
		t.Errorf("progress ended at %+v", last)
	}
	folder := filepath.Join(t.TempDir(), "layout")
	if err := s.SaveDir(t.Context(), folder, []string{"app:v1", "reg.example/team/other:v2"}, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.SaveDir(t.Context(), folder, []string{"app:v1"}, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("into a directory with files: %v", err)
	}
	os.Remove(filepath.Join(folder, "manifest.json")) // as OCI's tools read it
	for _, from := range []string{archive, folder} {
		again := openStore(t)
		loaded, err := again.Load(t.Context(), from, nil)
		if err != nil || len(loaded) != 2 {
			t.Fatalf("load %s: %v, %v", from, loaded, err)
		}
		for ref, img := range map[string]v1.Image{"app:v1": app, "reg.example/team/other:v2": other} {
			want, _ := img.ConfigName()
			if got, err := again.Get(ref); err != nil || got.ID != want.String() {
				t.Errorf("%s from %s = %+v, %v; want %s", ref, from, got, err, want)
			}
		}
		root := mounted(t, again, "app:v1")
		if got := readFile(t, filepath.Join(root, "d/link")); got != big.body {
			t.Errorf("d/link has %d bytes", len(got))
		}
	}
}

// A layer that can't be made again, or was changed, is not saved as if it were
// what it was.
func TestSaveRefuses(t *testing.T) {
	s := openStore(t)
	twice := makeImage(t, "x", makeTar(t, file("f", "first"), file("f", "second")))
	changed := makeImage(t, "y", makeTar(t, file("f", "content")))
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"twice:v1": twice, "changed:v1": changed}), nil); err != nil {
		t.Fatal(err)
	}
	img, err := s.Get("changed:v1")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.layerDir(img.Layers[0]), "f"), []byte("Content"), 0o644); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]string{"twice:v1": "can't be made again", "changed:v1": "was changed", "none:v1": "no such image"} {
		if err := s.SaveTar(t.Context(), &bytes.Buffer{}, []string{ref}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("save %s = %v, want %q", ref, err, want)
		}
		folder := t.TempDir()
		if err := s.SaveDir(t.Context(), folder, []string{ref}, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("save %s to a folder = %v, want %q", ref, err, want)
		}
		if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
			t.Errorf("save %s to a folder has left %v, %v", ref, left, err)
		}
	}
}

func TestLoadFromReader(t *testing.T) {
	img := makeImage(t, "x", makeTar(t, file("f", "content")))
	data, err := os.ReadFile(writeArchive(t, map[string]v1.Image{"app:v1": img}))
	if err != nil {
		t.Fatal(err)
	}
	s := openStore(t)
	if loaded, err := s.LoadFrom(t.Context(), bytes.NewReader(data), "standard input", nil); err != nil || len(loaded) != 1 || loaded[0].Names[0] != "docker.io/library/app:v1" {
		t.Errorf("%v, %v", loaded, err)
	}
	if _, err := s.LoadFrom(t.Context(), strings.NewReader("no tar"), "standard input", nil); err == nil || !strings.Contains(err.Error(), "standard input") {
		t.Errorf("no image: %v", err)
	}
	// Who gives nothing is waited for only as long as somebody wants it.
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe()
	defer w.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := s.LoadFrom(ctx, r, "standard input", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("nothing: %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

func TestPrune(t *testing.T) {
	s := openStore(t)
	shared := makeTar(t, file("shared", "12345678"))
	used := makeImage(t, "u", shared)
	unused := makeImage(t, "x", shared, makeTar(t, file("own", "1234")))
	reg := startRegistry(t, map[string]v1.Image{"used:v1": used, "unused:v1": unused})
	svc := newTestService(t, s)
	for _, name := range []string{"used:v1", "unused:v1"} {
		if _, err := svc.PullImage(t.Context(), spec(reg.host+"/"+name), nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	mine := makeImage(t, "m", makeTar(t, file("mine", "12")))
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"mine:v1": mine}), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Pin("container", reg.host+"/used:v1"); err != nil {
		t.Fatal(err)
	}
	names := func(pruned []Pruned) string {
		var all []string
		for _, p := range pruned {
			all = append(all, p.Names...)
		}
		slices.Sort(all)
		return strings.Join(all, " ")
	}
	for _, tc := range []struct {
		loaded, dry bool
		want        string
		freed       int64
	}{
		{false, true, reg.host + "/unused:v1", 4},
		{false, false, reg.host + "/unused:v1", 4},
		{false, false, "", 0},
		{true, false, "docker.io/library/mine:v1", 2},
	} {
		pruned, freed, err := s.Prune(tc.loaded, tc.dry)
		if err != nil || names(pruned) != tc.want || freed != tc.freed {
			t.Errorf("prune %+v = %v, %d, %v", tc, pruned, freed, err)
		}
	}
	if _, err := s.Get(reg.host + "/used:v1"); err != nil {
		t.Error(err)
	}
	if dirs := layerDirs(t, s); len(dirs) != 1 {
		t.Errorf("layers = %q", dirs)
	}
	if configs, err := os.ReadDir(filepath.Join(s.dir, "configs")); err != nil || len(configs) != 1 {
		t.Errorf("configurations = %v, %v", configs, err)
	}
}

func FuzzReplay(f *testing.F) {
	f.Add([]byte{tapeBytes, 3, 'a', 'b', 'c'})
	f.Add([]byte{tapeFile, 1, 1, 'f'})
	f.Fuzz(func(t *testing.T, tape []byte) {
		dir := t.TempDir()
		path := filepath.Join(dir, "tape")
		tp, err := newTaper(bytes.NewReader(nil), path, newSpace(dir))
		if err != nil {
			t.Fatal(err)
		}
		tp.put(tape)
		if _, err := tp.close(); err != nil {
			t.Fatal(err)
		}
		root, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer unix.Close(root)
		var out bytes.Buffer
		_ = replay(&out, path, root)
	})
}
