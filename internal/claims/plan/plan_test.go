package plan

import (
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	storagevolume "k8s.io/component-helpers/storage/volume"
)

func to[T any](v T) *T { return &v }

func claim() *v1.PersistentVolumeClaim {
	return &v1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data-web-0", UID: "u1", Annotations: map[string]string{
			storagevolume.AnnStorageProvisioner: Provisioner, storagevolume.AnnSelectedNode: "node-2",
		}},
		Spec: v1.PersistentVolumeClaimSpec{
			AccessModes: []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
			Resources:   v1.VolumeResourceRequirements{Requests: v1.ResourceList{v1.ResourceStorage: resource.MustParse("1Gi")}},
		},
	}
}

func class() *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "standard"}, Provisioner: Provisioner,
		VolumeBindingMode: to(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

func TestWanted(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1.PersistentVolumeClaim, *storagev1.StorageClass)
		node   string
		ok     bool
	}{
		"asked for": {func(*v1.PersistentVolumeClaim, *storagev1.StorageClass) {}, "node-2", true},
		"no node yet": {func(c *v1.PersistentVolumeClaim, _ *storagev1.StorageClass) {
			delete(c.Annotations, storagevolume.AnnSelectedNode)
		}, "", true},
		"not asked for": {func(c *v1.PersistentVolumeClaim, _ *storagev1.StorageClass) { c.Annotations = nil }, "", false},
		"bound":         {func(c *v1.PersistentVolumeClaim, _ *storagev1.StorageClass) { c.Spec.VolumeName = "pv" }, "", false},
		"being deleted": {func(c *v1.PersistentVolumeClaim, _ *storagev1.StorageClass) {
			c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}, "", false},
		"another provisioner's": {func(_ *v1.PersistentVolumeClaim, s *storagev1.StorageClass) { s.Provisioner = "example.com/other" }, "", false},
	} {
		c, s := claim(), class()
		test.change(c, s)
		if node, ok := Wanted(c, s); node != test.node || ok != test.ok {
			t.Errorf("%s: %q %v, want %q %v", name, node, ok, test.node, test.ok)
		}
	}
	if _, ok := Wanted(claim(), nil); ok {
		t.Error("a claim without a class is wanted")
	}
}

func TestRefuse(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1.PersistentVolumeClaimSpec, *storagev1.StorageClass)
		want   string
	}{
		"usual": {func(*v1.PersistentVolumeClaimSpec, *storagev1.StorageClass) {}, ""},
		"one Pod": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) {
			c.AccessModes[0] = v1.ReadWriteOncePod
		}, ""},
		"shared":  {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) { c.AccessModes[0] = v1.ReadWriteMany }, "spec.accessModes ReadWriteMany"},
		"no mode": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) { c.AccessModes = nil }, "spec.accessModes is empty"},
		"block": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) {
			c.VolumeMode = to(v1.PersistentVolumeBlock)
		}, "spec.volumeMode Block"},
		"source": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) {
			c.DataSource = &v1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "c"}
			c.DataSourceRef = &v1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "c"}
		}, "spec.dataSource, the PersistentVolumeClaim c, is not supported"},
		"source of a populator": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) {
			c.DataSource = &v1.TypedLocalObjectReference{APIGroup: to("backups.example"), Kind: "Backup", Name: "b"}
			c.DataSourceRef = &v1.TypedObjectReference{APIGroup: to("backups.example"), Kind: "Backup", Name: "b"}
		}, "spec.dataSourceRef, the Backup.backups.example b, is not supported"},
		"source without a ref": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) {
			c.DataSource = &v1.TypedLocalObjectReference{APIGroup: to("snapshot.storage.k8s.io"), Kind: "VolumeSnapshot", Name: "s"}
		}, "spec.dataSource, the VolumeSnapshot.snapshot.storage.k8s.io s, is not supported"},
		"source ref": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) {
			c.DataSourceRef = &v1.TypedObjectReference{APIGroup: to("backups.example"), Kind: "Backup", Name: "b"}
		}, "spec.dataSourceRef, the Backup.backups.example b, is not supported"},
		"selector": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) { c.Selector = &metav1.LabelSelector{} }, "spec.selector"},
		"attributes": {func(c *v1.PersistentVolumeClaimSpec, _ *storagev1.StorageClass) {
			c.VolumeAttributesClassName = to("fast")
		}, "spec.volumeAttributesClassName fast"},
		"immediate": {func(_ *v1.PersistentVolumeClaimSpec, s *storagev1.StorageClass) {
			s.VolumeBindingMode = to(storagev1.VolumeBindingImmediate)
		}, "WaitForFirstConsumer"},
		"no binding": {func(_ *v1.PersistentVolumeClaimSpec, s *storagev1.StorageClass) { s.VolumeBindingMode = nil }, "WaitForFirstConsumer"},
		"parameters": {func(_ *v1.PersistentVolumeClaimSpec, s *storagev1.StorageClass) {
			s.Parameters = map[string]string{"a": "b"}
		}, "parameters"},
		"options":      {func(_ *v1.PersistentVolumeClaimSpec, s *storagev1.StorageClass) { s.MountOptions = []string{"ro"} }, "mountOptions"},
		"expansion":    {func(_ *v1.PersistentVolumeClaimSpec, s *storagev1.StorageClass) { s.AllowVolumeExpansion = to(true) }, "allowVolumeExpansion"},
		"no expansion": {func(_ *v1.PersistentVolumeClaimSpec, s *storagev1.StorageClass) { s.AllowVolumeExpansion = to(false) }, ""},
	} {
		c, s := claim(), class()
		test.change(&c.Spec, s)
		r := Refuse(c, s)
		if (r == nil) != (test.want == "") || r != nil && !strings.Contains(r.Message, test.want) {
			t.Errorf("%s: %v, want %q", name, r, test.want)
		}
	}
}

