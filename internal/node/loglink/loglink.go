// Package loglink keeps the links by which collectors of logs find those of a
// node's containers: /var/log/containers/POD_NAMESPACE_CONTAINER-ID.log, each to
// the container's file below /var/log/pods. The names are the kubelet's
// (LogSymlink in its pkg/kubelet/kuberuntime).
//
// Containers that mount the directory may write to it, so it is only used through
// an os.Root. The package neither reads nor writes logs. It may import nothing but
// the standard library.
package loglink

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

const (
	// Dir is where the links are, and PodsDir where they lead, on a node.
	Dir     = "/var/log/containers"
	PodsDir = "/var/log/pods"
	// maxName is the longest name of a file, in bytes.
	maxName = 255
)

// Log is the log of one run of a container.
type Log struct {
	Namespace, Pod, UID, Container, ID string
	Restarts                           uint32
}

// Name is the link's name. Where it would be too long, it loses its end, and is
// not always the only one of its name then.
func (l Log) Name() string {
	name := fmt.Sprintf("%s_%s_%s-%s", l.Pod, l.Namespace, l.Container, l.ID)
	return name[:min(len(name), maxName-len(".log"))] + ".log"
}

// Target is the file that the link leads to.
func (l Log) Target() string {
	return filepath.Join(PodsDir, fmt.Sprintf("%s_%s_%s", l.Namespace, l.Pod, l.UID), l.Container, fmt.Sprintf("%d.log", l.Restarts))
}

// Root is a node's root directory.
type Root interface {
	OpenRoot(path string) (*os.Root, error)
	MkdirAll(path string, mode fs.FileMode) error
	Stat(path string) (fs.FileInfo, error)
}

// Links are those of a node. A nil Links does nothing.
type Links struct{ root Root }

// New returns the links in the root directory of a node.
func New(root Root) *Links { return &Links{root} }

// open opens the directory, which is made if it is missing.
func (l *Links) open() (*os.Root, error) {
	dir, err := l.root.OpenRoot(Dir)
	if errors.Is(err, fs.ErrNotExist) {
		if err = l.root.MkdirAll(Dir, 0o755); err == nil {
			dir, err = l.root.OpenRoot(Dir)
		}
	}
	return dir, err
}

// Add makes the links to logs. One that is there is made anew if it leads
// elsewhere.
func (l *Links) Add(logs ...Log) error {
	if l == nil || len(logs) == 0 {
		return nil
	}
	dir, err := l.open()
	if err != nil {
		return fmt.Errorf("link the logs of containers: %w", err)
	}
	defer dir.Close()
	var errs []error
	for _, log := range logs {
		if to, err := dir.Readlink(log.Name()); err == nil && to == log.Target() {
			continue
		}
		if err := dir.Remove(log.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
			continue
		}
		errs = append(errs, dir.Symlink(log.Target(), log.Name()))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("link the logs of containers: %w", err)
	}
	return nil
}

// Remove removes the links to logs. Those that are not there are fine.
func (l *Links) Remove(logs ...Log) error {
	if l == nil || len(logs) == 0 {
		return nil
	}
	dir, err := l.open()
	if err != nil {
		return fmt.Errorf("remove links to logs: %w", err)
	}
	defer dir.Close()
	var errs []error
	for _, log := range logs {
		if err := dir.Remove(log.Name()); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove links to logs: %w", err)
	}
	return nil
}

// Sweep removes links to logs of Pods that are not there any more, which a server
// that was killed has left. Other files are not touched.
func (l *Links) Sweep() error {
	if l == nil {
		return nil
	}
	dir, err := l.open()
	if err != nil {
		return fmt.Errorf("look for links to logs: %w", err)
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return fmt.Errorf("look for links to logs: %w", err)
	}
	var errs []error
	for _, e := range entries {
		to, err := dir.Readlink(e.Name())
		if err != nil || !strings.HasPrefix(to, PodsDir+"/") {
			continue
		}
		if _, err := l.root.Stat(to); errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, dir.Remove(e.Name()))
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove links to logs: %w", err)
	}
	return nil
}
