package images

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// out is where `make images` puts them: what is there and current is not made again.
const out = "../../build/images"

// programs are run in each image: what the articles type, and what it needs.
var programs = map[string][]struct {
	script string // for sh, in a network namespace of its own with nothing but lo
	want   string // pattern
}{
	"nginx": {
		{"nginx -t 2>&1", "test is successful"},
		{"nginx && curl -sS http://127.0.0.1/", "<h1>Welcome to nginx!</h1>"},
		{"nginx && curl -sS -o /dev/null http://[::1]/ || echo refused", "refused"}, // IPv4 only, like the official image
		{"nginx && mkdir /usr/share/nginx/html/path1 && hostname > /usr/share/nginx/html/path1/index.html && test \"$(curl -sS 127.0.0.1/path1/index.html)\" = \"$(hostname)\" && echo same", "same"},
		{"nginx && hostname > /etc/hostname && cp /etc/hostname /usr/share/nginx/html/index.html && curl -sS localhost && ls /usr/share/nginx/html && cat /etc/hostname", "50x.html"},
		{"nginx && curl -sS localhost/seen-in-the-log >/dev/null", `"GET /seen-in-the-log HTTP/1.1" 404`},
		{"SAMPLE=x printenv | grep SAMPLE", "SAMPLE=x"},
	},
	"redis": {
		{"redis-server --version", "Redis server v="},
		{"cd /data && (redis-server --protected-mode no --daemonize yes >/dev/null) && until redis-cli ping 2>/dev/null; do sleep 0.1; done && redis-cli set a b && redis-cli get a", "PONG\nOK\nb"},
	},
	"centos6": {
		{"curl --version", "curl 7"},
		{"dig -v 2>&1", "DiG 9"},
		{"dig +time=1 +tries=1 -x 10.96.0.1 @127.0.0.1 2>&1 || true", "1.0.96.10.in-addr.arpa|connection refused|no servers could be reached"},
		{"nslookup -version", "nslookup 9"},
		{"host -V 2>&1", "host 9"},
		{"getent hosts localhost", "localhost"},
		{"getent services https", "443/tcp"},
		{"ip -4 addr show lo", "inet 127.0.0.1/8"},
		{"ping -c1 -W2 127.0.0.1", "1 received"},
		{"bash -c 'echo ${BASH_VERSION}; type awk which tar gzip sed grep find ps'", "ps is /usr/bin/ps"},
		{"echo hi | gzip | gunzip; seq 3 | awk '{n+=$1} END {print n}'; which bash", "hi\n6\n/usr/bin/bash"},
		{"curl -sS https://127.0.0.1 2>&1 || true", "Failed to connect|refused"}, // and not: no certificates
		{"(sleep 0.3; echo from-nc | nc -N 127.0.0.1 7000) & nc -l 7000", "from-nc"},
		{"ps -e -o comm= | head -1", "."},
		{"id -un; ls -ld /tmp; cat /etc/os-release", "root\ndrwxrwxrwt"},
	},
	"busybox": {
		{"busybox | head -1", "BusyBox v1"},
		{"mkdir /www && echo page > /www/index.html && httpd -h /www && wget -q -O - http://127.0.0.1/", "page"},
		{"nslookup -type=a localhost 127.0.0.1 2>&1 || true", "localhost|Connection refused|can't|timed out"},
		{"for p in sh nslookup wget ping sleep vi nc hostname; do test -x /bin/$p || echo no $p; done; sleep 0; echo slept", "^slept"},
		{"ls /usr/bin/env /sbin/ip /usr/sbin/chroot", "/sbin/ip\n/usr/bin/env"},
		{"A='x y' B=z printenv A B; printenv NONE || echo none", "^x y\nz\nnone"},
	},
}

