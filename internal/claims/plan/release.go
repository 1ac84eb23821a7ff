package plan

import (
	"slices"

	v1 "k8s.io/api/core/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

// protected is the finalizer of Kubernetes' controller: a claim is bound to the
// PersistentVolume.
const protected = "kubernetes.io/pv-protection"

// Ours tells whether a PersistentVolume is a directory of a node, and returns that
// node's kubernetes.io/hostname.
func Ours(pv *v1.PersistentVolume) (hostname string, ok bool) {
	if pv.Annotations[storagevolume.AnnDynamicallyProvisioned] != Provisioner || pv.Spec.Local == nil {
		return "", false
	}
	affinity := pv.Spec.NodeAffinity
	if affinity == nil || affinity.Required == nil || len(affinity.Required.NodeSelectorTerms) != 1 {
		return "", false
	}
	terms := affinity.Required.NodeSelectorTerms[0].MatchExpressions
	if len(terms) != 1 || terms[0].Key != v1.LabelHostname || terms[0].Operator != v1.NodeSelectorOpIn || len(terms[0].Values) != 1 {
		return "", false
	}
	return terms[0].Values[0], true
}

// Action is what is to be done about a PersistentVolume.
type Action struct {
	RemoveDirectory bool // with all that is in it
	Delete          bool // the object
	Release         bool // the object from Finalizer
}

// Reclaim decides what is to be done about a PersistentVolume of ours. Its
// directory goes once the claim that it was made for is gone, if the reclaim policy
// is Delete; with Retain it stays, and with it the data, when the object goes.
func Reclaim(pv *v1.PersistentVolume) Action {
	removes := pv.Spec.PersistentVolumeReclaimPolicy == v1.PersistentVolumeReclaimDelete
	switch {
	case pv.DeletionTimestamp != nil:
		if slices.Contains(pv.Finalizers, protected) || !slices.Contains(pv.Finalizers, Finalizer) {
			return Action{} // in use, or done
		}
		return Action{RemoveDirectory: removes, Release: true}
	case pv.Status.Phase == v1.VolumeReleased && removes:
		return Action{RemoveDirectory: true, Delete: true, Release: slices.Contains(pv.Finalizers, Finalizer)}
	}
	return Action{}
}
