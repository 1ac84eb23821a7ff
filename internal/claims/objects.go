package claims

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/client-go/tools/cache"
	storagevolume "k8s.io/component-helpers/storage/volume"

	"minato/internal/claims/plan"
)

// wanted returns a claim and its class; the claim is nil if it is gone or asks for
// no provisioner.
func (i Informers) wanted(name string) (*v1.PersistentVolumeClaim, *storagev1.StorageClass, error) {
	namespace, name, err := cache.SplitMetaNamespaceKey(name)
	if err != nil {
		return nil, nil, nil // no key of a claim
	}
	claim, err := i.Claims.Lister().PersistentVolumeClaims(namespace).Get(name)
	if err != nil {
		return nil, nil, ignoreNotFound(err)
	}
	asked := claim.Annotations[storagevolume.AnnStorageProvisioner]
	if asked != plan.Provisioner {
		return nil, nil, nil
	}
	class, err := i.Classes.Lister().Get(storagevolume.GetPersistentVolumeClaimClass(claim))
	if err != nil && claim.Spec.VolumeName == "" && claim.DeletionTimestamp == nil {
		return nil, nil, fmt.Errorf("read the StorageClass of claim %s/%s: %w", namespace, name, err)
	}
	return claim, class, nil
}

func aboutClaim(c *v1.PersistentVolumeClaim) v1.ObjectReference {
	return v1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: c.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion}
}

// source is who tells of something, as upstream's provisioners name themselves.
func source(node string) string {
	if node == "" {
		return plan.Provisioner
	}
	return plan.Provisioner + "_" + node
}
