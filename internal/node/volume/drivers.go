package volume

import (
	"context"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/csi"
)

// inline sets up a volume of a CSI driver that is written in the Pod, and returns when
// that has to be done again.
func (m *Manager) inline(ctx context.Context, pod *v1.Pod, v *v1.Volume) (time.Time, error) {
	have, had := m.claimed(pod.UID, v.Name)
	if had && !m.due(have) {
		return have.again, nil
	}
	c := claimed{name: v.Name, driver: true, readOnly: v.CSI.ReadOnly != nil && *v.CSI.ReadOnly}
	err := m.driven(ctx, pod, v, &c, csi.Volume{Inline: v.CSI})
	return c.again, err
}

// driven has a CSI driver make a volume, and notes where it is.
func (m *Manager) driven(ctx context.Context, pod *v1.Pod, v *v1.Volume, c *claimed, want csi.Volume) error {
	want.Pod, want.Name, want.ReadOnly = pod, v.Name, c.readOnly && (want.Claim == nil || readsOnly(pod, v))
	made, err := m.cfg.Drivers.SetUp(ctx, want)
	if err != nil {
		return err
	}
	c.path, c.again = made.Path, made.Again
	m.note(pod.UID, v.Name, *c)
	if want.Claim == nil || m.wasSetUp(pod.UID, v) {
		return nil
	}
	return m.noteSetUp(pod.UID, v)
}

// note keeps what a volume of a Pod was found to be.
func (m *Manager) note(uid types.UID, volume string, c claimed) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.claims[uid] == nil {
		m.claims[uid] = map[string]claimed{}
	}
	m.claims[uid][volume] = c
}

// tearDownDrivers ends the volumes of CSI drivers of a Pod. What is mounted of them
// elsewhere comes first, which would keep a driver from unmounting them.
func (m *Manager) tearDownDrivers(ctx context.Context, uid types.UID) error {
	if m.cfg.Drivers == nil {
		return nil
	}
	if err := m.cfg.Mounter.UnmountAllUnder(filepath.Join(m.PodDir(uid), subPathsDir)); err != nil {
		return err
	}
	return m.cfg.Drivers.TearDown(ctx, uid)
}

// driverStats are the figures that a driver tells of a volume.
func (m *Manager) driverStats(ctx context.Context, pod *v1.Pod, c claimed, s *Stats) bool {
	told, ok := m.cfg.Drivers.Stats(ctx, pod.UID, c.name)
	if !ok {
		return false
	}
	s.Used, s.Capacity, s.Available = told.Used, told.Capacity, told.Available
	s.InodesUsed, s.Inodes, s.InodesFree = told.InodesUsed, told.Inodes, told.InodesFree
	return true
}
