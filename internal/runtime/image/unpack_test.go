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
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sys/unix"
)

func TestLayersOverEachOther(t *testing.T) {
	s := openStore(t)
	bottom := makeTar(t, dir("a", 0o755), file("a/old", "1"), file("a/keep", "2"), dir("b", 0o755), file("b/gone", "3"),
		dir("c", 0o755), file("c/hidden", "4"), file("d", "5"))
	top := makeTar(t, dir("a", 0o700), file("a/.wh.old", ""), dir("b", 0o755), file("b/.wh..wh..opq", ""), file("b/new", "6"),
		file(".wh.c", ""), dir("c", 0o755), file("c/own", "7"), file(".wh..wh.plnk", ""), file(".wh.d", ""))
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"app": makeImage(t, "x", bottom, top)}), nil); err != nil {
		t.Fatal(err)
	}
	root := mounted(t, s, "app")
	var got []string
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && path != root {
			got = append(got, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := "a a/keep b b/new c c/own"; strings.Join(got, " ") != want {
		t.Errorf("files = %q, want %q", strings.Join(got, " "), want)
	}
	if info, err := os.Stat(filepath.Join(root, "a")); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("a: %v, %v", info.Mode(), err)
	}
}

func TestAttributes(t *testing.T) {
	needRoot(t)
	suid := file("suid", "x")
	suid.Mode, suid.Uid, suid.Gid = 0o4755, 12, 34
	capable := file("capable", "x")
	// CAP_NET_RAW, permitted and effective, as getcap(8) would show.
	value := string([]byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	capable.PAXRecords = map[string]string{xattrPAX + "security.capability": value, xattrPAX + opaqueXattr: "y"}
	capable.Format = tar.FormatPAX
	link := symlink("link", "/does/not/exist")
	link.Uid = 56
	node := entry{Header: tar.Header{Name: "null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3, Mode: 0o666, ModTime: testTime}}
	pipe := entry{Header: tar.Header{Name: "pipe", Typeflag: tar.TypeFifo, Mode: 0o600, ModTime: testTime}}
	out := t.TempDir()
	_, err := unpackTar(t.Context(), bytes.NewReader(makeTar(t, dir("sticky", 0o1777), file("sticky/f", ""), suid, capable, link, node, pipe, hardlink("same", "suid"))), out, nil, roomFor(16<<20, 1000))
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	for _, tc := range []struct {
		name     string
		mode     uint32
		uid, gid uint32
	}{
		{"sticky", unix.S_IFDIR | 0o1777, 0, 0},
		{"suid", unix.S_IFREG | 0o4755, 12, 34},
		{"same", unix.S_IFREG | 0o4755, 12, 34},
		{"link", unix.S_IFLNK | 0o777, 56, 0},
		{"null", unix.S_IFCHR | 0o666, 0, 0},
		{"pipe", unix.S_IFIFO | 0o600, 0, 0},
	} {
		if err := unix.Lstat(filepath.Join(out, tc.name), &st); err != nil {
			t.Fatal(err)
		}
		if st.Mode != tc.mode || st.Uid != tc.uid || st.Gid != tc.gid || st.Mtim.Sec != testTime.Unix() {
			t.Errorf("%s: mode %o, owner %d:%d, time %d", tc.name, st.Mode, st.Uid, st.Gid, st.Mtim.Sec)
		}
	}
	buf := make([]byte, 64)
	if n, err := unix.Lgetxattr(filepath.Join(out, "capable"), "security.capability", buf); err != nil || string(buf[:n]) != value {
		t.Errorf("capability = %x, %v", buf[:max(n, 0)], err)
	}
	if _, err := unix.Lgetxattr(filepath.Join(out, "capable"), opaqueXattr, buf); err == nil {
		t.Error("the archive could set overlayfs's own attribute")
	}
}

// Layers can't reach outside of their directory, whatever links they make.
func TestNoEscape(t *testing.T) {
	needRoot(t)
	for _, tc := range []struct {
		name    string
		entries []entry
		fails   bool
	}{
		{"dots", []entry{file("../outside", "x")}, true},
		{"deep dots", []entry{file("a/../../outside", "x")}, true},
		{"absolute name", []entry{file("/outside", "x")}, false},
		{"link to parent", []entry{symlink("up", ".."), file("up/outside", "x")}, false},
		{"absolute link", []entry{symlink("abs", "/tmp"), dir("tmp", 0o755), file("abs/outside", "x")}, false},
		{"link to link", []entry{symlink("a", "b"), symlink("b", "../../../.."), file("a/outside", "x")}, false},
		{"hard link out", []entry{hardlink("h", "../outside")}, true},
		{"hard link through link", []entry{symlink("up", "../.."), hardlink("h", "up/victim")}, true},
		{"write through own link", []entry{symlink("f", "../victim"), file("f", "x")}, false},
		{"whiteout of parent", []entry{file("a/.wh...", "")}, true},
		{"whiteout of nothing", []entry{file(".wh.", "")}, true},
		{"opaque through link", []entry{symlink("up", ".."), file("up/.wh..wh..opq", "")}, false},
		{"loop", []entry{symlink("l", "l"), file("l/x", "")}, true},
		{"replaced directory", []entry{dir("a", 0o755), file("a/b", "x"), symlink("a", ".."), file("a/outside", "x")}, false},
		{"root is a file", []entry{file(".", "x")}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base := t.TempDir()
			out := filepath.Join(base, "layer")
			for _, d := range []string{out} {
				if err := os.Mkdir(d, 0o755); err != nil {
					t.Fatal(err)
				}
			}
			victim := filepath.Join(base, "victim")
			if err := os.WriteFile(victim, []byte("untouched"), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := unpackTar(t.Context(), bytes.NewReader(makeTar(t, tc.entries...)), out, nil, roomFor(16<<20, 1000))
			if (err != nil) != tc.fails {
				t.Errorf("unpack = %v, want an error: %v", err, tc.fails)
			}
			checkUntouched(t, base)
		})
	}
}

// checkUntouched looks at what is beside the layer's directory.
func checkUntouched(t testing.TB, base string) {
	t.Helper()
	entries, err := os.ReadDir(base)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != "layer" && e.Name() != "victim" {
			t.Errorf("%s was made outside of the layer", e.Name())
		}
	}
	if got := readFile(t, filepath.Join(base, "victim")); got != "untouched" {
		t.Errorf("the file outside has become %q", got)
	}
	var st unix.Stat_t
	if err := unix.Stat(filepath.Join(base, "victim"), &st); err != nil || st.Nlink != 1 || st.Mode&0o777 != 0o600 {
		t.Errorf("the file outside has %d links and mode %o", st.Nlink, st.Mode)
	}
	if n, err := unix.Lgetxattr(base, opaqueXattr, make([]byte, 8)); err == nil {
		t.Errorf("the directory outside has an attribute of %d bytes", n)
	}
}

// Directories that a layer does not list keep the attributes that they have in
// the layers below.
func TestImplicitDirectories(t *testing.T) {
	s := openStore(t)
	base := makeTar(t, dir("tmp", 0o1777), dir("srv", 0o750))
	add := makeTar(t, file("tmp/f", "1"), file("srv/deep/g", "2"))
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{
		"over":  makeImage(t, "x", base, add),
		"alone": makeImage(t, "y", add),
	}), nil); err != nil {
		t.Fatal(err)
	}
	for ref, want := range map[string]map[string]fs.FileMode{
		"over":  {"tmp": fs.ModeDir | fs.ModeSticky | 0o777, "srv": fs.ModeDir | 0o750, "srv/deep": fs.ModeDir | 0o755},
		"alone": {"tmp": fs.ModeDir | 0o755, "srv": fs.ModeDir | 0o755},
	} {
		root := mounted(t, s, ref)
		for name, mode := range want {
			if info, err := os.Stat(filepath.Join(root, name)); err != nil || info.Mode() != mode {
				t.Errorf("%s: %s has mode %v, %v; want %v", ref, name, info.Mode(), err, mode)
			}
		}
	}
}

