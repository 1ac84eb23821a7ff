package fields

import (
	"context"
	"errors"

	v1 "k8s.io/api/core/v1"

	"minato/internal/node/admit"
	"minato/internal/node/volume"
)

// refusals exercise what nodes refuse, by the names that the table has for it.
var refusals = map[string]func() error{
	"resourceClaims": func() error {
		return admitted(func(s *v1.PodSpec) { s.ResourceClaims = []v1.PodResourceClaim{{Name: "gpu"}} })
	},
	"appArmor": func() error {
		return admitted(func(s *v1.PodSpec) {
			s.SecurityContext = &v1.PodSecurityContext{AppArmorProfile: &v1.AppArmorProfile{Type: v1.AppArmorProfileTypeRuntimeDefault}}
		})
	},
	"windows": func() error { return admitted(func(s *v1.PodSpec) { s.OS = &v1.PodOS{Name: v1.Windows} }) },
	"volume":  unsupportedVolumes,
}

// admitted is why a node refuses a Pod.
func admitted(change func(*v1.PodSpec)) error {
	pod := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "c"}}}}
	change(&pod.Spec)
	r := admit.Check(admit.Input{Pod: pod, Node: &v1.Node{}})
	if r == nil || r.Reason == "" {
		return nil
	}
	return errors.New(r.Message)
}

// unsupportedVolumes is why a node refuses the types of volumes that no driver is
// for, nil if it takes one of them.
func unsupportedVolumes() (last error) {
	for _, source := range []v1.VolumeSource{
		{GCEPersistentDisk: &v1.GCEPersistentDiskVolumeSource{}}, {AWSElasticBlockStore: &v1.AWSElasticBlockStoreVolumeSource{}},
		{GitRepo: &v1.GitRepoVolumeSource{}}, {ISCSI: &v1.ISCSIVolumeSource{}}, {Glusterfs: &v1.GlusterfsVolumeSource{}},
		{RBD: &v1.RBDVolumeSource{}}, {FlexVolume: &v1.FlexVolumeSource{}}, {Cinder: &v1.CinderVolumeSource{}}, {CephFS: &v1.CephFSVolumeSource{}},
		{Flocker: &v1.FlockerVolumeSource{}}, {FC: &v1.FCVolumeSource{}}, {AzureFile: &v1.AzureFileVolumeSource{}},
		{VsphereVolume: &v1.VsphereVirtualDiskVolumeSource{}}, {Quobyte: &v1.QuobyteVolumeSource{}}, {AzureDisk: &v1.AzureDiskVolumeSource{}},
		{PhotonPersistentDisk: &v1.PhotonPersistentDiskVolumeSource{}}, {PortworxVolume: &v1.PortworxVolumeSource{}},
		{ScaleIO: &v1.ScaleIOVolumeSource{}}, {StorageOS: &v1.StorageOSVolumeSource{}},
	} {
		if last = unsupported(source); last == nil {
			return nil
		}
	}
	return last
}

// unsupported is why a node can't set a volume up.
func unsupported(source v1.VolumeSource) error {
	pod := &v1.Pod{Spec: v1.PodSpec{
		Volumes:    []v1.Volume{{Name: "v", VolumeSource: source}},
		Containers: []v1.Container{{Name: "c", VolumeMounts: []v1.VolumeMount{{Name: "v", MountPath: "/v"}}}},
	}}
	pod.UID = "u"
	_, err := volume.New(volume.Config{Dir: "/nowhere"}).SetUp(context.Background(), pod)
	return err
}
