package csi

import (
	"context"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// object reads the CSIDriver of a driver; nil means that it has none, which is fine.
func (m *Manager) object(ctx context.Context, driver string) (*storagev1.CSIDriver, error) {
	o, err := m.cfg.Client.StorageV1().CSIDrivers().Get(ctx, driver, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the CSIDriver %s: %w", driver, err)
	}
	return o, nil
}

// needsAttach is the CSIDriver's attachRequired.
func needsAttach(o *storagev1.CSIDriver) bool {
	return o == nil || o.Spec.AttachRequired == nil || *o.Spec.AttachRequired
}

// lifecycles are the CSIDriver's volumeLifecycleModes.
func lifecycles(o *storagev1.CSIDriver) []storagev1.VolumeLifecycleMode {
	if o == nil || len(o.Spec.VolumeLifecycleModes) == 0 {
		return []storagev1.VolumeLifecycleMode{storagev1.VolumeLifecyclePersistent}
	}
	return o.Spec.VolumeLifecycleModes
}

func republishes(o *storagev1.CSIDriver) bool {
	return o != nil && o.Spec.RequiresRepublish != nil && *o.Spec.RequiresRepublish
}

func wantsPodInfo(o *storagev1.CSIDriver) bool {
	return o != nil && o.Spec.PodInfoOnMount != nil && *o.Spec.PodInfoOnMount
}

// changesGroup is the CSIDriver's fsGroupPolicy: whether the node gives the volume to
// the Pod's fsGroup.
func changesGroup(o *storagev1.CSIDriver, pv *v1.PersistentVolume, inline *v1.CSIVolumeSource) bool {
	policy := storagev1.ReadWriteOnceWithFSTypeFSGroupPolicy
	if o != nil && o.Spec.FSGroupPolicy != nil {
		policy = *o.Spec.FSGroupPolicy
	}
	switch policy {
	case storagev1.FileFSGroupPolicy:
		return true
	case storagev1.NoneFSGroupPolicy:
		return false
	}
	if pv == nil { // an inline volume, whose access mode is always ReadWriteOnce
		return inline.FSType != nil && *inline.FSType != ""
	}
	return pv.Spec.CSI.FSType != "" &&
		(slices.Contains(pv.Spec.AccessModes, v1.ReadWriteOnce) || slices.Contains(pv.Spec.AccessModes, v1.ReadWriteOncePod))
}

func fsGroup(pod *v1.Pod) int {
	if sc := pod.Spec.SecurityContext; sc != nil && sc.FSGroup != nil {
		return int(*sc.FSGroup)
	}
	return -1
}

// onRootMismatch is the Pod's fsGroupChangePolicy.
func onRootMismatch(pod *v1.Pod) bool {
	sc := pod.Spec.SecurityContext
	return sc != nil && sc.FSGroupChangePolicy != nil && *sc.FSGroupChangePolicy == v1.FSGroupChangeOnRootMismatch
}

func isBlock(pv *v1.PersistentVolume) bool {
	return pv.Spec.VolumeMode != nil && *pv.Spec.VolumeMode == v1.PersistentVolumeBlock
}
