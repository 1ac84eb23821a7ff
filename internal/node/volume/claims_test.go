package volume

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// fakeClaims has claims and PersistentVolumes by name.
type fakeClaims struct {
	claims  map[string]*v1.PersistentVolumeClaim
	volumes map[string]*v1.PersistentVolume
	reads   int
}

func (f *fakeClaims) PersistentVolumeClaim(_ context.Context, _, name string) (*v1.PersistentVolumeClaim, error) {
	f.reads++
	if c := f.claims[name]; c != nil {
		return c, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "persistentvolumeclaim"}, name)
}

func (f *fakeClaims) PersistentVolume(_ context.Context, name string) (*v1.PersistentVolume, error) {
	if v := f.volumes[name]; v != nil {
		return v, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "persistentvolume"}, name)
}

func ptr[T any](v T) *T { return &v }

// claimBench has the claim "c" bound to the local PersistentVolume "pv", a directory.
func claimBench(t *testing.T) (b *bench, f *fakeClaims, dir string) {
	b, dir = newBench(t), t.TempDir()
	f = &fakeClaims{
		claims: map[string]*v1.PersistentVolumeClaim{"c": {
			ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "c", UID: "cu"},
			Spec:       v1.PersistentVolumeClaimSpec{VolumeName: "pv"},
			Status:     v1.PersistentVolumeClaimStatus{Phase: v1.ClaimBound},
		}},
		volumes: map[string]*v1.PersistentVolume{"pv": {
			ObjectMeta: metav1.ObjectMeta{Name: "pv"},
			Spec: v1.PersistentVolumeSpec{
				ClaimRef:               &v1.ObjectReference{UID: "cu"},
				AccessModes:            []v1.PersistentVolumeAccessMode{v1.ReadWriteOnce},
				PersistentVolumeSource: v1.PersistentVolumeSource{Local: &v1.LocalVolumeSource{Path: dir}},
				NodeAffinity: &v1.VolumeNodeAffinity{Required: &v1.NodeSelector{NodeSelectorTerms: []v1.NodeSelectorTerm{{
					MatchExpressions: []v1.NodeSelectorRequirement{{Key: v1.LabelHostname, Operator: v1.NodeSelectorOpIn, Values: []string{"n"}}},
				}}}},
			},
		}},
	}
	b.cfg.Claims = f
	b.cfg.NodeLabels = func(context.Context) (map[string]string, error) { return map[string]string{v1.LabelHostname: "n"}, nil }
	return b, f, dir
}

func claiming(uid types.UID, readOnly bool) *v1.Pod {
	p := podWith(v1.VolumeSource{PersistentVolumeClaim: &v1.PersistentVolumeClaimVolumeSource{ClaimName: "c", ReadOnly: readOnly}})
	p.UID = uid
	p.Spec.Containers[0].VolumeMounts = []v1.VolumeMount{{Name: "data", MountPath: "/data"}}
	return p
}

