package images

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
	"time"
)

// epoch is the time of every file written here.
var epoch = time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)

// tree is the content of one layer, by path without a leading slash.
type tree struct {
	entries map[string]*entry
}

type entry struct {
	header tar.Header
	data   []byte
}

func newTree() *tree { return &tree{entries: map[string]*entry{}} }

// merged are directories that are links into /usr in today's Debian; packages
// still bring files under their old names.
var merged = map[string]string{"bin": "usr/bin", "sbin": "usr/sbin", "lib": "usr/lib", "lib64": "usr/lib64", "var/run": "run", "var/lock": "run/lock"}

// clean makes a path relative and moves it to where the merged directories lead.
func clean(p string) string {
	p = strings.TrimPrefix(path.Clean("/"+p), "/")
	for old, now := range merged {
		if p == old {
			return now
		}
		if rest, ok := strings.CutPrefix(p, old+"/"); ok {
			return now + "/" + rest
		}
	}
	return p
}

// unwanted are parts of packages that no container needs; * stands for one directory.
var unwanted = []string{
	"usr/share/man", "usr/share/info", "usr/share/locale", "usr/share/i18n", "usr/share/lintian", "usr/share/menu", "usr/share/bug",
	"usr/share/bash-completion", "usr/share/doc-base", "usr/share/vim", "usr/share/apport", "usr/share/debianutils",
	"usr/share/gcc", "usr/share/gdb", "usr/share/common-licenses", "usr/share/lto", "usr/share/perl5",
	"usr/lib/systemd", "usr/lib/udev", "usr/lib/sysctl.d", "usr/lib/tmpfiles.d",
	"usr/lib/*/gconv", "usr/lib/*/perl", "usr/lib/*/tc",
	"etc/init.d", "etc/default", "etc/logrotate.d", "etc/ufw", "etc/cron.daily", "etc/kernel", "etc/apparmor.d", "etc/sysctl.d",
}

func wanted(p string) bool {
	if strings.HasPrefix(p, "usr/share/doc/") {
		return strings.HasSuffix(p, "/copyright") // a licence asks for that
	}
	return p != "" && !slices.ContainsFunc(unwanted, func(u string) bool { return below(p, u) })
}

// below reports whether p is what the pattern names, or inside it.
func below(p, pattern string) bool {
	parts, want := strings.Split(p, "/"), strings.Split(pattern, "/")
	if len(parts) < len(want) {
		return false
	}
	for i, w := range want {
		if w != "*" && w != parts[i] {
			return false
		}
	}
	return true
}

// addTar adds what a package unpacks to.
func (t *tree) addTar(r io.Reader) error {
	archive := tar.NewReader(r)
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := clean(h.Name)
		if !wanted(name) {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return fmt.Errorf("read %s: %w", h.Name, err)
		}
		link := h.Linkname
		if h.Typeflag == tar.TypeLink {
			link = clean(link)
		}
		t.put(tar.Header{
			Typeflag: h.Typeflag, Name: name, Linkname: link, Mode: h.Mode, Uid: h.Uid, Gid: h.Gid,
			ModTime: h.ModTime.Truncate(time.Second), Devmajor: h.Devmajor, Devminor: h.Devminor,
		}, data)
	}
}

func (t *tree) put(h tar.Header, data []byte) {
	h.Size = int64(len(data))
	t.entries[h.Name] = &entry{header: h, data: data}
}

func (t *tree) file(name string, mode int64, content []byte) {
	t.put(tar.Header{Typeflag: tar.TypeReg, Name: clean(name), Mode: mode, ModTime: epoch}, content)
}

func (t *tree) dir(name string, mode int64) { t.dirOf(name, mode, 0) }

func (t *tree) dirOf(name string, mode int64, owner int) {
	t.put(tar.Header{Typeflag: tar.TypeDir, Name: clean(name), Mode: mode, Uid: owner, Gid: owner, ModTime: epoch}, nil)
}

// link makes a symbolic link. Its own path is not moved, as it may be a merged directory.
func (t *tree) link(name, target string) {
	t.put(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777, ModTime: epoch}, nil)
}

// move gives a program another place.
func (t *tree) move(from, to string) error {
	data, err := t.content(from)
	if err != nil {
		return err
	}
	delete(t.entries, from)
	t.put(executable(to), data)
	return nil
}

// content is a file of this layer.
func (t *tree) content(name string) ([]byte, error) {
	e := t.entries[clean(name)]
	if e == nil || e.header.Typeflag != tar.TypeReg {
		return nil, fmt.Errorf("no file %s in the layer", name)
	}
	return e.data, nil
}

// write makes the layer's archive: in order, directories before what is in them.
func (t *tree) write(w io.Writer) error {
	for name := range t.entries {
		for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
			if t.entries[dir] == nil {
				t.put(tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755, ModTime: epoch}, nil)
			}
		}
	}
	names := make([]string, 0, len(t.entries))
	for name := range t.entries {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		// A hard link has to come after the file it names.
		if d := hardLink(t.entries[a]) - hardLink(t.entries[b]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	archive := tar.NewWriter(w)
	for _, name := range names {
		e := t.entries[name]
		h := e.header
		if h.Typeflag == tar.TypeDir {
			h.Name += "/"
		}
		if err := archive.WriteHeader(&h); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
		if _, err := io.Copy(archive, bytes.NewReader(e.data)); err != nil {
			return fmt.Errorf("write %s: %w", name, err)
		}
	}
	return archive.Close()
}

func hardLink(e *entry) int {
	if e.header.Typeflag == tar.TypeLink {
		return 1
	}
	return 0
}
