package volume

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Names in a volume's directory, the same as in every kubelet's volumes. A
// container sees NAME -> ..data/NAME and ..data -> ..TIMESTAMP; moving ..data
// changes all files at once.
const (
	dataLink        = "..data"
	dataLinkNew     = "..data_tmp"
	timestampFormat = "..2006_01_02_15_04_05."
)

// owner is the group that may read a volume, below zero for nobody but root.
type owner struct{ gid int }

func ownerOf(pod *v1.Pod) owner { return owner{gid: fsGroup(pod)} }

// writer fills the volume of a ConfigMap, a Secret, a projection or the
// downward API. Containers get such a volume read-only, but one of them may be
// privileged, and so nothing below the volume is trusted: every name is
// resolved by an os.Root, which no link leads out of, and no file is ever read
// back. Whether there is something to do is known from a record that lies
// beside the volume, where no container can reach it.
type writer struct {
	dir, record string
	owner       owner
	nested      []string // directories that other volumes are mounted on
	now         time.Time
}

// write makes the volume consist of exactly these files. If it does already,
// nothing is touched.
func (w writer) write(files map[string]file) error {
	root, err := os.OpenRoot(w.dir)
	if err != nil {
		return err
	}
	defer root.Close()
	current, err := root.Readlink(dataLink)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	sum := digest(files, w.owner)
	if current != "" && w.recorded() == current+" "+sum { // noted last, when all was done
		return makeNested(root, w.nested) // an ephemeral container may have come
	}
	next, err := w.fill(root, files)
	if err != nil {
		return err
	}
	if err := root.RemoveAll(dataLinkNew); err != nil {
		return err
	}
	if err := root.Symlink(next, dataLinkNew); err != nil {
		return err
	}
	if err := root.Rename(dataLinkNew, dataLink); err != nil {
		return err
	}
	if err := link(root, files); err != nil {
		return err
	}
	if err := sweep(root, next, files); err != nil {
		return err
	}
	if err := makeNested(root, w.nested); err != nil {
		return err
	}
	return w.remember(next + " " + sum)
}

// maxRecord is longer than every record.
const maxRecord = 256

// recorded is what the last write noted: the target of ..data and a digest.
func (w writer) recorded() string {
	f, err := os.Open(w.record)
	if err != nil {
		return ""
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxRecord))
	if err != nil {
		return ""
	}
	return string(text)
}

func (w writer) remember(text string) error {
	if err := os.MkdirAll(filepath.Dir(w.record), 0o750); err != nil {
		return err
	}
	return os.WriteFile(w.record, []byte(text), 0o600)
}

// digest tells one set of files from another without keeping their contents.
func digest(files map[string]file, o owner) string {
	h := sha256.New()
	field := func(b []byte) { // with its length, so that two fields are not one
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(b))))
		h.Write(b)
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f := files[name]
		field([]byte(name))
		field(f.data)
		fmt.Fprintf(h, "%o %d %d\n", o.fileMode(f), f.uid, o.gid)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// fill writes the files into a fresh directory, before ..data leads there, and
// returns its name.
func (w writer) fill(root *os.Root, files map[string]file) (name string, err error) {
	for {
		name = w.now.UTC().Format(timestampFormat) + fmt.Sprint(rand.Uint32())
		if err = root.Mkdir(name, 0o700); !errors.Is(err, fs.ErrExist) {
			break
		}
	}
	if err != nil {
		return "", err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, root.RemoveAll(name))
		}
	}()
	fresh, err := root.OpenRoot(name)
	if err != nil {
		return "", err
	}
	defer fresh.Close()
	dirs := map[string]bool{".": true}
	for p, f := range files {
		for d := path.Dir(p); d != "."; d = path.Dir(d) {
			dirs[d] = true
		}
		if err := fresh.MkdirAll(path.Dir(p), 0o700); err != nil {
			return "", err
		}
		if err := writeFile(fresh, p, f, w.owner); err != nil {
			return "", err
		}
	}
	for d := range dirs {
		if err := w.owner.openDir(fresh, d); err != nil {
			return "", err
		}
	}
	return name, nil
}

