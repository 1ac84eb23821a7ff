package volume

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"
)

// Mounts lists what a container mounts of its Pod's volumes. Volumes have to be
// set up before.
func (m *Manager) Mounts(pod *v1.Pod, c *v1.Container, env []*runtimeapi.KeyValue) ([]*runtimeapi.Mount, error) {
	var out []*runtimeapi.Mount
	for i := range c.VolumeMounts {
		vm := &c.VolumeMounts[i]
		source, err := m.Path(pod, vm.Name)
		if err != nil {
			return nil, err
		}
		sub := vm.SubPath
		if vm.SubPathExpr != "" {
			if sub, err = expandSubPath(vm.SubPathExpr, env); err != nil {
				return nil, err
			}
		}
		if sub != "" {
			if source, err = m.bindNodeSubPath(pod, c, i, source, sub); err != nil {
				return nil, fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", vm.Name, c.Name, err)
			}
		}
		target := vm.MountPath
		if !filepath.IsAbs(target) {
			target = filepath.Join("/", target)
		}
		out = append(out, &runtimeapi.Mount{
			HostPath:      source,
			ContainerPath: target,
			Readonly:      vm.ReadOnly,
			Propagation:   propagation(vm.MountPropagation),

			RecursiveReadOnly: vm.RecursiveReadOnly != nil && *vm.RecursiveReadOnly == v1.RecursiveReadOnlyEnabled,
		})
	}
	return out, nil
}

func propagation(mode *v1.MountPropagationMode) runtimeapi.MountPropagation {
	switch {
	case mode == nil:
	case *mode == v1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case *mode == v1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	}
	return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
}

func expandSubPath(expr string, env []*runtimeapi.KeyValue) (string, error) {
	vars := make(map[string]string, len(env))
	for _, kv := range env {
		vars[kv.Key] = string(kv.Value)
	}
	var unknown []string
	sub := expansion.Expand(expr, func(name string) string {
		v, ok := vars[name]
		if !ok {
			unknown = append(unknown, name)
		}
		return v
	})
	if len(unknown) > 0 {
		return "", fmt.Errorf("missing value for %q", strings.Join(unknown, ", "))
	}
	if _, err := cleanPath(sub); err != nil {
		return "", err
	}
	return sub, nil
}

// bindSubPath makes one file or directory of a volume appear at a path of its
// own, and returns that path. A container of the Pod may have put symbolic
// links into the volume that lead out of it, and may change them at any moment:
// so the target is opened without ever leaving the volume, and the open file,
// not its name, is mounted.
func (m *Manager) bindSubPath(pod *v1.Pod, c *v1.Container, index int, volume, sub string) (string, error) {
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", err
	}
	defer root.Close()
	f, err := openSubPath(root, sub)
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
	if err := m.cfg.Mounter.BindMount(fmt.Sprintf("/proc/self/fd/%d", f.Fd()), target, false); err != nil {
		return "", err
	}
	return target, nil
}

// openSubPath opens what sub names, making it a directory if there is nothing.
func openSubPath(root *os.Root, sub string) (*os.File, error) {
	const flags = os.O_RDONLY | syscall.O_NONBLOCK // a FIFO must not block
	f, err := root.OpenFile(sub, flags, 0)
	if !errors.Is(err, os.ErrNotExist) {
		return f, err
	}
	info, err := root.Stat(".")
	if err != nil {
		return nil, err
	}
	if err := root.MkdirAll(sub, info.Mode().Perm()); err != nil {
		return nil, err
	}
	return root.OpenFile(sub, flags, 0)
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
		return os.MkdirAll(target, 0o755)
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(target, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}
