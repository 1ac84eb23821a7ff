package volume

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	storagevolume "k8s.io/component-helpers/storage/volume"

	"minato/internal/host"
	"minato/internal/node/csi"
)

// Claims reads the claims of a Pod and what they are bound to, as they are now.
type Claims interface {
	PersistentVolumeClaim(ctx context.Context, namespace, name string) (*v1.PersistentVolumeClaim, error)
	PersistentVolume(ctx context.Context, name string) (*v1.PersistentVolume, error)
}

// claimed is a PersistentVolume in a Pod.
type claimed struct {
	name     string // of the PersistentVolume; of a volume that is written in the Pod, its own
	path     string // where it is on the node
	readOnly bool
	alone    bool // no second Pod may have it
	// device says that path is a block device; driver, that a CSI driver has made it;
	// remote, that a server has the files, which may not answer.
	device, driver, remote bool
	// again is when the driver has to be asked anew, zero for never.
	again time.Time
}

// claimed returns what a volume of a Pod has been found to be.
func (m *Manager) claimed(uid types.UID, volume string) (claimed, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	c, ok := m.claims[uid][volume]
	return c, ok
}

func isClaim(v *v1.Volume) bool {
	return v != nil && (v.PersistentVolumeClaim != nil || v.Ephemeral != nil)
}

// claim sets up what the Pod's claim is bound to, and returns when a driver has to be
// asked again. What it is bound to is looked up once: a claim is bound for good.
func (m *Manager) claim(ctx context.Context, pod *v1.Pod, v *v1.Volume) (time.Time, error) {
	have, had := m.claimed(pod.UID, v.Name)
	if had && !m.due(have) {
		return have.again, nil
	}
	pvc, err := m.boundClaim(ctx, pod, v)
	if err != nil {
		return time.Time{}, err
	}
	pv, err := m.boundVolume(ctx, pvc)
	if err != nil {
		return time.Time{}, err
	}
	if err := m.fits(ctx, pod, v, pv); err != nil {
		return time.Time{}, fmt.Errorf("claim %s/%s, PersistentVolume %s: %w", pvc.Namespace, pvc.Name, pv.Name, err)
	}
	c := claimed{name: pv.Name, alone: hasMode(pv, v1.ReadWriteOncePod), device: isBlock(pv), driver: pv.Spec.CSI != nil}
	c.readOnly = v.PersistentVolumeClaim != nil && v.PersistentVolumeClaim.ReadOnly
	first, err := m.take(pod.UID, v.Name, &c, pv)
	switch {
	case err != nil:
	case c.driver:
		err = m.driven(ctx, pod, v, &c, csi.Volume{Persistent: pv, Claim: pvc})
	case pv.Spec.NFS != nil:
		err = m.claimedNFS(ctx, pod, v, pv, &c)
	case c.device:
		err = m.deviceOf(pod, v, &c)
	default:
		err = m.prepare(ctx, pod, v, pv, &c, first)
	}
	if err != nil {
		if !had {
			m.give(pod.UID, v.Name)
		}
		return time.Time{}, fmt.Errorf("claim %s/%s, PersistentVolume %s: %w", pvc.Namespace, pvc.Name, pv.Name, err)
	}
	return c.again, nil
}

// due tells whether a driver has to be asked again for a volume.
func (m *Manager) due(c claimed) bool {
	return !c.again.IsZero() && !m.cfg.Clock.Now().Before(c.again)
}

// boundClaim reads the claim of a volume and checks what kubelet checks of it.
func (m *Manager) boundClaim(ctx context.Context, pod *v1.Pod, v *v1.Volume) (*v1.PersistentVolumeClaim, error) {
	name := ephemeral.VolumeClaimName(pod, v)
	if v.PersistentVolumeClaim != nil {
		name = v.PersistentVolumeClaim.ClaimName
	}
	pvc, err := m.cfg.Claims.PersistentVolumeClaim(ctx, pod.Namespace, name)
	if err != nil {
		return nil, err
	}
	if v.Ephemeral != nil {
		if err := ephemeral.VolumeIsForPod(pod, pvc); err != nil {
			return nil, err
		}
	}
	if pvc.DeletionTimestamp != nil && !m.wasSetUp(pod.UID, v) {
		return nil, fmt.Errorf("the claim %s/%s is being deleted; make it again once it is gone", pvc.Namespace, pvc.Name)
	}
	if pvc.Status.Phase != v1.ClaimBound || pvc.Spec.VolumeName == "" {
		return nil, fmt.Errorf("the claim %s/%s is not bound; `kubectl describe pvc %s -n %s` tells why", pvc.Namespace, pvc.Name, pvc.Name, pvc.Namespace)
	}
	return pvc, nil
}