func writeFile(root *os.Root, name string, f file, o owner) error {
	out, err := root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := out.Write(f.data); err != nil {
		return err
	}
	if err := out.Chown(f.uid, o.gid); err != nil {
		return fmt.Errorf("set owner of %s: %w", name, err)
	}
	if err := out.Chmod(o.fileMode(f)); err != nil {
		return err
	}
	return out.Close()
}

// fileMode lets the Pod's group read.
func (o owner) fileMode(f file) fs.FileMode {
	mode := fs.FileMode(f.mode)
	if o.gid >= 0 {
		mode |= 0o440
	}
	return mode & fs.ModePerm
}

// openDir lets every user enter a directory; who may read a file in it, its
// mode says. Users of the machine are kept out further up.
func (o owner) openDir(root *os.Root, dir string) error {
	mode := fs.FileMode(0o755)
	if o.gid >= 0 {
		mode |= fs.ModeSetgid
		if err := root.Chown(dir, -1, o.gid); err != nil {
			return err
		}
	}
	return root.Chmod(dir, mode)
}

// link makes the names that a container sees.
func link(root *os.Root, files map[string]file) error {
	for name := range tops(files) {
		target := path.Join(dataLink, name)
		have, err := root.Readlink(name)
		switch {
		case err == nil && have == target:
			continue
		case err == nil:
			if err := root.Remove(name); err != nil {
				return err
			}
		}
		if err := root.Symlink(target, name); err != nil {
			return fmt.Errorf("%s is in the way of the file of that name: %w", name, err)
		}
	}
	return nil
}

// sweep removes names that no longer lead anywhere, and former contents. What
// else there is, such as mount points, stays.
func sweep(root *os.Root, keep string, files map[string]file) error {
	dir, err := root.Open(".")
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	if err != nil {
		return err
	}
	top := tops(files)
	for _, e := range entries {
		name := e.Name()
		switch {
		case name == dataLink || name == keep || top[name]:
			continue
		case strings.HasPrefix(name, ".."):
			err = root.RemoveAll(name)
		case e.Type() == fs.ModeSymlink:
			if target, lerr := root.Readlink(name); lerr == nil && strings.HasPrefix(target, dataLink+"/") {
				err = root.Remove(name)
			}
		}
		if err != nil {
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

// makeNested makes the directories that other volumes are mounted on: the
// runtime could not, since the volume is read-only in the container.
func makeNested(root *os.Root, dirs []string) error {
	for _, dir := range dirs {
		if _, err := root.Stat(dir); err == nil {
			continue
		}
		if err := root.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("make the mount point %s of another volume: %w", dir, err)
		}
	}
	return nil
}

// nestedMountPoints lists, relative to the volume, where containers mount other
// volumes below it. Of those that are below each other it has the outermost.
func nestedMountPoints(pod *v1.Pod, volume string) []string {
	points := map[string]bool{}
	check := func(mounts []v1.VolumeMount) {
		var all []string
		for i := range mounts {
			all = append(all, path.Clean("/"+mounts[i].MountPath))
		}
		slices.SortFunc(all, func(a, b string) int { return len(a) - len(b) })
		for i := range mounts {
			if mounts[i].Name != volume || mounts[i].SubPath != "" || mounts[i].SubPathExpr != "" {
				continue
			}
			var outer []string
			base := strings.TrimSuffix(path.Clean("/"+mounts[i].MountPath), "/") + "/"
			for _, p := range all {
				below := func(o string) bool { return strings.HasPrefix(p, o) }
				if strings.HasPrefix(p, base) && p != base && !slices.ContainsFunc(outer, below) {
					outer = append(outer, p+"/")
					points[strings.TrimPrefix(p, base)] = true
				}
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		check(pod.Spec.InitContainers[i].VolumeMounts)
	}
	for i := range pod.Spec.Containers {
		check(pod.Spec.Containers[i].VolumeMounts)
	}
	for i := range pod.Spec.EphemeralContainers {
		check(pod.Spec.EphemeralContainers[i].VolumeMounts)
	}
	return slices.Sorted(maps.Keys(points))
}