func TestImages(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: the programs run in the images by chroot")
	}
	if testing.Short() {
		t.Skip("fetches Debian packages")
	}
	if _, err := exec.LookPath("apt-get"); err != nil {
		t.Skip("needs a Debian: images are made from its packages")
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	b, err := New(Config{Out: out, Log: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	recipes, err := Select()
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Build(ctx, recipes); err != nil {
		t.Fatal(err)
	}
	for _, r := range recipes {
		t.Run(r.Name, func(t *testing.T) {
			img := load(t, b, r)
			root := unpack(t, img)
			checkLibraries(t, root)
			checkConfig(t, r, img, root)
			for _, p := range programs[r.Name] {
				got := runIn(ctx, t, root, p.script)
				if !regexp.MustCompile(p.want).MatchString(got) {
					t.Errorf("%s\nprinted:\n%swhich does not match %q", p.script, got, p.want)
				}
			}
		})
	}
	t.Run("shared", func(t *testing.T) { checkShared(t, b, recipes) })
	// These images hold no shell to run them from.
	for _, p := range []struct{ name, arg, want string }{
		{"whoami", "get", "usage: whoami"},
		{"minato-dns", "--no-such-flag", "unknown flag: --no-such-flag"},
		{"minato", "--no-such-flag", "unknown flag: --no-such-flag"},
	} {
		t.Run(p.name+" runs", func(t *testing.T) {
			at := slices.IndexFunc(recipes, func(r Recipe) bool { return r.Name == p.name })
			root := unpack(t, load(t, b, recipes[at]))
			cmd := exec.CommandContext(ctx, "chroot", root, "/"+p.name, p.arg)
			if text, err := cmd.CombinedOutput(); err == nil || !strings.Contains(string(text), p.want) {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
}

// load reads the archive by each of the image's names.
func load(t *testing.T, b *Builder, r Recipe) v1.Image {
	t.Helper()
	var img v1.Image
	for _, tag := range r.Tags {
		ref, err := name.NewTag(tag)
		if err != nil {
			t.Fatal(err)
		}
		if img, err = tarball.ImageFromPath(b.archive(r), &ref); err != nil {
			t.Fatalf("%s: %v", tag, err)
		}
	}
	return img
}

func unpack(t *testing.T, img v1.Image) string {
	t.Helper()
	root := t.TempDir()
	flat := mutate.Extract(img)
	defer flat.Close()
	cmd := exec.Command("tar", "-x", "-p", "-C", root)
	cmd.Stdin = flat
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("unpack: %v: %s", err, text)
	}
	return root
}

// runIn runs a script in the image, in namespaces that end with it.
func runIn(ctx context.Context, t *testing.T, root, script string) string {
	t.Helper()
	const inside = `mount -t proc proc "$1/proc" && mount --rbind /dev "$1/dev" && ip link set lo up && exec chroot "$1" sh -c "$2"`
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, "unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "sh", "-c", inside, "sh", root, script)
	cmd.Env = []string{debianPath}
	cmd.WaitDelay = time.Second
	text, err := cmd.CombinedOutput()
	if err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		t.Errorf("%s: %v", script, err)
	}
	return string(text)
}

// checkLibraries looks for every shared library that a program or library of the
// image names: closing the packages' dependencies may have left one out.
func checkLibraries(t *testing.T, root string) {
	t.Helper()
	have := map[string]bool{}
	needed := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		have[d.Name()] = true
		if !d.Type().IsRegular() {
			return nil
		}
		f, err := elf.Open(path)
		if err != nil {
			return nil // not a program
		}
		defer f.Close()
		libs, err := f.ImportedLibraries()
		for _, l := range libs {
			needed[l] = path
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for lib, by := range needed {
		if !have[lib] {
			t.Errorf("%s needs %s, which is not there", strings.TrimPrefix(by, root), lib)
		}
	}
}

// checkConfig finds the program that the image starts.
func checkConfig(t *testing.T, r Recipe, img v1.Image, root string) {
	t.Helper()
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r.Config, file.Config); d != "" {
		t.Errorf("config (-want +got): %s", d)
	}
	start := append(file.Config.Entrypoint, file.Config.Cmd...)
	for _, dir := range []string{"", "bin", "usr/bin", "usr/sbin"} {
		if _, err := os.Stat(filepath.Join(root, dir, start[0])); err == nil {
			return
		}
	}
	t.Errorf("there is no %s in the image", start[0])
}

// checkShared makes sure that images have layers in common, so that a store keeps one.
func checkShared(t *testing.T, b *Builder, recipes []Recipe) {
	bottom := map[string]int{}
	for _, r := range recipes {
		layers, err := load(t, b, r).Layers()
		if err != nil {
			t.Fatal(err)
		}
		digest, err := layers[0].Digest()
		if err != nil {
			t.Fatal(err)
		}
		bottom[digest.String()]++
	}
	if len(bottom) != 9 {
		t.Errorf("lowest layers: %v; want one for the Debian images, one for busybox, and one for each program in an image of its own", bottom)
	}
}

// What scripts load has to be made before they run, by `make images` or by what makes
// the images of CSI drivers.
func TestImagesOfScriptsAreMade(t *testing.T) {
	made := map[string]bool{}
	for _, r := range slices.Concat(Recipes(), Sidecars(), Drivers()) {
		made[r.Name+".tar"] = true
	}
	scripts, err := filepath.Glob("../e2e/testdata/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	below, err := filepath.Glob("../e2e/testdata/*/*.txtar")
	if err != nil || len(scripts) == 0 || len(below) == 0 {
		t.Fatalf("%d and %d scripts: %v", len(scripts), len(below), err)
	}
	archive := regexp.MustCompile(`\$IMAGES/([-a-z0-9]+\.tar)`)
	for _, path := range slices.Concat(scripts, below) {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range archive.FindAllSubmatch(text, -1) {
			if name := string(m[1]); !made[name] {
				t.Errorf("%s: nothing makes %s", path, name)
			}
		}
	}
}

func TestParsePackages(t *testing.T) {
	got := parsePackages([]byte("Package: a\nVersion: 1:2\nSHA256: ff\nPre-Depends: libc6 (>= 2.34)\nDepends: b | c:any (>= 1), d [amd64]\nProvides: awk\nDescription: x\n more\n\nPackage: b\nVersion: 3\n"))
	want := []*deb{
		{name: "a", version: "1:2", sha256: "ff", depends: [][]string{{"libc6"}, {"b", "c"}, {"d"}}, provides: [][]string{{"awk"}}},
		{name: "b", version: "3"},
	}
	if d := cmp.Diff(want, got, cmp.AllowUnexported(deb{})); d != "" {
		t.Error(d)
	}
}

func TestClosure(t *testing.T) {
	pkg := func(name string, depends ...[]string) *deb { return &deb{name: name, depends: depends} }
	d := &debian{known: map[string]*deb{
		"app":  pkg("app", []string{"lib"}, []string{"missing", "real"}, []string{"virtual"}, []string{"debconf"}),
		"lib":  pkg("lib", []string{"app"}),
		"real": pkg("real"), "missing": nil, "virtual": nil,
		"impl": {name: "impl", provides: [][]string{{"virtual"}}},
	}}
	got, err := d.closure(context.Background(), []string{"app", "impl"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, p := range got {
		names = append(names, p.name)
	}
	if diff := cmp.Diff([]string{"app", "impl", "lib", "real"}, names); diff != "" {
		t.Error(diff)
	}
	if _, err := d.closure(context.Background(), []string{"app"}); err == nil {
		t.Error("nothing provides the virtual package, and that is no error")
	}
}

func TestTree(t *testing.T) {
	var in bytes.Buffer
	w := tar.NewWriter(&in)
	for _, h := range []tar.Header{
		{Name: "./bin/tool", Typeflag: tar.TypeReg, Mode: 0o755, Size: 4},
		{Name: "./bin/again", Typeflag: tar.TypeLink, Linkname: "./bin/tool"},
		{Name: "./usr/share/man/man1/tool.1", Typeflag: tar.TypeReg},
		{Name: "./usr/share/doc/tool/copyright", Typeflag: tar.TypeReg},
		{Name: "./usr/share/doc/tool/README", Typeflag: tar.TypeReg},
		{Name: "./var/run/tool", Typeflag: tar.TypeDir, Mode: 0o700},
	} {
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if h.Size > 0 {
			if _, err := w.Write([]byte("text")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	tr := newTree()
	if err := tr.addTar(&in); err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	if err := tr.write(&packed); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&packed); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, h.Name+" "+h.Linkname)
	}
	want := []string{"run/ ", "run/tool/ ", "usr/ ", "usr/bin/ ", "usr/bin/tool ", "usr/share/ ", "usr/share/doc/ ",
		"usr/share/doc/tool/ ", "usr/share/doc/tool/copyright ", "usr/bin/again usr/bin/tool"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSelect(t *testing.T) {
	got, err := Select("nginx:1.12", "nginx", "whoami")
	if err != nil || len(got) != 2 || got[0].Name != "nginx" || got[1].Name != "whoami" {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := Select("nothing"); err == nil {
		t.Error("an unknown image is no error")
	}
	all, err := Select()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, r := range all {
		for _, tag := range r.Tags {
			if seen[tag] != "" {
				t.Errorf("%s is both %s and %s", tag, seen[tag], r.Name)
			}
			seen[tag] = r.Name
		}
	}
}