// boundVolume reads the PersistentVolume that a claim says it is bound to.
func (m *Manager) boundVolume(ctx context.Context, pvc *v1.PersistentVolumeClaim) (*v1.PersistentVolume, error) {
	pv, err := m.cfg.Claims.PersistentVolume(ctx, pvc.Spec.VolumeName)
	if err != nil {
		return nil, err
	}
	if ref := pv.Spec.ClaimRef; ref == nil || ref.UID != pvc.UID {
		return nil, fmt.Errorf("the PersistentVolume %s is not bound to the claim %s/%s any more", pv.Name, pvc.Namespace, pvc.Name)
	}
	return pv, nil
}

// fits tells whether this node can give a Pod this PersistentVolume.
func (m *Manager) fits(ctx context.Context, pod *v1.Pod, v *v1.Volume, pv *v1.PersistentVolume) error {
	device, mounted := uses(pod, v.Name)
	if isBlock(pv) && mounted {
		return errors.New("its volumeMode is Block, and the Pod names it in volumeMounts; name it in volumeDevices")
	}
	if !isBlock(pv) && device {
		return errors.New("its volumeMode is Filesystem, and the Pod names it in volumeDevices; name it in volumeMounts")
	}
	if pv.Spec.HostPath != nil && len(mountOptions(pv)) > 0 {
		return errNoOptions
	}
	if isBlock(pv) && pv.Spec.NFS != nil {
		return errors.New("its volumeMode is Block, and an NFS export is no device; use Filesystem")
	}
	if pv.Spec.HostPath == nil && pv.Spec.Local == nil && pv.Spec.NFS == nil && (pv.Spec.CSI == nil || m.cfg.Drivers == nil) {
		return unsupported(persistentType(pv))
	}
	if pv.Spec.NodeAffinity == nil {
		return nil
	}
	labels, err := m.cfg.NodeLabels(ctx)
	if err != nil {
		return fmt.Errorf("read the labels of the node: %w", err)
	}
	if err := storagevolume.CheckNodeAffinity(pv, labels); err != nil {
		return fmt.Errorf("its nodeAffinity does not allow this node: %w", err)
	}
	return nil
}

