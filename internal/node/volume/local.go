package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper"

	"minato/internal/node/spec"
)

// emptyDir makes a directory that everybody may write to, or, for medium
// Memory, mounts a tmpfs. One that is there is left as it is: from then on its
// mode is the containers' matter.
func (m *Manager) emptyDir(pod *v1.Pod, v *v1.Volume) error {
	dir := m.path(pod.UID, v)
	switch v.EmptyDir.Medium {
	case v1.StorageMediumDefault:
		mode, gid := fs.FileMode(0o777), fsGroup(pod)
		if gid >= 0 {
			mode |= fs.ModeSetgid // hands the group on to what is created inside
		}
		return makeDir(dir, mode, gid)
	case v1.StorageMediumMemory:
		return m.inMemory(dir, func() error { return m.cfg.Mounter.MountTmpfs(dir, tmpfsOptions(pod, v)) })
	}
	if !helper.IsHugePageMedium(v.EmptyDir.Medium) {
		return fmt.Errorf("medium %q is not supported by this node; use Memory, HugePages or leave it out", v.EmptyDir.Medium)
	}
	size, err := spec.HugePageVolume(pod, v.EmptyDir.Medium)
	if err != nil {
		return err
	}
	options, limit := "mode=0777", int64(0)
	if gid := fsGroup(pod); gid >= 0 {
		options = fmt.Sprintf("mode=02777,gid=%d", gid)
	}
	if l := v.EmptyDir.SizeLimit; l != nil {
		limit = l.Value()
	}
	return m.inMemory(dir, func() error { return m.cfg.Mounter.MountHugePages(dir, size, limit, options) })
}

// inMemory mounts a volume unless that was done.
func (m *Manager) inMemory(dir string, mount func() error) error {
	m.mu.Lock()
	done := m.mounted[dir]
	m.mu.Unlock()
	if done {
		return nil
	}
	if err := makeDir(dir, 0o750, -1); err != nil {
		return err
	}
	points, err := m.cfg.Mounter.MountsUnder(dir)
	if err != nil {
		return err
	}
	if !slices.Contains(points, dir) {
		if err := mount(); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.mounted[dir] = true
	m.mu.Unlock()
	return nil
}

// tmpfsOptions has the mount set mode and group, so that nothing has to be
// changed where a container may have been already. What is in memory stays off
// the swap device, as kubelet has it.
func tmpfsOptions(pod *v1.Pod, v *v1.Volume) string {
	options := "mode=0777,noswap"
	if gid := fsGroup(pod); gid >= 0 {
		options = fmt.Sprintf("mode=02777,gid=%d,noswap", gid)
	}
	if limit := memoryLimit(pod, v.EmptyDir); limit > 0 {
		options += fmt.Sprintf(",size=%d", limit)
	}
	return options
}

// memoryLimit is the smaller of the volume's limit and the memory that the Pod
// may use as a whole, in bytes; zero is none of both, which is the kernel's
// own limit of half of the memory.
func memoryLimit(pod *v1.Pod, e *v1.EmptyDirVolumeSource) int64 {
	limit := spec.PodMemoryLimit(pod)
	if e.SizeLimit == nil || e.SizeLimit.Sign() <= 0 {
		return limit
	}
	if own := e.SizeLimit.Value(); limit == 0 || own < limit {
		return own
	}
	return limit
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
		if err := makeFile(root, h.Path); err != nil {
			return err
		}
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

// makeFile makes an empty file unless there is something. What is there is not
// opened: a device may do something when it is, such as start a watchdog.
func makeFile(root Root, path string) error {
	if _, err := root.Stat(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := root.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o644) // also where a link leads
	if err != nil {
		return err
	}
	return f.Close()
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
func typeName(v *v1.Volume) string { return fieldName(v.VolumeSource) }

// persistentType is the same for a PersistentVolume.
func persistentType(pv *v1.PersistentVolume) string { return fieldName(pv.Spec.PersistentVolumeSource) }

// fieldName is the name, in a manifest, of the one field that is set.
func fieldName(sources any) string {
	source := reflect.ValueOf(sources)
	for i := range source.NumField() {
		if source.Field(i).IsNil() {
			continue
		}
		name, _, _ := strings.Cut(source.Type().Field(i).Tag.Get("json"), ",")
		return name
	}
	return "unknown"
}
