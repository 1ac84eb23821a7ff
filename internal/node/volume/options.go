package volume

import (
	"errors"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// mountOptions are those of a PersistentVolume, each by itself: in the annotation that
// was there before the field, and comes first, or in the field.
func mountOptions(pv *v1.PersistentVolume) []string {
	options := pv.Spec.MountOptions
	if old, ok := pv.Annotations[v1.MountOptionAnnotation]; ok {
		options = strings.Split(old, ",")
	}
	return slices.DeleteFunc(slices.Clone(options), func(o string) bool { return o == "" })
}

// readsOnly tells whether a Pod has a claim read-only wherever it names it. A claim that
// it names twice is mounted once, so that it can be written to by the name that allows it;
// by the other one, its containers mount it read-only.
func readsOnly(pod *v1.Pod, v *v1.Volume) bool {
	if v.PersistentVolumeClaim == nil {
		return false
	}
	used := usedVolumes(pod)
	for i := range pod.Spec.Volumes {
		other := &pod.Spec.Volumes[i]
		same := other.PersistentVolumeClaim != nil && other.PersistentVolumeClaim.ClaimName == v.PersistentVolumeClaim.ClaimName
		if same && !other.PersistentVolumeClaim.ReadOnly && used[other.Name] {
			return false
		}
	}
	return true
}

// errNoOptions is why a PersistentVolume can't be used whose type is not mounted.
var errNoOptions = errors.New("mountOptions are not supported for volumes of type hostPath, which are not mounted: leave them out, or use the type local")
