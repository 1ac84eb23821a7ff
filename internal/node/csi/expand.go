package csi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/guard"
)

// expandPeriod is how often the claims of volumes in use are read, in case they have
// grown: a node may read single claims, and watch none.
const expandPeriod = 10 * time.Second

// candidate is a volume in use of a claim.
type candidate struct {
	use *use
	uid types.UID
}

// expandAll begins to grow the volumes in use whose PersistentVolume has grown, in
// group, one after the other of each driver: a driver that hangs keeps no other one
// waiting, and is left alone until it is done.
func (m *Manager) expandAll(ctx context.Context, group *sync.WaitGroup) {
	all := map[string][]candidate{}
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, volumes := range m.users {
		for _, u := range volumes {
			if u.done && u.claim != "" && !u.readOnly && !m.growing[u.Driver] {
				all[u.Driver] = append(all[u.Driver], candidate{u, uid})
			}
		}
	}
	for driver, volumes := range all {
		m.growing[driver] = true
		group.Go(func() {
			defer func() {
				m.mu.Lock()
				defer m.mu.Unlock()
				delete(m.growing, driver)
			}()
			for _, c := range volumes {
				m.tryExpand(ctx, c)
			}
		})
	}
}

// tryExpand tells of what went wrong.
func (m *Manager) tryExpand(ctx context.Context, c candidate) {
	err := guard.Do("grow a volume", func() error { return m.expandOne(ctx, c.uid, c.use) })
	if stack := guard.Stack(err); stack != nil {
		m.cfg.Logger.Error("the node agent panicked while it grew a volume", "claim", c.use.namespace+"/"+c.use.claim, "error", err, "stack", string(stack))
	} else if err != nil && ctx.Err() == nil {
		m.cfg.Logger.Warn("a volume could not be grown on the node; will try again", "claim", c.use.namespace+"/"+c.use.claim, "error", err)
	}
}

// expandOne reads the claim of a volume, and grows the volume if that is due.
func (m *Manager) expandOne(ctx context.Context, uid types.UID, u *use) error {
	d, err := m.driver(u.Driver)
	if err != nil {
		return nil // nobody to ask; the Pod's events tell
	}
	if able, err := m.has(ctx, d, spec.NodeServiceCapability_RPC_EXPAND_VOLUME); err != nil || !able {
		return err
	}
	claim, err := m.cfg.Client.CoreV1().PersistentVolumeClaims(u.namespace).Get(ctx, u.claim, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if claim.Spec.VolumeName != u.Name || !perhapsGrown(claim) { // it may be another claim of the same name by now
		return nil
	}
	pv, err := m.cfg.Client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, metav1.GetOptions{})
	if err != nil {
		return err
	}
	if source := pv.Spec.CSI; source == nil || source.Driver != u.Driver || source.VolumeHandle != u.Handle {
		return nil
	}
	unlock, err := m.lock(ctx, u.id())
	if err != nil {
		return err
	}
	defer unlock()
	m.mu.Lock()
	still := m.users[uid][escape(u.Name)] == u && u.done
	m.mu.Unlock()
	if !still {
		return nil
	}
	return m.expandIfGrown(ctx, d, u, pv, claim)
}

// perhapsGrown tells whether a claim asks for more than it has.
func perhapsGrown(claim *v1.PersistentVolumeClaim) bool {
	want, have := claim.Spec.Resources.Requests[v1.ResourceStorage], claim.Status.Capacity[v1.ResourceStorage]
	return want.Cmp(have) > 0
}

// expandIfGrown has the driver grow a volume whose PersistentVolume is larger than its
// claim says, which is so once the controller's part is done, and then writes to the
// claim what it has. The volume's lock is held.
func (m *Manager) expandIfGrown(ctx context.Context, d *driver, u *use, pv *v1.PersistentVolume, claim *v1.PersistentVolumeClaim) error {
	if claim == nil {
		return nil
	}
	size, have := pv.Spec.Capacity[v1.ResourceStorage], claim.Status.Capacity[v1.ResourceStorage]
	if size.Cmp(have) <= 0 || claim.Status.AllocatedResourceStatuses[v1.ResourceStorage] == v1.PersistentVolumeClaimNodeResizeInfeasible {
		return nil
	}
	able, err := m.has(ctx, d, spec.NodeServiceCapability_RPC_EXPAND_VOLUME)
	if err != nil || !able { // then the controller's part was all, and its resizer writes the claim
		return err
	}
	req, err := m.expandRequest(ctx, d, u, pv, size.Value())
	if err != nil {
		return err
	}
	if _, err := call(ctx, m, d, "NodeExpandVolume", nil, req, d.node.NodeExpandVolume); err != nil {
		m.cfg.Events.Event(claim, v1.EventTypeWarning, "VolumeResizeFailed", err.Error())
		if infeasible(err) && claim.Status.AllocatedResourceStatuses[v1.ResourceStorage] != "" {
			return m.writeClaim(ctx, claim, func(s *v1.PersistentVolumeClaimStatus) {
				s.AllocatedResourceStatuses[v1.ResourceStorage] = v1.PersistentVolumeClaimNodeResizeInfeasible
			})
		}
		return err
	}
	err = m.writeClaim(ctx, claim, func(s *v1.PersistentVolumeClaimStatus) {
		if s.Capacity == nil {
			s.Capacity = v1.ResourceList{}
		}
		s.Capacity[v1.ResourceStorage] = size
		delete(s.AllocatedResourceStatuses, v1.ResourceStorage)
		s.Conditions = slices.DeleteFunc(s.Conditions, func(c v1.PersistentVolumeClaimCondition) bool { return resizing[c.Type] })
	})
	if err != nil {
		return err
	}
	m.cfg.Events.Event(claim, v1.EventTypeNormal, "FileSystemResizeSuccessful", fmt.Sprintf("the node %s has grown the volume to %s", m.cfg.NodeName, size.String()))
	return nil
}

