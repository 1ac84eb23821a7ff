package storage

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"minato/internal/host"
	"minato/internal/node/spec"
)

// Reason is what the status of an evicted Pod and the event about it say.
const Reason = "Evicted"

// Usage is what a Pod takes of the node's disk.
type Usage struct {
	// Volumes are the Pod's emptyDirs and ConfigMaps on disk, by name.
	Volumes map[string]host.Usage
	// Containers are those of the Pod, by name.
	Containers map[string]Container
	// Files are those that the node has made for containers to write to, such
	// as their hosts file.
	Files host.Usage
}

// Container is what a container takes: its writable layers and its logs.
type Container struct{ Layer, Logs host.Usage }

// Local is what is neither a container's layer nor its log.
func (u Usage) Local() host.Usage {
	sum := u.Files
	for _, v := range u.Volumes {
		sum.Bytes, sum.Inodes = sum.Bytes+v.Bytes, sum.Inodes+v.Inodes
	}
	return sum
}

// Limited tells whether anything limits what the Pod may take, so that it has
// to be measured. An emptyDir in memory is limited by its tmpfs.
func Limited(pod *v1.Pod) bool {
	for i := range pod.Spec.Volumes {
		if e := pod.Spec.Volumes[i].EmptyDir; onDisk(e) && e.SizeLimit != nil && e.SizeLimit.Sign() > 0 {
			return true
		}
	}
	_, ok := podLimit(pod)
	return ok
}

// Exceeded tells whether the Pod has to be evicted, and why: for an emptyDir
// first, then for all of the Pod, then for one container. It is kubelet's
// localStorageEviction.
func Exceeded(pod *v1.Pod, u Usage) (message string, exceeded bool) {
	if spec.Critical(pod) {
		return "", false
	}
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if onDisk(v.EmptyDir) && v.EmptyDir.SizeLimit != nil && v.EmptyDir.SizeLimit.Sign() > 0 && above(u.Volumes[v.Name].Bytes, *v.EmptyDir.SizeLimit) {
			return fmt.Sprintf("Usage of EmptyDir volume %q exceeds the limit %q. ", v.Name, v.EmptyDir.SizeLimit.String()), true
		}
	}
	if limit, ok := podLimit(pod); ok && above(u.total(), limit) {
		return fmt.Sprintf("Pod ephemeral local storage usage exceeds the total limit of containers %s. ", limit.String()), true
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		limit, ok := c.Resources.Limits[v1.ResourceEphemeralStorage]
		if ok && !limit.IsZero() && above(u.Containers[c.Name].bytes(), limit) {
			return fmt.Sprintf("Container %s exceeded its local ephemeral storage limit %q. ", c.Name, limit.String()), true
		}
	}
	return "", false
}

func (u Usage) total() int64 {
	sum := u.Local().Bytes
	for _, c := range u.Containers {
		sum += c.bytes()
	}
	return sum
}

func (c Container) bytes() int64 { return c.Layer.Bytes + c.Logs.Bytes }

// podLimit is the sum of the containers' limits, or the Pod's own.
func podLimit(pod *v1.Pod) (resource.Quantity, bool) {
	limit, ok := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})[v1.ResourceEphemeralStorage]
	return limit, ok
}

func above(used int64, limit resource.Quantity) bool { return limit.CmpInt64(used) < 0 }

func onDisk(e *v1.EmptyDirVolumeSource) bool {
	return e != nil && e.Medium == v1.StorageMediumDefault
}
