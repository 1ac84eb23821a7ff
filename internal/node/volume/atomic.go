package volume

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Names in a volume's directory. A container sees NAME -> ..data/NAME and
// ..data -> ..TIMESTAMP; moving ..data changes all files at once.
const (
	dataLink    = "..data"
	dataLinkNew = "..data_tmp"
)

// owner is the group that may read a volume, below zero for nobody but root.
type owner struct{ gid int }

func ownerOf(pod *v1.Pod) owner { return owner{gid: fsGroup(pod)} }

// writeAtomically makes the volume in dir consist of exactly these files. If it
// does already, nothing is touched.
func writeAtomically(dir string, files map[string]file, o owner) error {
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if current != "" && same(filepath.Join(dir, current), files, o) {
		return link(dir, files) // a run that was cut short may not have got so far
	}
	next, err := os.MkdirTemp(dir, "..data.*")
	if err != nil {
		return err
	}
	if err := fill(next, files, o); err != nil {
		os.RemoveAll(next)
		return err
	}
	tmp := filepath.Join(dir, dataLinkNew)
	if err := os.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := os.Symlink(filepath.Base(next), tmp); err != nil {
		return err
	}
	if err := os.Rename(tmp, filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	if err := link(dir, files); err != nil {
		return err
	}
	return sweep(dir, filepath.Base(next), files)
}

// fill writes the files into a fresh directory, before anybody can see them.
func fill(dir string, files map[string]file, o owner) error {
	for name, f := range files {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(p, f.data, 0o600); err != nil {
			return err
		}
		if err := os.Chown(p, f.uid, o.gid); err != nil {
			return fmt.Errorf("set owner of %s: %w", name, err)
		}
		if err := os.Chmod(p, o.fileMode(f)); err != nil {
			return err
		}
	}
	return filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() {
			return err
		}
		if o.gid < 0 {
			return os.Chmod(p, 0o755)
		}
		if err := os.Chown(p, -1, o.gid); err != nil {
			return err
		}
		return os.Chmod(p, 0o755|fs.ModeSetgid)
	})
}

// fileMode lets the Pod's group read.
func (o owner) fileMode(f file) fs.FileMode {
	mode := fs.FileMode(f.mode)
	if o.gid >= 0 {
		mode |= 0o440
	}
	return mode & fs.ModePerm
}

// same tells whether dir holds exactly these files, with these modes.
func same(dir string, files map[string]file, o owner) bool {
	n := 0
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		f, ok := files[name]
		if !ok {
			return fs.ErrNotExist
		}
		info, err := d.Info()
		if err != nil || info.Mode() != o.fileMode(f) {
			return fs.ErrInvalid
		}
		have, err := os.ReadFile(p)
		if err != nil || !bytes.Equal(have, f.data) {
			return fs.ErrInvalid
		}
		n++
		return nil
	})
	return err == nil && n == len(files)
}

// link makes the names that a container sees.
func link(dir string, files map[string]file) error {
	for name := range tops(files) {
		target, p := filepath.Join(dataLink, name), filepath.Join(dir, name)
		if have, err := os.Readlink(p); err == nil && have == target {
			continue
		}
		if err := os.RemoveAll(p); err != nil {
			return err
		}
		if err := os.Symlink(target, p); err != nil {
			return err
		}
	}
	return nil
}

// sweep removes names that no longer lead anywhere, and former contents.
func sweep(dir, keep string, files map[string]file) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	top := tops(files)
	for _, e := range entries {
		name := e.Name()
		if name == dataLink || name == keep || top[name] {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}

func tops(files map[string]file) map[string]bool {
	top := map[string]bool{}
	for name := range files {
		first, _, _ := strings.Cut(name, "/")
		top[first] = true
	}
	return top
}