// Where the layers below have a link, the files of a layer that does not list
// the directory go to where the link leads.
func TestImplicitDirectoryIsLink(t *testing.T) {
	s := openStore(t)
	base := makeTar(t, dir("usr", 0o755), dir("usr/lib", 0o751), file("usr/lib/a", "1"), symlink("lib", "usr/lib"),
		dir("var", 0o755), dir("run", 0o700), symlink("var/run", "/run"), symlink("way", "var/run"))
	add := makeTar(t, file("lib/b", "2"), hardlink("lib/c", "lib/b"), file("var/run/d/e", "3"), file("way/f", "4"))
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"app": makeImage(t, "x", base, add)}), nil); err != nil {
		t.Fatal(err)
	}
	root := mounted(t, s, "app")
	for name, want := range map[string]string{"usr/lib/a": "1", "usr/lib/b": "2", "usr/lib/c": "2", "run/d/e": "3", "run/f": "4"} {
		if got := readFile(t, filepath.Join(root, name)); got != want {
			t.Errorf("%s = %q", name, got)
		}
	}
	for name, want := range map[string]fs.FileMode{"lib": fs.ModeSymlink | 0o777, "var/run": fs.ModeSymlink | 0o777, "usr/lib": fs.ModeDir | 0o751, "run": fs.ModeDir | 0o700} {
		if info, err := os.Lstat(filepath.Join(root, name)); err != nil || info.Mode() != want {
			t.Errorf("%s has mode %v, %v", name, info.Mode(), err)
		}
	}
}