// take notes that a Pod has a PersistentVolume, unless another Pod has it for
// itself. first says that no other Pod of the node has it.
func (m *Manager) take(uid types.UID, volume string, c *claimed, pv *v1.PersistentVolume) (first bool, err error) {
	if c.path = filepath.Clean(localPath(pv)); pv.Spec.HostPath != nil {
		c.path = pv.Spec.HostPath.Path
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if had, ok := m.claims[uid][volume]; ok || c.driver {
		// A driver that is asked again has made it there, and is asked until it answers.
		c.path, c.again = had.path, had.again
	}
	first = true
	for other, has := range m.claims {
		for _, o := range has {
			if other == uid || o.name != c.name {
				continue
			}
			if c.alone || o.alone {
				return false, fmt.Errorf("it has the access mode ReadWriteOncePod and is in use by the Pod with the UID %s", other)
			}
			first = false
		}
	}
	if m.claims[uid] == nil {
		m.claims[uid] = map[string]claimed{}
	}
	m.claims[uid][volume] = *c
	return first, nil
}

// give takes back what take has noted.
func (m *Manager) give(uid types.UID, volume string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if delete(m.claims[uid], volume); len(m.claims[uid]) == 0 {
		delete(m.claims, uid)
	}
}

// prepare checks that the volume's files are there, mounts those that are on a device of
// their own, and gives them to the Pod's group: for its first Pod on the node, once, as
// kubelet does. Volumes of type hostPath never change hands, in kubelet either.
func (m *Manager) prepare(ctx context.Context, pod *v1.Pod, v *v1.Volume, pv *v1.PersistentVolume, c *claimed, first bool) error {
	done := m.wasSetUp(pod.UID, v)
	if pv.Spec.HostPath != nil {
		if done {
			return nil
		}
		if err := checkHostPath(m.cfg.Root, pv.Spec.HostPath); err != nil {
			return err
		}
		return m.noteSetUp(pod.UID, v)
	}
	dir, err := m.localFiles(ctx, pod, v, pv, c, done)
	if err != nil || dir == nil {
		return err
	}
	defer dir.Close()
	m.note(pod.UID, v.Name, *c)
	if done {
		return nil
	}
	if gid := fsGroup(pod); gid >= 0 && first && !c.readOnly {
		if err := host.OwnByGroup(ctx, dir, gid, onRootMismatch(pod)); err != nil {
			return err
		}
	}
	return m.noteSetUp(pod.UID, v)
}

// localFiles opens the directory of a local volume, which it mounts if need be. There is
// none to look at where one that is mounted nowhere else was set up before.
func (m *Manager) localFiles(ctx context.Context, pod *v1.Pod, v *v1.Volume, pv *v1.PersistentVolume, c *claimed, done bool) (*os.File, error) {
	if mounted, err := m.localMounted(pod.UID, pv.Name); err != nil {
		return nil, err
	} else if mounted {
		c.path = m.localPlace(pod.UID, pv.Name)
		return m.openPlace(c.path)
	}
	source, err := m.cfg.Root.OpenPath(c.path)
	if errors.Is(err, fs.ErrNotExist) {
		if done && !m.hadPlace(pod.UID, pv.Name) {
			return nil, nil
		}
		return nil, fmt.Errorf("the directory or block device %s of the local volume does not exist on this node; make it there", c.path)
	}
	if err != nil {
		return nil, err
	}
	info, err := source.Stat()
	if err == nil && info.IsDir() && len(mountOptions(pv)) == 0 {
		return source, nil
	}
	defer source.Close()
	if err != nil {
		return nil, err
	}
	if !info.IsDir() && !isBlockDevice(info) {
		return nil, fmt.Errorf("%s is neither a directory nor a block device", c.path)
	}
	if err := m.mountLocal(ctx, pod, v, pv, c, source, !info.IsDir()); err != nil {
		return nil, err
	}
	return m.openPlace(c.path)
}

// onRootMismatch is the Pod's fsGroupChangePolicy.
func onRootMismatch(pod *v1.Pod) bool {
	sc := pod.Spec.SecurityContext
	return sc != nil && sc.FSGroupChangePolicy != nil && *sc.FSGroupChangePolicy == v1.FSGroupChangeOnRootMismatch
}

// wasSetUp tells whether this agent or an earlier one has set a claim up for the
// Pod; noteSetUp notes it beside the Pod's volumes.
func (m *Manager) wasSetUp(uid types.UID, v *v1.Volume) bool {
	_, err := os.Lstat(m.record(uid, v))
	return err == nil
}

func (m *Manager) noteSetUp(uid types.UID, v *v1.Volume) error {
	return writer{record: m.record(uid, v)}.remember("")
}

func hasMode(pv *v1.PersistentVolume, mode v1.PersistentVolumeAccessMode) bool {
	for _, have := range pv.Spec.AccessModes {
		if have == mode {
			return true
		}
	}
	return false
}

func localPath(pv *v1.PersistentVolume) string {
	if pv.Spec.Local == nil {
		return ""
	}
	return pv.Spec.Local.Path
}

// unsupported is the error for a volume of a type that the node does not know.
func unsupported(kind string) error {
	return fmt.Errorf("volumes of type %s are not supported by this node; use emptyDir, hostPath, image, configMap, secret, downwardAPI, projected, nfs, or a claim to a PersistentVolume of type hostPath, local, nfs or csi. What is mounted on the machine is seen by its nodes, and can be given to Pods so", kind)
}
