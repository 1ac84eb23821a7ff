package static

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// Dir is where the manifests lie in the node's files.
const Dir = "/etc/kubernetes/manifests"

// maxFile is how large a manifest may be, the API server's bound for a request.
const maxFile = 3 << 20

// Decode makes a Pod of the node from a manifest, with all that has a default and
// with a UID that changes with the manifest.
type Decode func(data []byte, source string) (*v1.Pod, error)

// source reads the manifests below a root directory.
type source struct {
	root   string
	decode Decode
}

// prepare makes the directory.
func (s source) prepare() error {
	if err := os.MkdirAll(s.root, 0o755); err != nil {
		return err
	}
	root, err := host.OpenInRoot(s.root)
	if err != nil {
		return err
	}
	defer root.Close()
	return root.MkdirAll(Dir, 0o755)
}

// open opens the directory with the manifests, whatever is on the way to it by now.
func (s source) open() (*os.Root, error) {
	root, err := host.OpenInRoot(s.root)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	return root.OpenRoot(Dir)
}

// read returns the Pods, and what is wrong by the name of the file. A directory that
// is not there has none. Of two Pods of one name the first counts, in the order of the
// files' names.
func (s source) read() ([]*v1.Pod, map[string]error, error) {
	dir, err := s.open()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("open %s: %w", Dir, err)
	}
	defer dir.Close()
	entries, err := fs.ReadDir(dir.FS(), ".")
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", Dir, err)
	}
	wrong, taken := map[string]error{}, map[string]string{}
	var pods []*v1.Pod
	for _, e := range entries { // in the order of their names
		// The kubelet passes over files that begin with a dot, which editors make.
		if strings.HasPrefix(e.Name(), ".") || e.IsDir() {
			continue
		}
		pod, err := s.one(dir, e.Name())
		if err == nil && taken[pod.Namespace+"/"+pod.Name] != "" {
			err = fmt.Errorf("the Pod %s/%s is in %s already", pod.Namespace, pod.Name, taken[pod.Namespace+"/"+pod.Name])
		}
		if err != nil {
			wrong[e.Name()] = err
			continue
		}
		taken[pod.Namespace+"/"+pod.Name] = e.Name()
		pods = append(pods, pod)
	}
	return slices.Clip(pods), wrong, nil
}

func (s source) one(dir *os.Root, name string) (*v1.Pod, error) {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not block
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, errors.Join(err, errors.New("it is no regular file"))
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	if len(data) == 0 {
		return nil, errors.New("it is empty")
	}
	return s.decode(data, path.Join(Dir, filepath.Base(name)))
}
