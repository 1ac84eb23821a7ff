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

// nfsDir is where kubelets have the mounts of NFS exports in a Pod's directory.
const nfsDir = "volumes/kubernetes.io~nfs"

// inlineNFS mounts an export that is written in the Pod.
func (m *Manager) inlineNFS(ctx context.Context, pod *v1.Pod, v *v1.Volume) error {
	return m.mountNFS(ctx, m.path(pod.UID, v), host.NFS{Server: v.NFS.Server, Path: v.NFS.Path, ReadOnly: v.NFS.ReadOnly})
}

// claimedNFS mounts the export that a claim is bound to. As in kubelet, the files keep
// their group: the server's users are not the node's.
func (m *Manager) claimedNFS(ctx context.Context, pod *v1.Pod, v *v1.Volume, pv *v1.PersistentVolume, c *claimed) error {
	c.path, c.remote = filepath.Join(m.PodDir(pod.UID), nfsDir, pv.Name), true
	c.readOnly = c.readOnly || pv.Spec.NFS.ReadOnly
	err := m.mountNFS(ctx, c.path, host.NFS{
		Server: pv.Spec.NFS.Server, Path: pv.Spec.NFS.Path, Options: mountOptions(pv),
		ReadOnly: pv.Spec.NFS.ReadOnly || c.readOnly && readsOnly(pod, v),
	})
	if err != nil {
		return err
	}
	m.note(pod.UID, v.Name, *c)
	if m.wasSetUp(pod.UID, v) {
		return nil
	}
	return m.noteSetUp(pod.UID, v)
}

// nfsPatience is how long a mount is waited for, the search for the server included.
const nfsPatience = 30 * time.Second

// mountNFS mounts an export at dir, unless it is, and waits for that for a while. Nothing is
// asked of the server about a mount that is there: it may not answer. One that takes
// connections and does not answer keeps the kernel in the mount. It fails where dir was
// removed meanwhile.
func (m *Manager) mountNFS(ctx context.Context, dir string, e host.NFS) error {
	call, err := m.callNFS(ctx, dir, e)
	if err != nil || call == nil {
		return err
	}
	return call.await(ctx, nfsPatience, func() error {
		return fmt.Errorf("mount the NFS export %s: the server has not answered for %v; look whether it serves NFS. The mount is still waited for", call.of, nfsPatience)
	})
}

// callNFS begins a mount, or returns the one that is under way; nil where the export is
// mounted.
func (m *Manager) callNFS(ctx context.Context, dir string, e host.NFS) (*mountCall, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.mounted[dir] {
		return nil, nil
	}
	if call := m.calls[dir]; call != nil {
		return call, nil
	}
	// Not of dir itself, which would ask the server.
	points, err := m.cfg.Mounter.MountsUnder(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	if slices.Contains(points, dir) {
		m.mounted[dir] = true
		return nil, nil
	}
	if err := makeDir(dir, 0o750, -1); err != nil {
		return nil, err
	}
	mount := func() error { return m.cfg.Mounter.MountNFS(ctx, dir, e) }
	return m.beginCall(dir, e.Server+":"+e.Path, "mount an NFS export", mount, func(err error) {
		if err == nil {
			m.mounted[dir] = true
		}
	}), nil
}

// detachNFS detaches the exports of a Pod before anything looks into its directories: a
// server that does not answer would keep whoever does.
func (m *Manager) detachNFS(uid types.UID) error {
	dir := filepath.Join(m.PodDir(uid), nfsDir)
	if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return m.cfg.Mounter.UnmountAllUnder(dir)
}
