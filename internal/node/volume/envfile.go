package volume

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	v1 "k8s.io/api/core/v1"
)

// maxEnvFile bounds a file with variables: what a program may get as its
// environment is not much more.
const maxEnvFile = 1 << 20

// ReadFile returns the text of a file in a volume of the Pod, which has to be set
// up. Containers may have made the file, so no link is followed out of the volume,
// and only a regular file is read.
func (m *Manager) ReadFile(_ context.Context, pod *v1.Pod, volume, path string) (string, error) {
	if v := find(pod, volume); v != nil && v.Image != nil {
		return "", errors.New("files of an image are read by the container runtime only")
	}
	source, err := m.Path(pod, volume)
	if err != nil {
		return "", err
	}
	place, err := m.cfg.Root.OpenPath(source)
	if err != nil {
		return "", err
	}
	defer place.Close()
	root, err := os.OpenRoot(fmt.Sprintf("/proc/self/fd/%d", place.Fd()))
	if err != nil {
		return "", err
	}
	defer root.Close()
	f, err := root.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return "", errors.Join(err, errors.New("it is not a regular file"))
	}
	text, err := io.ReadAll(io.LimitReader(f, maxEnvFile+1))
	if err == nil && len(text) > maxEnvFile {
		err = fmt.Errorf("it is larger than %d KiB", maxEnvFile>>10)
	}
	return string(text), err
}
