package status

import (
	"slices"
	"testing"

	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/observe"
)

// Who a container runs as, and of which image, is what the runtime tells.
func TestWhatRuns(t *testing.T) {
	pod := &v1.Pod{Spec: v1.PodSpec{
		Containers:          []v1.Container{{Name: "c", Image: "app"}},
		EphemeralContainers: []v1.EphemeralContainer{{EphemeralContainerCommon: v1.EphemeralContainerCommon{Name: "debug", Image: "shell"}, TargetContainerName: "c"}},
	}}
	run := func(name, image string) observe.Container {
		return observe.Container{
			Name: name, Image: image, State: runtimeapi.ContainerState_CONTAINER_RUNNING,
			User: &runtimeapi.ContainerUser{Linux: &runtimeapi.LinuxContainerUser{Uid: 1000, Gid: 2000, SupplementalGroups: []int64{2000, 3000}}},
		}
	}
	s := Compute(Input{
		Pod: pod, View: &observe.Pod{Containers: []observe.Container{run("c", "docker.io/library/app:latest"), run("debug", "docker.io/library/shell:latest")}},
		Probes: func(string) Probes { return Probes{} },
	})
	if len(s.EphemeralContainerStatuses) != 1 || s.EphemeralContainerStatuses[0].State.Running == nil {
		t.Errorf("EphemeralContainerStatuses = %+v", s.EphemeralContainerStatuses)
	}
	for _, c := range slices.Concat(s.ContainerStatuses, s.EphemeralContainerStatuses) {
		if c.Image != "docker.io/library/app:latest" && c.Image != "docker.io/library/shell:latest" {
			t.Errorf("%s: Image = %q", c.Name, c.Image)
		}
		if u := c.User; u == nil || u.Linux == nil || u.Linux.UID != 1000 || u.Linux.GID != 2000 || !slices.Equal(u.Linux.SupplementalGroups, []int64{2000, 3000}) {
			t.Errorf("%s: User = %+v", c.Name, c.User)
		}
	}
}