// resizing are the conditions of a claim that end with its growth.
var resizing = map[v1.PersistentVolumeClaimConditionType]bool{
	v1.PersistentVolumeClaimResizing:                true,
	v1.PersistentVolumeClaimFileSystemResizePending: true,
	v1.PersistentVolumeClaimControllerResizeError:   true,
	v1.PersistentVolumeClaimNodeResizeError:         true,
}

func (m *Manager) expandRequest(ctx context.Context, d *driver, u *use, pv *v1.PersistentVolume, size int64) (*spec.NodeExpandVolumeRequest, error) {
	uid, ok := m.ownerOf(u)
	if !ok {
		return nil, fmt.Errorf("no Pod of the node has the volume %s any more", u.Handle)
	}
	p := places(uid, &u.record)
	req := &spec.NodeExpandVolumeRequest{
		VolumeId: u.Handle, VolumePath: m.onNode(p.target), CapacityRange: &spec.CapacityRange{RequiredBytes: size},
	}
	stages, err := m.has(ctx, d, spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME)
	if err != nil {
		return nil, err
	}
	if stages {
		req.StagingTargetPath = m.onNode(p.staging)
	}
	if req.Secrets, err = m.secret(ctx, pv.Spec.CSI.NodeExpandSecretRef); err != nil {
		return nil, err
	}
	single, err := m.has(ctx, d, spec.NodeServiceCapability_RPC_SINGLE_NODE_MULTI_WRITER)
	if err != nil {
		return nil, err
	}
	mode := v1.ReadWriteOnce
	if len(pv.Spec.AccessModes) > 0 {
		mode = pv.Spec.AccessModes[0]
	}
	req.VolumeCapability = &spec.VolumeCapability{AccessMode: &spec.VolumeCapability_AccessMode{Mode: accessMode(mode, single)}}
	if u.Block {
		req.VolumeCapability.AccessType = &spec.VolumeCapability_Block{Block: &spec.VolumeCapability_BlockVolume{}}
	} else {
		req.VolumeCapability.AccessType = &spec.VolumeCapability_Mount{Mount: &spec.VolumeCapability_MountVolume{
			FsType: pv.Spec.CSI.FSType, MountFlags: pv.Spec.MountOptions,
		}}
	}
	return req, nil
}

// ownerOf is the Pod that has this use of a volume.
func (m *Manager) ownerOf(u *use) (types.UID, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for uid, volumes := range m.users {
		if volumes[escape(u.Name)] == u {
			return uid, true
		}
	}
	return "", false
}

// writeClaim changes the status of a claim, unless somebody else has changed it since
// it was read: then the next look sees that.
func (m *Manager) writeClaim(ctx context.Context, claim *v1.PersistentVolumeClaim, change func(*v1.PersistentVolumeClaimStatus)) error {
	next := claim.DeepCopy()
	change(&next.Status)
	status := map[string]any{"capacity": next.Status.Capacity, "conditions": next.Status.Conditions}
	statuses := map[string]any{}
	for name := range claim.Status.AllocatedResourceStatuses {
		statuses[string(name)] = nil // what is gone
	}
	for name, value := range next.Status.AllocatedResourceStatuses {
		statuses[string(name)] = value
	}
	if len(statuses) > 0 {
		status["allocatedResourceStatuses"] = statuses
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"resourceVersion": claim.ResourceVersion}, "status": status,
	})
	if err != nil {
		return err
	}
	_, err = m.cfg.Client.CoreV1().PersistentVolumeClaims(claim.Namespace).Patch(ctx, claim.Name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	return err
}
