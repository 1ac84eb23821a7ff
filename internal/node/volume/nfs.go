package volume

import (
	"context"
	"path/filepath"
	"slices"

	v1 "k8s.io/api/core/v1"

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
		Server: pv.Spec.NFS.Server, Path: pv.Spec.NFS.Path, ReadOnly: c.readOnly, Options: pv.Spec.MountOptions,
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

// mountNFS mounts an export at dir, unless it is. Nothing is asked of the server about a
// mount that is there: it may not answer.
func (m *Manager) mountNFS(ctx context.Context, dir string, e host.NFS) error {
	m.mu.Lock()
	done := m.mounted[dir]
	m.mu.Unlock()
	if done {
		return nil
	}
	points, err := m.cfg.Mounter.MountsUnder(dir)
	if err != nil {
		return err
	}
	if !slices.Contains(points, dir) {
		if err := makeDir(dir, 0o750, -1); err != nil {
			return err
		}
		if err := m.cfg.Mounter.MountNFS(ctx, dir, e); err != nil {
			return err
		}
	}
	m.mu.Lock()
	m.mounted[dir] = true
	m.mu.Unlock()
	return nil
}
