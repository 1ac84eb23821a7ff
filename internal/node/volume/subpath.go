package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// subPathDir is where the bind mounts of a Pod's subPaths are.
func (m *Manager) subPathDir(pod *v1.Pod) string {
	return filepath.Join(m.PodDir(pod.UID), subPathsDir)
}

const subPathsDir = "volume-subpaths"

// bindSubPath makes one file or directory of a volume appear at a path of its
// own, and returns that path. A container of the Pod may have put symbolic
// links into the volume that lead out of it, and may change them at any moment:
// so the target is opened without ever leaving the volume, and the open file,
// not its name, is mounted.
func (m *Manager) bindSubPath(pod *v1.Pod, c *v1.Container, index int, volume, sub string) (string, error) {
	f, err := openSubPath(volume, sub)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	target := filepath.Join(m.subPathDir(pod), c.VolumeMounts[index].Name, c.Name, fmt.Sprint(index))
	if err := m.mountPoint(target, info.IsDir()); err != nil {
		return "", err
	}
	if err := m.cfg.Mounter.BindMount(host.FilePath(f), target, false); err != nil {
		return "", err
	}
	return target, nil
}

// openSubPath opens what sub names, making it a directory if there is nothing.
func openSubPath(volume, sub string) (*os.File, error) {
	f, err := host.OpenBeneath(volume, sub)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	if err := makeSubPath(volume, sub); err != nil {
		return nil, err
	}
	return host.OpenBeneath(volume, sub)
}

// makeSubPath makes the directories of sub that are missing, each with the
// mode of the volume: a user who may write to the one may write to the other.
func makeSubPath(volume, sub string) error {
	root, err := os.OpenRoot(volume)
	if err != nil {
		return err
	}
	defer root.Close()
	info, err := root.Stat(".")
	if err != nil {
		return err
	}
	mode := info.Mode() & (fs.ModePerm | fs.ModeSetgid)
	parts := strings.Split(path.Clean(sub), "/")
	for i := range parts {
		dir := path.Join(parts[:i+1]...)
		switch err := root.Mkdir(dir, mode.Perm()); {
		case errors.Is(err, fs.ErrExist):
			continue
		case err != nil:
			return err
		}
		// Again, since the umask took from it. Should a container have put a
		// link in the directory's place by now, what it changes the mode of is
		// in its own volume.
		if err := root.Chmod(dir, mode); err != nil {
			return err
		}
	}
	return nil
}

// mountPoint makes an empty file or directory to mount over; what the run
// before this one mounted there is taken away.
func (m *Manager) mountPoint(target string, dir bool) error {
	if err := m.cfg.Mounter.Unmount(target); err != nil {
		return err
	}
	// Not RemoveAll: were something still mounted there, it would be emptied.
	if err := os.Remove(target); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if dir {
		return os.MkdirAll(target, 0o750)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o640)
	if err != nil {
		return err
	}
	return f.Close()
}
