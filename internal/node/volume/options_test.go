package volume

import (
	"fmt"
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"

	"minato/internal/host"
)

// A Pod may name a claim twice, and read-only at first: it is mounted so that it can be
// written to by the other name, and only by that one.
func TestClaimTwice(t *testing.T) {
	for name, test := range map[string]struct {
		readOnly [2]bool
		unused   bool // the second name
		want     string
	}{
		"read-only first":                 {readOnly: [2]bool{true, false}, want: "false"},
		"read-only last":                  {readOnly: [2]bool{false, true}, want: "false"},
		"read-only twice":                 {readOnly: [2]bool{true, true}, want: "true"},
		"the one that writes is not used": {readOnly: [2]bool{true, false}, unused: true, want: "true"},
	} {
		t.Run(name, func(t *testing.T) {
			b, f, _ := claimBench(t)
			f.volumes["pv"].Spec.PersistentVolumeSource = v1.PersistentVolumeSource{NFS: &v1.NFSVolumeSource{Server: "files", Path: "/e"}}
			var mounted []string
			b.mounter.nfs = func(path string, e host.NFS) error {
				mounted, b.mounter.mounts[path] = append(mounted, fmt.Sprint(e.ReadOnly)), "nfs"
				return nil
			}
			pod := claiming("u", test.readOnly[0])
			again := *pod.Spec.Volumes[0].DeepCopy()
			again.Name, again.PersistentVolumeClaim.ReadOnly = "again", test.readOnly[1]
			pod.Spec.Volumes = append(pod.Spec.Volumes, again)
			if c := &pod.Spec.Containers[0]; !test.unused {
				c.VolumeMounts = append(c.VolumeMounts, v1.VolumeMount{Name: "again", MountPath: "/again"})
			}
			if _, err := b.SetUp(t.Context(), pod); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(mounted, []string{test.want}) {
				t.Errorf("mounted %v, want once read-only %s", mounted, test.want)
			}
			mounts, err := b.Mounts(pod, &pod.Spec.Containers[0], nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i, m := range mounts {
				if m.Readonly != test.readOnly[i] {
					t.Errorf("%s is read-only: %v", m.ContainerPath, m.Readonly)
				}
			}
		})
	}
}
