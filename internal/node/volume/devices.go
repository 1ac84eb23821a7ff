package volume

import (
	"fmt"
	"path/filepath"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/host"
)

// deviceOf sets up a hostPath or local PersistentVolume that is a block device. The
// container runtime is given a device of the Pod's own with the same numbers: what the
// path on the node leads to may change, and what a Pod has been given may not.
func (m *Manager) deviceOf(pod *v1.Pod, v *v1.Volume, c *claimed) error {
	f, err := m.cfg.Root.OpenPath(c.path)
	if err != nil {
		return fmt.Errorf("look up the block device %s on the node: %w", c.path, err)
	}
	defer f.Close()
	own := filepath.Join(m.PodDir(pod.UID), "volumeDevices", v.Name)
	if err := host.CopyBlockDevice(f, own); err != nil {
		return fmt.Errorf("%s of a PersistentVolume whose volumeMode is Block: %w", c.path, err)
	}
	c.path = own
	m.note(pod.UID, v.Name, *c)
	if m.wasSetUp(pod.UID, v) {
		return nil
	}
	return m.noteSetUp(pod.UID, v)
}

// Devices lists the volumes that a container has as block devices. Volumes have to be
// set up before.
func (m *Manager) Devices(pod *v1.Pod, c *v1.Container) ([]*runtimeapi.Device, error) {
	var out []*runtimeapi.Device
	for i := range c.VolumeDevices {
		d := &c.VolumeDevices[i]
		have, ok := m.claimed(pod.UID, d.Name)
		if !ok || !have.device {
			return nil, fmt.Errorf("volume %q of pod %s/%s is no block volume that is set up; volumeDevices takes claims with volumeMode Block", d.Name, pod.Namespace, pod.Name)
		}
		permissions := "mrw"
		if have.readOnly {
			permissions = "mr"
		}
		out = append(out, &runtimeapi.Device{HostPath: have.path, ContainerPath: d.DevicePath, Permissions: permissions})
	}
	return out, nil
}

func isBlock(pv *v1.PersistentVolume) bool {
	return pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == v1.PersistentVolumeBlock
}

// uses tells whether containers of the Pod want the volume as a device, and whether
// they mount it.
func uses(pod *v1.Pod, volume string) (device, mounted bool) {
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for j := range list[i].VolumeDevices {
				device = device || list[i].VolumeDevices[j].Name == volume
			}
			for j := range list[i].VolumeMounts {
				mounted = mounted || list[i].VolumeMounts[j].Name == volume
			}
		}
	}
	return device, mounted
}
