package volume

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/kubernetes/third_party/forked/golang/expansion"

	"minato/internal/node/spec"
)

// Mounts lists what a container mounts of its Pod's volumes. Volumes have to be
// set up before; images are those of its volumes of that type, by their names,
// which the runtime mounts.
func (m *Manager) Mounts(pod *v1.Pod, c *v1.Container, env []*runtimeapi.KeyValue, images map[string]*runtimeapi.ImageSpec) ([]*runtimeapi.Mount, error) {
	var out []*runtimeapi.Mount
	for i := range c.VolumeMounts {
		vm := &c.VolumeMounts[i]
		v := find(pod, vm.Name)
		mount := &runtimeapi.Mount{
			ContainerPath: vm.MountPath,
			Readonly:      vm.ReadOnly || m.readOnly(pod, v),
			Propagation:   propagation(vm.MountPropagation),

			RecursiveReadOnly: spec.RecursiveReadOnly(vm),
		}
		if !filepath.IsAbs(mount.ContainerPath) {
			mount.ContainerPath = filepath.Join("/", mount.ContainerPath)
		}
		sub, err := subPath(vm, env)
		if err != nil {
			return nil, err
		}
		if v != nil && v.Image != nil {
			mount.Image, mount.ImageSubPath = images[vm.Name], sub
			if mount.Image == nil {
				return nil, fmt.Errorf("the image of volume %q is not there yet", vm.Name)
			}
		} else if mount.HostPath, err = m.source(pod, c, i, sub); err != nil {
			return nil, err
		}
		out = append(out, mount)
	}
	return out, nil
}

// source is the place of what a container mounts of a volume.
func (m *Manager) source(pod *v1.Pod, c *v1.Container, index int, sub string) (string, error) {
	name := c.VolumeMounts[index].Name
	source, err := m.Path(pod, name)
	if err != nil || sub == "" {
		return source, err
	}
	if source, err = m.bindNodeSubPath(pod, c, index, source, sub); err != nil {
		return "", fmt.Errorf("failed to prepare subPath for volumeMount %q of container %q: %w", name, c.Name, err)
	}
	return source, nil
}

// subPath is what is mounted of a volume, empty for all of it.
func subPath(vm *v1.VolumeMount, env []*runtimeapi.KeyValue) (string, error) {
	if vm.SubPathExpr == "" {
		return vm.SubPath, nil
	}
	return expandSubPath(vm.SubPathExpr, env)
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
	if filepath.IsAbs(sub) || slices.Contains(strings.Split(sub, "/"), "..") {
		return "", fmt.Errorf("subPathExpr %q gives %q, which must be relative and may not contain '..'", expr, sub)
	}
	return sub, nil
}

// readOnly tells whether containers get a volume read-only whatever they ask
// for, as kubelet has it: what the node writes from objects of the API must not
// be a place where a container can write too. Nor may they write to a claim that
// the Pod has read-only, and an image is everybody's.
func (m *Manager) readOnly(pod *v1.Pod, v *v1.Volume) bool {
	if isClaim(v) || v != nil && v.CSI != nil {
		c, _ := m.claimed(pod.UID, v.Name)
		return c.readOnly
	}
	return v != nil && (v.NFS != nil && v.NFS.ReadOnly || v.Image != nil || v.ConfigMap != nil || v.Secret != nil || v.DownwardAPI != nil || v.Projected != nil)
}

func find(pod *v1.Pod, name string) *v1.Volume {
	for i := range pod.Spec.Volumes {
		if pod.Spec.Volumes[i].Name == name {
			return &pod.Spec.Volumes[i]
		}
	}
	return nil
}
