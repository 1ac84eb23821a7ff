package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/host"
)

// localDir is where kubelets have the mounts of local PersistentVolumes in a Pod's
// directory. A directory is only there when it has mountOptions: containers mount it
// where it is.
const localDir = "volumes/kubernetes.io~local-volume"

// localPlace is the place of a PersistentVolume in a Pod.
func (m *Manager) localPlace(uid types.UID, pv string) string {
	return filepath.Join(m.PodDir(uid), localDir, pv)
}

// localMounted tells whether a local PersistentVolume was mounted for the Pod, by this
// agent or an earlier one: then what its path leads to by now does not matter.
func (m *Manager) localMounted(uid types.UID, pv string) (bool, error) {
	place := m.localPlace(uid, pv)
	points, err := m.cfg.Mounter.MountsUnder(place)
	return slices.Contains(points, place), err
}

// hadPlace tells whether the Pod has a place for the PersistentVolume: whether it was
// mounted, before a boot for example.
func (m *Manager) hadPlace(uid types.UID, pv string) bool {
	_, err := os.Lstat(m.localPlace(uid, pv))
	return err == nil
}

// mountLocal mounts a local PersistentVolume for a Pod, at a place of the Pod's own that
// goes with it, if it is a device or has mountOptions. c.path becomes that place.
func (m *Manager) mountLocal(ctx context.Context, pod *v1.Pod, v *v1.Volume, pv *v1.PersistentVolume, c *claimed, source *os.File, isDevice bool) error {
	place := m.localPlace(pod.UID, pv.Name)
	if err := makeDir(place, 0o750, -1); err != nil {
		return err
	}
	readOnly := c.readOnly && readsOnly(pod, v)
	if isDevice {
		if err := m.mountOpened(ctx, pv, place, source, readOnly); err != nil {
			return err
		}
	} else if err := m.cfg.Mounter.BindWith(source, place, mountOptions(pv), readOnly); err != nil {
		return err
	}
	c.path = place
	return nil
}

// devicePatience is how long a device is waited for that is formatted, checked or locked
// by another one, before it is told that it lasts.
const devicePatience = lockPatience + 10*time.Second

// mountOpened mounts a device at a place, and waits for that for a while, or until the Pod
// is to go: the programs that format and check it run to their end, which may take hours.
// It fails where place was removed meanwhile.
func (m *Manager) mountOpened(ctx context.Context, pv *v1.PersistentVolume, place string, source *os.File, readOnly bool) error {
	call, err := m.callDevice(ctx, pv, place, source, readOnly)
	if err != nil {
		return err
	}
	return call.await(ctx, devicePatience, func() error {
		return fmt.Errorf("the device %s is still being checked, formatted or mounted after %v, and is waited for: look for fsck and mkfs among the machine's processes, and into the kernel's log (dmesg) for errors of the device", call.of, devicePatience)
	})
}

// callDevice begins a mount, or returns the one that is under way. The place is opened
// without following a link: CSI drivers can write to the directories of Pods.
func (m *Manager) callDevice(ctx context.Context, pv *v1.PersistentVolume, place string, source *os.File, readOnly bool) (*mountCall, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if call := m.calls[place]; call != nil {
		return call, nil
	}
	target, err := m.openPlace(place)
	if err != nil {
		return nil, err
	}
	d, err := m.cfg.Mounter.OpenDevice(source)
	if err != nil {
		return nil, errors.Join(err, target.Close())
	}
	mount := func() error {
		defer target.Close()
		defer d.Close()
		return m.mountDevice(ctx, d, pv, host.FilePath(target), readOnly)
	}
	return m.beginCall(place, d.Name(), "mount a device", mount, func(error) {}), nil
}

// openPlace opens a directory below Dir, or what is mounted there.
func (m *Manager) openPlace(place string) (*os.File, error) {
	rel, err := filepath.Rel(m.cfg.Dir, place)
	if err != nil {
		return nil, err
	}
	return host.OpenBeneath(m.cfg.Dir, rel)
}

// isBlockDevice tells whether an open file is one.
func isBlockDevice(info fs.FileInfo) bool { return isKind(info.Mode(), v1.HostPathBlockDev) }
