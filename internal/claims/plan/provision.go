package plan

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// Refusal is why no directory is made for a claim, with what to do about it.
type Refusal struct{ Message string }

func refuse(format string, args ...any) *Refusal { return &Refusal{fmt.Sprintf(format, args...)} }

// Wanted tells whether a claim waits for this provisioner, as Kubernetes'
// controller says by an annotation, and on which node; that is empty where no node
// has been selected for it.
func Wanted(claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass) (node string, ok bool) {
	asked := claim.Annotations[storagevolume.AnnStorageProvisioner]
	if asked == "" {
		asked = claim.Annotations[storagevolume.AnnBetaStorageProvisioner]
	}
	if asked != Provisioner || class == nil || class.Provisioner != Provisioner || claim.Spec.VolumeName != "" || claim.DeletionTimestamp != nil {
		return "", false
	}
	return claim.Annotations[storagevolume.AnnSelectedNode], true
}

// VolumeName is the name of the PersistentVolume for a claim.
func VolumeName(claim *v1.PersistentVolumeClaim) string { return "pvc-" + string(claim.UID) }

// Refuse returns why no node can give a claim what it asks for, nil if one can.
func Refuse(claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass) *Refusal {
	if r := refuseClass(class); r != nil {
		return r
	}
	spec := &claim.Spec
	switch {
	case spec.DataSource != nil || spec.DataSourceRef != nil:
		return refuse("%s: a directory of StorageClass %s begins empty; leave it out and copy the data by a Pod, or name the StorageClass of a CSI driver", source(spec), class.Name)
	case spec.VolumeMode != nil && *spec.VolumeMode == v1.PersistentVolumeBlock:
		return refuse("spec.volumeMode Block is not supported by StorageClass %s, which makes directories; use Filesystem", class.Name)
	case spec.Selector != nil:
		return refuse("spec.selector is for PersistentVolumes that exist, and the StorageClass %s makes new ones; leave it out, or set spec.storageClassName to \"\"", class.Name)
	case spec.VolumeAttributesClassName != nil && *spec.VolumeAttributesClassName != "":
		return refuse("spec.volumeAttributesClassName %s is not supported: a directory has no attributes; leave it out", *spec.VolumeAttributesClassName)
	case len(spec.AccessModes) == 0:
		return refuse("spec.accessModes is empty; use ReadWriteOnce or ReadWriteOncePod")
	}
	for _, mode := range spec.AccessModes {
		if mode != v1.ReadWriteOnce && mode != v1.ReadWriteOncePod {
			return refuse("spec.accessModes %s is not supported by StorageClass %s, whose directories are on one node each; use ReadWriteOnce, with which all Pods of the node can write, or make a PersistentVolume of storage that nodes share", mode, class.Name)
		}
	}
	return nil
}

// source says what a claim is to be made from. The API server has each of the two fields
// say what the other one does; dataSource by itself takes claims and snapshots only.
func source(spec *v1.PersistentVolumeClaimSpec) string {
	field, group, kind, name := "dataSource", "", "", ""
	if d := spec.DataSourceRef; d != nil {
		kind, name = d.Kind, d.Name
		if d.APIGroup != nil {
			group = *d.APIGroup
		}
		if group != "" && group != "snapshot.storage.k8s.io" || spec.DataSource == nil {
			field = "dataSourceRef"
		}
	} else {
		kind, name = spec.DataSource.Kind, spec.DataSource.Name
		if spec.DataSource.APIGroup != nil {
			group = *spec.DataSource.APIGroup
		}
	}
	if group != "" {
		kind += "." + group
	}
	return fmt.Sprintf("spec.%s, the %s %s, is not supported", field, kind, name)
}

func refuseClass(class *storagev1.StorageClass) *Refusal {
	switch {
	case class.VolumeBindingMode == nil || *class.VolumeBindingMode != storagev1.VolumeBindingWaitForFirstConsumer:
		return refuse("StorageClass %s has the volumeBindingMode Immediate, but a directory is on the node of its first Pod; make the class with WaitForFirstConsumer", class.Name)
	case len(class.Parameters) > 0:
		return refuse("StorageClass %s has parameters, and the provisioner %s has none; make the class without", class.Name, Provisioner)
	case len(class.MountOptions) > 0:
		return refuse("StorageClass %s has mountOptions, but directories are not mounted; make the class without", class.Name)
	case class.AllowVolumeExpansion != nil && *class.AllowVolumeExpansion:
		return refuse("StorageClass %s has allowVolumeExpansion, but a directory has no size that could grow; make the class without", class.Name)
	}
	return nil
}

// Volume is the PersistentVolume for a claim that nothing refuses: the directory
// path of the node whose label kubernetes.io/hostname is hostname.
func Volume(claim *v1.PersistentVolumeClaim, class *storagev1.StorageClass, hostname, path string) *v1.PersistentVolume {
	policy := v1.PersistentVolumeReclaimDelete
	if class.ReclaimPolicy != nil {
		policy = *class.ReclaimPolicy
	}
	mode := v1.PersistentVolumeFilesystem
	return &v1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{
			Name:        VolumeName(claim),
			Finalizers:  []string{Finalizer},
			Annotations: map[string]string{storagevolume.AnnDynamicallyProvisioned: Provisioner, SizeAnnotation: SizeNote},
		},
		Spec: v1.PersistentVolumeSpec{
			Capacity:                      v1.ResourceList{v1.ResourceStorage: claim.Spec.Resources.Requests[v1.ResourceStorage]},
			AccessModes:                   slices.Clone(claim.Spec.AccessModes),
			PersistentVolumeReclaimPolicy: policy,
			StorageClassName:              class.Name,
			VolumeMode:                    &mode,
			ClaimRef: &v1.ObjectReference{
				Kind: "PersistentVolumeClaim", APIVersion: "v1", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID,
			},
			PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: path}},
			NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
				MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{hostname}}},
			}}}},
		},
	}
}
