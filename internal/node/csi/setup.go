package csi

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"time"

	spec "github.com/container-storage-interface/spec/lib/go/csi"
	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"minato/internal/host"
)

// republishPeriod is how often a volume is published anew whose CSIDriver has
// requiresRepublish.
const republishPeriod = time.Minute

// Volume is a volume of a Pod.
type Volume struct {
	Pod *v1.Pod
	// Name is that in the Pod.
	Name string
	// Persistent and Claim are what the Pod's claim is bound to and the claim; Inline
	// is a volume that is written in the Pod. One of both is set.
	Persistent *v1.PersistentVolume
	Claim      *v1.PersistentVolumeClaim
	Inline     *v1.CSIVolumeSource
	ReadOnly   bool
}

// Made is a volume that can be used.
type Made struct {
	// Path is where it is, a directory or, for a block volume, a device.
	Path string
	// Again is when SetUp is to be called once more, zero for never.
	Again time.Time
}

// request is what one SetUp works with.
type request struct {
	*Volume
	record record
	place  place
	driver *driver
	object *storagev1.CSIDriver // nil: the driver has none
	// attached is what the attacher has to say to the driver.
	attached map[string]string
	slow     func(string)
}

// SetUp makes a volume. It waits until the volume is attached and for the driver, each
// within a bound of time; what was begun when it fails is undone by TearDown.
func (m *Manager) SetUp(ctx context.Context, v Volume) (Made, error) {
	r, err := m.request(ctx, &v)
	if err != nil {
		return Made{}, err
	}
	u := m.enter(v.Pod.UID, &r.record)
	m.mu.Lock()
	if v.Claim != nil {
		u.namespace, u.claim = v.Claim.Namespace, v.Claim.Name
	}
	u.readOnly = v.ReadOnly
	// The CSIDriver may have been made anew with attachRequired since the last try.
	u.Attached = u.Attached || r.record.Attached
	m.mu.Unlock()
	made := Made{Path: m.here(r.place.target), Again: r.again()}
	if done, published := m.state(u); (done || published && m.isMounted(made.Path)) && !republishes(r.object) {
		m.finish(u)
		return made, nil
	}
	if r.driver, err = m.driver(r.record.Driver); err != nil {
		return Made{}, err
	}
	if err := m.begin(r, u); err != nil {
		return Made{}, err
	}
	if r.record.Attached {
		if r.attached, err = m.awaitAttached(ctx, r.record.id(), limitPeriod(r.object) > 0); err != nil {
			return Made{}, m.exhausted(ctx, r, err)
		}
	}
	unlock, err := m.lock(ctx, r.record.id())
	if err != nil {
		return Made{}, err
	}
	defer unlock()
	if err := m.make(ctx, r, u); err != nil {
		return Made{}, err
	}
	return made, nil
}

// request looks up what there is to know about a volume, and refuses what the driver
// does not support.
func (m *Manager) request(ctx context.Context, v *Volume) (*request, error) {
	r := &request{Volume: v, slow: func(message string) {
		m.cfg.Events.Event(v.Pod, v1.EventTypeWarning, "VolumeDriverSlow", fmt.Sprintf("volume %q: %s", v.Name, message))
	}}
	r.record.Node = m.cfg.NodeName
	if v.Inline != nil {
		r.record.Name, r.record.Driver = v.Name, v.Inline.Driver
		r.record.Handle, r.record.Lifecycle = inlineHandle(v.Pod.UID, v.Name), string(storagev1.VolumeLifecycleEphemeral)
	} else {
		source := v.Persistent.Spec.CSI
		r.record.Name, r.record.Driver, r.record.Handle = v.Persistent.Name, source.Driver, source.VolumeHandle
		r.record.Lifecycle = string(storagev1.VolumeLifecyclePersistent)
		r.record.Block = isBlock(v.Persistent)
		r.record.Attach = attachmentName(r.record.id(), m.cfg.NodeName)
	}
	r.place = places(v.Pod.UID, &r.record)
	var err error
	if r.object, err = m.object(ctx, r.record.Driver); err != nil {
		return nil, err
	}
	mode := storagev1.VolumeLifecycleMode(r.record.Lifecycle)
	if !slices.Contains(lifecycles(r.object), mode) {
		return nil, fmt.Errorf("the CSI driver %s does not support the volumeLifecycleMode %s: its CSIDriver has volumeLifecycleModes %v; use a claim for Persistent, and a volume of type csi in the Pod for Ephemeral", r.record.Driver, mode, lifecycles(r.object))
	}
	r.record.Attached = v.Inline == nil && needsAttach(r.object)
	return r, nil
}

// again is when the volume has to be published anew.
func (r *request) again() time.Time {
	if !republishes(r.object) {
		return time.Time{}
	}
	return time.Now().Add(republishPeriod)
}

// begin notes what is about to be made.
func (m *Manager) begin(r *request, u *use) error {
	_, r.record.Published = m.state(u)
	root, err := m.root()
	if err != nil {
		return err
	}
	defer root.Close()
	if err := r.record.write(root, r.place.dir); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	u.begun = true
	return nil
}