func TestClaim(t *testing.T) {
	b, f, dir := claimBench(t)
	pod := claiming("u", false)
	if _, err := b.Path(pod, "data"); err == nil {
		t.Error("a claim that is not set up has a path")
	}
	for range 2 {
		if _, err := b.SetUp(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	if f.reads != 1 {
		t.Errorf("the claim was read %d times", f.reads)
	}
	mounts, err := b.Mounts(pod, &pod.Spec.Containers[0], nil, nil)
	if err != nil || len(mounts) != 1 || mounts[0].HostPath != dir || mounts[0].Readonly {
		t.Errorf("%v %v", mounts, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "file"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.TearDown(t.Context(), pod.UID); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "file")); err != nil {
		t.Error("the claim's data went with the Pod")
	}
	if _, err := b.Path(pod, "data"); err == nil {
		t.Error("the Pod has the claim after its end")
	}
	other := claiming("v", true)
	if _, err := b.SetUp(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	if mounts, err = b.Mounts(other, &other.Spec.Containers[0], nil, nil); err != nil || !mounts[0].Readonly {
		t.Errorf("a claim that is read-only: %v %v", mounts, err)
	}
}

func TestClaimRefused(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*v1.PersistentVolumeClaim, *v1.PersistentVolume, *v1.Pod)
		want   string
	}{
		"not bound": {func(c *v1.PersistentVolumeClaim, _ *v1.PersistentVolume, _ *v1.Pod) { c.Status.Phase = v1.ClaimPending }, "is not bound"},
		"being deleted": {func(c *v1.PersistentVolumeClaim, _ *v1.PersistentVolume, _ *v1.Pod) {
			c.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)}
		}, "is being deleted"},
		"no volume": {func(c *v1.PersistentVolumeClaim, _ *v1.PersistentVolume, _ *v1.Pod) { c.Spec.VolumeName = "gone" }, `"gone" not found`},
		"another's": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) { v.Spec.ClaimRef.UID = "x" }, "not bound to the claim ns/c any more"},
		"nobody's":  {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) { v.Spec.ClaimRef = nil }, "not bound to the claim ns/c any more"},
		"block": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) {
			v.Spec.VolumeMode = ptr(v1.PersistentVolumeBlock)
		}, "name it in volumeDevices"},
		"block without a device": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, p *v1.Pod) {
			v.Spec.VolumeMode = ptr(v1.PersistentVolumeBlock)
			p.Spec.Containers[0].VolumeMounts, p.Spec.Containers[0].VolumeDevices = nil, []v1.VolumeDevice{{Name: "data", DevicePath: "/dev/x"}}
		}, "is not a block device"},
		"csi without drivers": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) {
			v.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{CSI: &v1.CSIPersistentVolumeSource{}}
		}, "volumes of type csi are not supported"},
		"as a device": {func(_ *v1.PersistentVolumeClaim, _ *v1.PersistentVolume, p *v1.Pod) {
			p.Spec.Containers[0].VolumeDevices = []v1.VolumeDevice{{Name: "data", DevicePath: "/dev/x"}}
		}, "volumeDevices"},
		"another node": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) {
			v.Spec.NodeAffinity.Required.NodeSelectorTerms[0].MatchExpressions[0].Values[0] = "m"
		}, "nodeAffinity"},
		"nfs": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) {
			v.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{NFS: &v1.NFSVolumeSource{}}
		}, "has no NFS client"},
		"nfs as a device": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, p *v1.Pod) {
			v.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{NFS: &v1.NFSVolumeSource{}}
			v.Spec.VolumeMode = ptr(v1.PersistentVolumeBlock)
			p.Spec.Containers[0].VolumeMounts, p.Spec.Containers[0].VolumeDevices = nil, []v1.VolumeDevice{{Name: "data", DevicePath: "/dev/x"}}
		}, "an NFS export is no device"},
		"iscsi": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) {
			v.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{ISCSI: &v1.ISCSIPersistentVolumeSource{}}
		}, "volumes of type iscsi are not supported"},
		"no directory": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) { v.Spec.Local.Path += "/missing" }, "does not exist"},
		"a device":     {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) { v.Spec.Local.Path = "/dev/null" }, "neither a directory nor a block device"},
		"options of a hostPath": {func(_ *v1.PersistentVolumeClaim, v *v1.PersistentVolume, _ *v1.Pod) {
			v.Spec.PersistentVolumeSource = v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: "/tmp"}}
			v.Spec.MountOptions = []string{"noexec"}
		}, "mountOptions are not supported for volumes of type hostPath"},
		"another Pod's": {func(_ *v1.PersistentVolumeClaim, _ *v1.PersistentVolume, p *v1.Pod) {
			p.Spec.Volumes[0].VolumeSource = v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}}
			p.Name = "other" // whose claim would be named other-data
		}, "not found"},
	} {
		b, f, _ := claimBench(t)
		pod := claiming("u", false)
		test.change(f.claims["c"], f.volumes["pv"], pod)
		if _, err := b.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
}