func TestVolume(t *testing.T) {
	s := class()
	pv := Volume(claim(), s, "host-2", "/volumes/pvc-u1")
	if pv.Name != "pvc-u1" || pv.Spec.ClaimRef.UID != "u1" || pv.Spec.Local.Path != "/volumes/pvc-u1" || pv.Spec.StorageClassName != "standard" {
		t.Errorf("%+v", pv)
	}
	if size := pv.Spec.Capacity[v1.ResourceStorage]; size.String() != "1Gi" || pv.Annotations[SizeAnnotation] == "" {
		t.Errorf("capacity %s, annotations %v", size.String(), pv.Annotations)
	}
	if pv.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimDelete {
		t.Errorf("policy %s", pv.Spec.PersistentVolumeReclaimPolicy)
	}
	if host, ok := Ours(pv); host != "host-2" || !ok {
		t.Errorf("ours: %q %v", host, ok)
	}
	if err := storagevolume.CheckNodeAffinity(pv, map[string]string{v1.LabelHostname: "host-2"}); err != nil {
		t.Error(err)
	}
	if storagevolume.CheckNodeAffinity(pv, map[string]string{v1.LabelHostname: "host-1"}) == nil {
		t.Error("the volume can be used on another node")
	}
	s.ReclaimPolicy = to(v1.PersistentVolumeReclaimRetain)
	if pv := Volume(claim(), s, "h", "/p"); pv.Spec.PersistentVolumeReclaimPolicy != v1.PersistentVolumeReclaimRetain {
		t.Errorf("policy %s", pv.Spec.PersistentVolumeReclaimPolicy)
	}
}

func TestOurs(t *testing.T) {
	for name, change := range map[string]func(*v1.PersistentVolume){
		"another's":   func(pv *v1.PersistentVolume) { pv.Annotations = nil },
		"hostPath":    func(pv *v1.PersistentVolume) { pv.Spec.Local = nil },
		"no affinity": func(pv *v1.PersistentVolume) { pv.Spec.NodeAffinity = nil },
		"empty":       func(pv *v1.PersistentVolume) { pv.Spec.NodeAffinity = &v1.VolumeNodeAffinity{} },
		"two terms": func(pv *v1.PersistentVolume) {
			r := pv.Spec.NodeAffinity.Required
			r.NodeSelectorTerms = append(r.NodeSelectorTerms, r.NodeSelectorTerms[0])
		},
		"two nodes": func(pv *v1.PersistentVolume) {
			e := &pv.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0]
			e.Values = append(e.Values, "other")
		},
	} {
		pv := Volume(claim(), class(), "h", "/p")
		if change(pv); func() bool { _, ok := Ours(pv); return ok }() {
			t.Errorf("%s: is taken for ours", name)
		}
	}
}

func TestReclaim(t *testing.T) {
	now := &metav1.Time{Time: time.Unix(1, 0)}
	for name, test := range map[string]struct {
		change func(*v1.PersistentVolume)
		want   Action
	}{
		"bound":    {func(pv *v1.PersistentVolume) { pv.Status.Phase = v1.VolumeBound }, Action{}},
		"released": {func(pv *v1.PersistentVolume) { pv.Status.Phase = v1.VolumeReleased }, Action{RemoveDirectory: true, Delete: true, Release: true}},
		"failed":   {func(pv *v1.PersistentVolume) { pv.Status.Phase = v1.VolumeFailed }, Action{}},
		"released, retained": {func(pv *v1.PersistentVolume) {
			pv.Status.Phase = v1.VolumeReleased
			pv.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
		}, Action{}},
		"deleted in use": {func(pv *v1.PersistentVolume) {
			pv.DeletionTimestamp, pv.Finalizers = now, append(pv.Finalizers, protected)
		}, Action{}},
		"deleted": {func(pv *v1.PersistentVolume) { pv.DeletionTimestamp = now }, Action{RemoveDirectory: true, Release: true}},
		"deleted, retained": {func(pv *v1.PersistentVolume) {
			pv.DeletionTimestamp = now
			pv.Spec.PersistentVolumeReclaimPolicy = v1.PersistentVolumeReclaimRetain
		}, Action{Release: true}},
		"done": {func(pv *v1.PersistentVolume) { pv.DeletionTimestamp, pv.Finalizers = now, nil }, Action{}},
	} {
		pv := Volume(claim(), class(), "h", "/p")
		test.change(pv)
		if a := Reclaim(pv); a != test.want {
			t.Errorf("%s: %+v, want %+v", name, a, test.want)
		}
	}
}