// roomFor is room for so many bytes and files.
func roomFor(bytes, files int64) *space {
	s := &space{bytes: bytes, files: files}
	s.free = func() (int64, int64, error) { return s.bytes, s.files, nil }
	return s
}

func TestTooLarge(t *testing.T) {
	needRoot(t)
	_, err := unpackTar(t.Context(), bytes.NewReader(makeTar(t, file("a", "123"), file("b", "456"))), t.TempDir(), nil, roomFor(2*inodeOverhead+5, 10))
	if !errors.Is(err, unix.ENOSPC) || !strings.Contains(err.Error(), `"b"`) {
		t.Errorf("unpack = %v", err)
	}
}

func TestAbsurdHeaders(t *testing.T) {
	needRoot(t)
	owned := func(uid, gid int) entry {
		e := file("f", "x")
		e.Uid, e.Gid, e.Format = uid, gid, tar.FormatGNU
		return e
	}
	device := entry{Header: tar.Header{Name: "d", Typeflag: tar.TypeBlock, Devmajor: 1<<32 + 8, Format: tar.FormatGNU}}
	attribute := file("f", "")
	attribute.PAXRecords, attribute.Format = map[string]string{xattrPAX + "user.x": strings.Repeat("y", 50_000)}, tar.FormatPAX
	for _, tc := range []struct {
		name  string
		entry entry
		room  *space
		want  string
	}{
		{"owner", owned(1<<32-2, 5), roomFor(1<<20, 10), ""},
		{"owner is cut to root", owned(1<<32, 5), roomFor(1<<20, 10), "4294967296:5"},
		{"group is cut to root", owned(5, 1<<32), roomFor(1<<20, 10), "5:4294967296"},
		{"owner is left as it is", owned(1<<32-1, 5), roomFor(1<<20, 10), "4294967295:5"},
		{"negative owner", owned(-1, 5), roomFor(1<<20, 10), "-1:5"},
		{"device is cut to a disk", device, roomFor(1<<20, 10), "device number"},
		{"long name", file(strings.Repeat("a/", 3000)+"f", "x"), roomFor(1<<20, 10), "limit of 4095"},
		{"more files than there is room for", file("a/b/c/d/e/f", "x"), roomFor(1<<20, 5), "no room for more files"},
		{"directories that fill the disk", file("a/b/c/d/e/f", "x"), roomFor(5*inodeOverhead, 10), "do not fit"},
		{"attributes that fill the disk", attribute, roomFor(2*inodeOverhead, 10), "do not fit"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := unpackTar(t.Context(), bytes.NewReader(makeTar(t, tc.entry)), t.TempDir(), nil, tc.room)
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), tc.entry.Name[:1])) {
				t.Errorf("unpack = %v, want it to say %q", err, tc.want)
			}
		})
	}
}

// The owner and the mode of a directory that an archive leaves out are not set
// through a link that the archive has put in its place afterwards.
// An archive whose links lead to ever deeper directories is refused while they
// can still be removed with few descriptors.
func TestDirectoriesByWayOfLinksAreBounded(t *testing.T) {
	const levels = 500
	deep := strings.Repeat("d/", levels)
	for _, explicit := range []bool{false, true} {
		entries := []entry{file(deep+"f", ""), symlink("l0", strings.TrimSuffix(deep, "/"))}
		for i := range 20 {
			at := fmt.Sprintf("l%d/", i)
			if explicit {
				for n := range levels {
					entries = append(entries, dir(at+strings.Repeat("d/", n)+"d", 0o755))
				}
			}
			entries = append(entries, file(at+deep+"f", ""), symlink(fmt.Sprintf("l%d", i+1), at+strings.TrimSuffix(deep, "/")))
		}
		_, err := unpackTar(t.Context(), bytes.NewReader(makeTar(t, entries...)), t.TempDir(), nil, roomFor(1<<30, 100_000))
		if err == nil || !strings.Contains(err.Error(), "nested more deeply") {
			t.Errorf("explicit = %v: %.300v", explicit, err)
		}
	}
}