// make stages and publishes. The volume's lock is held.
func (m *Manager) make(ctx context.Context, r *request, u *use) error {
	root, err := m.root()
	if err != nil {
		return err
	}
	defer root.Close()
	if r.Persistent != nil {
		if err := m.stage(ctx, root, r); err != nil {
			return err
		}
	}
	if err := m.publish(ctx, root, r); err != nil {
		return err
	}
	// Each time, as in the kubelet: a driver may have made it anew, or other files in it.
	if err := m.ownByGroup(ctx, root, r); err != nil {
		return err
	}
	if r.Persistent != nil && !r.ReadOnly { // a file system that is mounted read-only can't grow
		if err := m.expandIfGrown(ctx, r.driver, u, r.Persistent, r.Claim); err != nil {
			return err
		}
	}
	if !r.record.Published {
		r.record.Published = true
		if err := r.record.write(root, r.place.dir); err != nil {
			return err
		}
	}
	m.finish(u)
	return nil
}

// state tells whether this process has published a volume, or knows that, and whether
// any has.
func (m *Manager) state(u *use) (done, published bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return u.done, u.Published
}

func (m *Manager) finish(u *use) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u.done, u.Published = true, true
}

// stage has the driver stage a volume once on the node, if it wants to.
func (m *Manager) stage(ctx context.Context, root *os.Root, r *request) error {
	stages, err := m.has(ctx, r.driver, spec.NodeServiceCapability_RPC_STAGE_UNSTAGE_VOLUME)
	if err != nil {
		return err
	}
	m.mu.Lock()
	done := m.staged[r.record.id()]
	m.mu.Unlock()
	if !stages {
		r.place.staging = ""
		return nil
	}
	if done {
		return nil
	}
	if err := root.MkdirAll(r.place.staging, 0o750); err != nil {
		return err
	}
	if !r.record.Block {
		if err := r.record.write(root, path.Dir(r.place.staging)); err != nil {
			return err
		}
	}
	source := r.Persistent.Spec.CSI
	secrets, err := m.secret(ctx, source.NodeStageSecretRef)
	if err != nil {
		return err
	}
	capability, err := m.capability(ctx, r)
	if err != nil {
		return err
	}
	req := &spec.NodeStageVolumeRequest{
		VolumeId: r.record.Handle, PublishContext: r.attached, StagingTargetPath: m.onNode(r.place.staging),
		VolumeCapability: capability, Secrets: secrets, VolumeContext: source.VolumeAttributes,
	}
	if _, err := call(ctx, m, r.driver, "NodeStageVolume", r.slow, req, r.driver.node.NodeStageVolume); err != nil {
		return err
	}
	m.mu.Lock()
	m.staged[r.record.id()] = true
	m.mu.Unlock()
	return nil
}

// publish has the driver publish a volume to the Pod.
func (m *Manager) publish(ctx context.Context, root *os.Root, r *request) error {
	if err := root.MkdirAll(path.Dir(r.place.target), 0o750); err != nil {
		return err
	}
	req := &spec.NodePublishVolumeRequest{
		VolumeId: r.record.Handle, PublishContext: r.attached, TargetPath: m.onNode(r.place.target), Readonly: r.ReadOnly,
	}
	if r.Persistent != nil && r.place.staging != "" {
		req.StagingTargetPath = m.onNode(r.place.staging)
	}
	var err error
	if req.VolumeCapability, err = m.capability(ctx, r); err != nil {
		return err
	}
	if req.Secrets, err = m.secret(ctx, r.publishSecret()); err != nil {
		return err
	}
	if err := m.tellOfPod(ctx, r, req); err != nil {
		return err
	}
	if _, err := call(ctx, m, r.driver, "NodePublishVolume", r.slow, req, r.driver.node.NodePublishVolume); err != nil {
		return err
	}
	if _, err := root.Lstat(r.place.target); err != nil {
		return fmt.Errorf("the CSI driver %s has answered NodePublishVolume, and nothing is at %s: its container needs the node's /var/lib/kubelet with mountPropagation Bidirectional: %w", r.driver.name, m.onNode(r.place.target), err)
	}
	return nil
}

// ownByGroup gives a volume to the Pod's group, where its CSIDriver has that be done by
// the node and the driver does not do it itself.
func (m *Manager) ownByGroup(ctx context.Context, root *os.Root, r *request) error {
	gid := fsGroup(r.Pod)
	if gid < 0 || r.ReadOnly || r.record.Block || !changesGroup(r.object, r.Persistent, r.Inline) {
		return nil
	}
	if own, err := m.has(ctx, r.driver, spec.NodeServiceCapability_RPC_VOLUME_MOUNT_GROUP); own || err != nil {
		return err
	}
	dir, err := root.Open(r.place.target)
	if err != nil {
		return err
	}
	defer dir.Close()
	return host.OwnByGroup(ctx, dir, gid, onRootMismatch(r.Pod))
}

// isMounted tells whether something is mounted at path.
func (m *Manager) isMounted(path string) bool {
	points, err := m.cfg.Mounter.MountsUnder(path)
	return err == nil && slices.Contains(points, path)
}

// errDetached is why a volume can't be used that the attach-detach controller has not
// attached.
var errDetached = errors.New("is not attached to the node yet")