// A generic ephemeral volume is the claim that was made for the Pod, not one that
// happens to have its name.
func TestEphemeralClaim(t *testing.T) {
	b, f, dir := claimBench(t)
	pod := podWith(v1.VolumeSource{Ephemeral: &v1.EphemeralVolumeSource{}})
	f.claims["p-data"] = f.claims["c"]
	if _, err := b.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "was not created for pod") {
		t.Errorf("a foreign claim: %v", err)
	}
	f.claims["c"].OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "u", Controller: ptr(true)}}
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if path, err := b.Path(pod, "data"); err != nil || path != dir {
		t.Errorf("%s %v", path, err)
	}
}

func TestReadWriteOncePod(t *testing.T) {
	b, f, _ := claimBench(t)
	f.volumes["pv"].Spec.AccessModes = []v1.PersistentVolumeAccessMode{v1.ReadWriteOncePod}
	if _, err := b.SetUp(t.Context(), claiming("u", false)); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetUp(t.Context(), claiming("v", false)); err == nil || !strings.Contains(err.Error(), "ReadWriteOncePod") {
		t.Errorf("a second Pod: %v", err)
	}
	if err := b.TearDown(t.Context(), "u"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetUp(t.Context(), claiming("v", false)); err != nil {
		t.Errorf("after the first Pod: %v", err)
	}
}

func TestHostPathVolume(t *testing.T) {
	b, f, dir := claimBench(t)
	path := filepath.Join(dir, "made")
	f.volumes["pv"].Spec.PersistentVolumeSource = v1.PersistentVolumeSource{HostPath: &v1.HostPathVolumeSource{Path: path, Type: ptr(v1.HostPathDirectory)}}
	pod := claiming("u", false)
	if _, err := b.SetUp(t.Context(), pod); err == nil || !strings.Contains(err.Error(), "type check failed") {
		t.Errorf("no directory: %v", err)
	}
	f.volumes["pv"].Spec.HostPath.Type = nil
	if _, err := b.SetUp(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if got, err := b.Path(pod, "data"); err != nil || got != path {
		t.Errorf("%s %v", got, err)
	}
}

// The first Pod's group gets the volume, once; an agent that starts again leaves it
// as it is.
func TestClaimGroup(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files to a group that it is not in")
	}
	b, _, dir := claimBench(t)
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	grouped := func(uid types.UID, gid int64) *v1.Pod {
		p := claiming(uid, false)
		p.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &gid}
		return p
	}
	mode := func() fs.FileMode {
		info, err := os.Stat(file)
		if err != nil {
			t.Fatal(err)
		}
		return info.Mode()
	}
	if _, err := b.SetUp(t.Context(), grouped("u", 3000)); err != nil {
		t.Fatal(err)
	}
	if mode() != 0o660 {
		t.Errorf("mode %o", mode())
	}
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := b.SetUp(t.Context(), grouped("v", 3001)); err != nil || mode() != 0o600 {
		t.Errorf("a second Pod changed the volume: %o %v", mode(), err)
	}
	b.claims = map[types.UID]map[string]claimed{} // as after a restart
	if _, err := b.SetUp(t.Context(), grouped("u", 3000)); err != nil || mode() != 0o600 {
		t.Errorf("a restart changed the volume: %o %v", mode(), err)
	}
}

// With the policy OnRootMismatch, files of a volume whose top is the group's stay
// as they are.
func TestClaimGroupOnRootMismatch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can give files to a group that it is not in")
	}
	for policy, want := range map[v1.PodFSGroupChangePolicy]fs.FileMode{v1.FSGroupChangeOnRootMismatch: 0o600, v1.FSGroupChangeAlways: 0o660} {
		b, _, dir := claimBench(t)
		file := filepath.Join(dir, "file")
		if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Chown(dir, -1, 3000), os.Chmod(dir, fs.ModeSetgid|0o770)); err != nil {
			t.Fatal(err)
		}
		gid, p := int64(3000), claiming("u", false)
		p.Spec.SecurityContext = &v1.PodSecurityContext{FSGroup: &gid, FSGroupChangePolicy: &policy}
		if _, err := b.SetUp(t.Context(), p); err != nil {
			t.Fatal(err)
		}
		if info, err := os.Stat(file); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want mode %o", policy, info.Mode(), err, want)
		}
	}
}