func TestInheritedAttributesStayInside(t *testing.T) {
	s := openStore(t)
	outside := t.TempDir()
	if err := os.Mkdir(filepath.Join(outside, "victim"), 0o700); err != nil {
		t.Fatal(err)
	}
	open := dir("a/victim", 0o777)
	open.Uid = 1234
	bottom := makeTar(t, dir("a", 0o755), open)
	for name, entries := range map[string][]entry{
		"parent":    {file("a/victim/f", "x"), symlink("a", outside)},
		"directory": {file("a/victim/f", "x"), symlink("a/victim", filepath.Join(outside, "victim"))},
	} {
		img := makeImage(t, "x", bottom, makeTar(t, entries...))
		if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{name: img}), nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		var st unix.Stat_t
		if err := unix.Stat(filepath.Join(outside, "victim"), &st); err != nil || st.Uid != 0 || st.Mode&0o7777 != 0o700 {
			t.Errorf("%s: the directory outside has owner %d and mode %o, %v", name, st.Uid, st.Mode, err)
		}
	}
}

// Data after the end of a layer's archive is read only up to a limit.
func TestPaddingIsBounded(t *testing.T) {
	s := openStore(t)
	layer := makeTar(t, file("f", "x"))
	b := blob{diffID: digestOf(layer).String(), open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(bytes.NewReader(layer), zeros{})), nil
	}}
	if _, _, err := s.unpackBlob(t.Context(), b, nil, roomFor(1<<20, 10), func(int) {}); err == nil || !strings.Contains(err.Error(), "limit of") {
		t.Errorf("unpack = %v", err)
	}
}

// What is kept beside a layer's files has to fit on the disk like these.
func TestWhatIsBesideFilesIsBounded(t *testing.T) {
	needRoot(t)
	s := openStore(t)
	noise := make([]byte, 8<<20)
	rand.NewChaCha8([32]byte{}).Read(noise)
	layer := makeTar(t, file("f", "x"), file(".wh.gone", string(noise)))
	b := blob{diffID: digestOf(layer).String(), open: func(context.Context) (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(layer)), nil
	}}
	if _, _, err := s.unpackBlob(t.Context(), b, nil, roomFor(1<<20, 10), func(int) {}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("unpack = %v", err)
	}
	if left, err := filepath.Glob(filepath.Join(s.dir, "tmp", "*")); err != nil || len(left) > 0 {
		t.Errorf("%q is left, %v", left, err)
	}
}

// zeros never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

