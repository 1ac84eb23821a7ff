package pod

import (
	"context"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// volumeImages returns the images that the container mounts as volumes
// (KEP-4639), by the volumes' names, each pulled as a container's would be. Those
// that only other containers mount are their affair.
func (w *worker) volumeImages(ctx context.Context, pod *v1.Pod, c *v1.Container, sandbox *runtimeapi.PodSandboxConfig) (map[string]*runtimeapi.ImageSpec, error) {
	var out map[string]*runtimeapi.ImageSpec
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		if v.Image == nil || !mountsVolume(c, v.Name) {
			continue
		}
		want := wish{name: v.Image.Reference, policy: v.Image.PullPolicy, volume: true}
		image, err := w.m.pulls.ensure(ctx, w, pod, c, want, sandbox)
		if err != nil {
			return nil, err
		}
		if out == nil {
			out = map[string]*runtimeapi.ImageSpec{}
		}
		out[v.Name] = &runtimeapi.ImageSpec{Image: image.Id, UserSpecifiedImage: v.Image.Reference}
	}
	return out, nil
}

func mountsVolume(c *v1.Container, name string) bool {
	for i := range c.VolumeMounts {
		if c.VolumeMounts[i].Name == name {
			return true
		}
	}
	return false
}
