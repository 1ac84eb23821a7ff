package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// emptyDir makes a directory that everybody may write to, or, for medium
// Memory, mounts a tmpfs.
func (m *Manager) emptyDir(pod *v1.Pod, v *v1.Volume) error {
	dir := m.path(pod.UID, v)
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	switch v.EmptyDir.Medium {
	case v1.StorageMediumDefault:
	case v1.StorageMediumMemory:
		if err := m.tmpfs(pod, v, dir); err != nil {
			return err
		}
	default:
		return fmt.Errorf("medium %q is not supported by this node; use Memory or leave it out", v.EmptyDir.Medium)
	}
	// A umask must not take from these bits. The set-group-ID bit hands the
	// group on to what is created inside.
	mode, gid := fs.FileMode(0o777), fsGroup(pod)
	if gid >= 0 {
		mode |= fs.ModeSetgid
		if err := os.Lchown(dir, -1, gid); err != nil {
			return err
		}
	}
	return os.Chmod(dir, mode)
}

func (m *Manager) tmpfs(pod *v1.Pod, v *v1.Volume, dir string) error {
	mounted, err := m.cfg.Mounter.MountsUnder(dir)
	if err != nil || slices.Contains(mounted, dir) {
		return err
	}
	options := "mode=0777"
	if limit := memoryLimit(pod, v); limit > 0 {
		options += fmt.Sprintf(",size=%d", limit)
	}
	return m.cfg.Mounter.MountTmpfs(dir, options)
}

// memoryLimit is the smaller of the volume's limit and what all containers of
// the Pod may use, zero for none.
func memoryLimit(pod *v1.Pod, v *v1.Volume) int64 {
	var total int64
	for i := range pod.Spec.Containers {
		q := pod.Spec.Containers[i].Resources.Limits[v1.ResourceMemory]
		if q.IsZero() {
			total = 0
			break
		}
		total += q.Value()
	}
	limit := v.EmptyDir.SizeLimit.Value()
	if limit > 0 && total > 0 {
		return min(limit, total)
	}
	return max(limit, total)
}

func fsGroup(pod *v1.Pod) int {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup)
	}
	return -1
}

// checkHostPath makes or checks what a hostPath volume asks for, on the node.
func checkHostPath(root Root, h *v1.HostPathVolumeSource) error {
	kind := v1.HostPathUnset
	if h.Type != nil {
		kind = *h.Type
	}
	switch kind {
	case v1.HostPathUnset:
		// Nothing is checked. Where there is nothing, container runtimes make
		// the directory that they are to mount, and manifests count on it.
		if _, err := root.Stat(h.Path); errors.Is(err, fs.ErrNotExist) {
			return root.MkdirAll(h.Path, 0o755)
		}
		return nil
	case v1.HostPathDirectoryOrCreate:
		if err := root.MkdirAll(h.Path, 0o755); err != nil {
			return err
		}
	case v1.HostPathFileOrCreate:
		f, err := root.OpenFile(h.Path, os.O_CREATE|os.O_RDONLY, 0o644)
		if err != nil && !errors.Is(err, os.ErrPermission) {
			return err
		}
		f.Close()
	}
	info, err := root.Stat(h.Path)
	if err != nil {
		return fmt.Errorf("hostPath type check failed: %s is not a %s: %w", h.Path, kindName(kind), err)
	}
	if !isKind(info.Mode(), kind) {
		return fmt.Errorf("hostPath type check failed: %s is not a %s", h.Path, kindName(kind))
	}
	return nil
}

func isKind(mode fs.FileMode, kind v1.HostPathType) bool {
	switch kind {
	case v1.HostPathDirectory, v1.HostPathDirectoryOrCreate:
		return mode.IsDir()
	case v1.HostPathFile, v1.HostPathFileOrCreate:
		return mode.IsRegular()
	case v1.HostPathSocket:
		return mode&fs.ModeSocket != 0
	case v1.HostPathCharDev:
		return mode&fs.ModeCharDevice != 0
	case v1.HostPathBlockDev:
		return mode&fs.ModeDevice != 0 && mode&fs.ModeCharDevice == 0
	}
	return false
}

func kindName(kind v1.HostPathType) string {
	switch kind {
	case v1.HostPathDirectory, v1.HostPathDirectoryOrCreate:
		return "directory"
	case v1.HostPathFile, v1.HostPathFileOrCreate:
		return "file"
	case v1.HostPathSocket:
		return "socket file"
	case v1.HostPathCharDev:
		return "character device"
	case v1.HostPathBlockDev:
		return "block device"
	}
	return string(kind)
}

// typeName is the name that a volume's type has in a manifest.
func typeName(v *v1.Volume) string {
	source := reflect.ValueOf(v.VolumeSource)
	for i := range source.NumField() {
		if source.Field(i).IsNil() {
			continue
		}
		name, _, _ := strings.Cut(source.Type().Field(i).Tag.Get("json"), ",")
		return name
	}
	return "unknown"
}

// subPathDir is where the bind mounts of a Pod's subPaths are.
func (m *Manager) subPathDir(pod *v1.Pod) string {
	return filepath.Join(m.PodDir(pod.UID), "volume-subpaths")
}
