package csi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/guard"
)

// sideBySide is how many volumes of a Pod are ended at the same time: a driver that is
// slow keeps no other volume waiting, and one with many is not flooded.
const sideBySide = 8

// TearDown unpublishes all volumes of a Pod, side by side, and unstages those that
// nothing else on the node has. Doing it twice is fine. An error leaves what could not be
// undone for the next call.
func (m *Manager) TearDown(ctx context.Context, uid types.UID) error {
	m.mu.Lock()
	var all []*use
	for _, u := range m.users[uid] {
		all = append(all, u)
	}
	m.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	root, err := m.root()
	if err != nil {
		return err
	}
	defer root.Close()
	slices.SortFunc(all, func(a, b *use) int { return strings.Compare(a.Name, b.Name) })
	errs := make([]error, len(all))
	var group errgroup.Group
	group.SetLimit(sideBySide)
	for i, u := range all {
		group.Go(func() error {
			err := guard.Do("end a volume", func() error { return m.undo(ctx, root, uid, u) })
			if err != nil {
				errs[i] = fmt.Errorf("UnmountVolume.TearDown failed for volume %q : %w", u.Name, err)
			}
			return nil
		})
	}
	_ = group.Wait() // each has its place in errs
	return errors.Join(errs...)
}

// undo ends one volume of a Pod.
func (m *Manager) undo(ctx context.Context, root *os.Root, uid types.UID, u *use) error {
	p := places(uid, &u.record)
	if _, err := root.Lstat(path.Join(p.dir, dataFile)); errors.Is(err, fs.ErrNotExist) {
		m.leave(uid, u.Name) // the driver was never asked
		if u.Attached {
			m.cfg.Report()
		}
		return nil
	}
	d, err := m.driver(u.Driver)
	if err != nil {
		return err
	}
	unlock, err := m.lock(ctx, u.id())
	if err != nil {
		return err
	}
	defer unlock()
	m.mu.Lock()
	u.done = false
	m.mu.Unlock()
	req := &spec.NodeUnpublishVolumeRequest{VolumeId: u.Handle, TargetPath: m.onNode(p.target)}
	if _, err := call(ctx, m, d, "NodeUnpublishVolume", nil, req, d.node.NodeUnpublishVolume); err != nil {
		return err
	}
	if err := m.clear(root, p.target); err != nil {
		return err
	}
	if u.Lifecycle != "Ephemeral" && !m.others(u) {
		if err := m.unstage(ctx, root, d, &u.record, p); err != nil {
			return err
		}
	}
	if err := removeFiles(root, path.Join(p.dir, "."+dataFile), path.Join(p.dir, dataFile), p.dir); err != nil {
		return err
	}
	m.leave(uid, u.Name)
	if u.Attached {
		m.cfg.Report()
	}
	return nil
}

// unstage ends a volume on the node.
func (m *Manager) unstage(ctx context.Context, root *os.Root, d *driver, r *record, p place) error {
	stages, err := m.has(ctx, d, spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME)
	if err != nil {
		return err
	}
	if stages {
		m.mu.Lock()
		delete(m.staged, r.id())
		m.mu.Unlock()
		req := &spec.NodeUnstageVolumeRequest{VolumeId: r.Handle, StagingTargetPath: m.onNode(p.staging)}
		if _, err := call(ctx, m, d, "NodeUnstageVolume", nil, req, d.node.NodeUnstageVolume); err != nil {
			return err
		}
	}
	if err := m.clear(root, p.staging); err != nil {
		return err
	}
	if r.Block {
		return removeFiles(root, path.Dir(p.target))
	}
	volume := path.Dir(p.staging)
	return removeFiles(root, path.Join(volume, "."+dataFile), path.Join(volume, dataFile), volume)
}

// clear removes the place of a mount, which the driver should have removed. Were
// something still mounted there, it would be a user's: so nothing below it is removed.
func (m *Manager) clear(root *os.Root, place string) error {
	info, err := root.Lstat(place)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode().Type() != fs.ModeSymlink { // which no driver has reason to make
		if err := m.cfg.Mounter.Unmount(m.here(place)); err != nil {
			return err
		}
	}
	if m.isMounted(m.here(place)) {
		return fmt.Errorf("the driver has answered that the volume is gone, and it is still mounted at %s", m.onNode(place))
	}
	return removeFiles(root, place)
}

// removeFiles removes files and empty directories; those that are not there are fine.
func removeFiles(root *os.Root, names ...string) error {
	for _, name := range names {
		if err := root.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
