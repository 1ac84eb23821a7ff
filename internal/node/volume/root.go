package volume

import (
	"fmt"
	"io/fs"
	"os"

	v1 "k8s.io/api/core/v1"
)

// Root is the node's root directory, where the paths of hostPath volumes begin.
// Links are resolved in it, and none leads out of it.
type Root interface {
	Stat(path string) (fs.FileInfo, error)
	MkdirAll(path string, mode fs.FileMode) error
	OpenFile(path string, flag int, mode fs.FileMode) (*os.File, error)
	// OpenPath opens path as a place in the tree only, as O_PATH of open(2) does.
	OpenPath(path string) (*os.File, error)
}

// bindNodeSubPath is bindSubPath for a volume that is looked up in the node's
// root directory, where a hostPath may lead to something else than here.
func (m *Manager) bindNodeSubPath(pod *v1.Pod, c *v1.Container, index int, volume, sub string) (string, error) {
	dir, err := m.cfg.Root.OpenPath(volume)
	if err != nil {
		return "", err
	}
	defer dir.Close()
	return m.bindSubPath(pod, c, index, fmt.Sprintf("/proc/self/fd/%d", dir.Fd()), sub)
}