func TestManyLayers(t *testing.T) {
	s := openStore(t)
	// Many more than fit into the options of a mount.
	config := v1.ConfigFile{OS: "linux", Architecture: runtime.GOARCH, RootFS: v1.RootFS{Type: "layers"}}
	manifest := []map[string]any{{"Config": "c", "RepoTags": []string{"many:latest"}}}
	var entries []entry
	var names []string
	for i := range 400 {
		if i == 399 {
			i = 7 // the same layer twice
		}
		layer := makeTar(t, file("f", strings.Repeat("x", i)))
		sum := sha256.Sum256(layer)
		config.RootFS.DiffIDs = append(config.RootFS.DiffIDs, v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])})
		entries = append(entries, file(fmt.Sprint(len(names)), string(layer)))
		names = append(names, fmt.Sprint(len(names)))
	}
	manifest[0]["Layers"] = names
	for name, v := range map[string]any{"c": config, "manifest.json": manifest} {
		text, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		entries = append(entries, file(name, string(text)))
	}
	archive := filepath.Join(t.TempDir(), "many.tar")
	if err := os.WriteFile(archive, makeTar(t, entries...), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Load(t.Context(), archive, nil); err != nil {
		t.Fatal(err)
	}
	root := mounted(t, s, "many")
	if got := readFile(t, filepath.Join(root, "f")); len(got) != 7 {
		t.Errorf("f has %d bytes, want 7", len(got))
	}
	if err := os.WriteFile(filepath.Join(root, "f"), []byte("mine"), 0o600); err != nil {
		t.Error(err)
	}
	img, err := s.Get("many")
	if err != nil {
		t.Fatal(err)
	}
	ro := t.TempDir()
	if err := s.MountRootfs(img, ro, "", ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(ro, unix.MNT_DETACH)
	if got := readFile(t, filepath.Join(ro, "f")); len(got) != 7 {
		t.Errorf("f has %d bytes, want 7", len(got))
	}
	if err := os.WriteFile(filepath.Join(ro, "f"), nil, 0o600); !errors.Is(err, unix.EROFS) {
		t.Errorf("write to a mount that is read-only: %v", err)
	}
	more := &Image{ID: "more"}
	for i := range maxLower + 1 {
		more.Layers = append(more.Layers, fmt.Sprint(i))
	}
	if err := s.MountRootfs(more, ro, "", ""); err == nil || !strings.Contains(err.Error(), "501 different layers; overlayfs takes 500") {
		t.Errorf("more than overlayfs takes: %v", err)
	}
}

func TestImageWithoutLayers(t *testing.T) {
	s := openStore(t)
	if _, err := s.Load(t.Context(), writeArchive(t, map[string]v1.Image{"none": makeImage(t, "x")}), nil); err != nil {
		t.Fatal(err)
	}
	root := mounted(t, s, "none")
	if err := os.WriteFile(filepath.Join(root, "f"), []byte("1"), 0o600); err != nil {
		t.Error(err)
	}
	img, err := s.Get("none")
	if err != nil {
		t.Fatal(err)
	}
	ro := t.TempDir()
	if err := s.MountRootfs(img, ro, "", ""); err != nil {
		t.Fatal(err)
	}
	defer unix.Unmount(ro, unix.MNT_DETACH)
	if err := os.WriteFile(filepath.Join(ro, "f"), nil, 0o600); err == nil {
		t.Error("a mount without an upper directory can be written to")
	}
}

func FuzzUnpack(f *testing.F) {
	f.Add(makeTar(f, dir("a", 0o755), file("a/b", "c"), symlink("l", "../.."), file("l/x", "y"), hardlink("h", "a/b"), file("a/.wh.z", ""), file(".wh..wh..opq", "")))
	f.Add(makeTar(f, symlink("a", "/"), symlink("a/b", "a"), hardlink("c", "a/b"), dir("c", 0o700), file("a/victim", "z")))
	f.Add(makeTar(f, file("a/b/f", "x"), symlink("a", ".."), file("victim/f", "x"), symlink("victim", "../victim")))
	f.Fuzz(func(t *testing.T, data []byte) {
		needRoot(t)
		base := t.TempDir()
		out := filepath.Join(base, "layer")
		if err := os.Mkdir(out, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(base, "victim"), []byte("untouched"), 0o600); err != nil {
			t.Fatal(err)
		}
		lower := filepath.Join(base, "below")
		for _, name := range []string{"below", "below/a", "below/a/b", "below/l", "below/victim"} {
			if err := os.Mkdir(filepath.Join(base, name), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Chown(filepath.Join(base, name), 99, 99); err != nil {
				t.Fatal(err)
			}
		}
		res, err := unpackTar(t.Context(), bytes.NewReader(data), out, nil, roomFor(16<<20, 1000))
		if err == nil {
			for _, p := range res.implicit {
				inheritFrom(out, lower, p)
			}
		}
		if err := os.RemoveAll(lower); err != nil {
			t.Fatal(err)
		}
		checkUntouched(t, base)
		if err := os.RemoveAll(out); err != nil {
			t.Errorf("what was unpacked can't be removed: %v", err)
		}
	})
}

func FuzzLoad(f *testing.F) {
	img := makeImage(f, "x", makeTar(f, file("f", "1")))
	data, err := os.ReadFile(writeArchive(f, map[string]v1.Image{"x": img}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add(makeTar(f, file("index.json", `{"manifests":[{"mediaType":"application/vnd.oci.image.index.v1+json","digest":"sha256:x"}]}`)))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "f.tar")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := openSource(t.Context(), path, t.TempDir())
		if err != nil {
			return
		}
		defer src.Close()
		candidates, err := readCandidates(&documents{source: src, left: maxDocuments})
		if err != nil {
			return
		}
		for _, c := range candidates {
			if c.config == nil || len(c.layers) != len(c.config.RootFS.DiffIDs) {
				t.Errorf("candidate %v", c)
			}
		}
	})
}
