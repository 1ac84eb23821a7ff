package spec

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

func quantities(cpu, memory string) v1.ResourceList {
	l := v1.ResourceList{}
	if cpu != "" {
		l[v1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		l[v1.ResourceMemory] = resource.MustParse(memory)
	}
	return l
}

func requirements(requests, limits v1.ResourceList) v1.ResourceRequirements {
	return v1.ResourceRequirements{Requests: requests, Limits: limits}
}

// The resources of all containers of a Pod together are those of the kubelet's
// ResourceConfigForPod.
func TestPodResources(t *testing.T) {
	always := v1.ContainerRestartPolicyAlways
	for name, tc := range map[string]struct {
		spec                v1.PodSpec
		resources, overhead *runtimeapi.LinuxContainerResources
	}{
		"best effort": {
			spec:      v1.PodSpec{Containers: []v1.Container{{}}},
			resources: &runtimeapi.LinuxContainerResources{CpuShares: 2},
		},
		"sum of requests": {
			spec: v1.PodSpec{Containers: []v1.Container{
				{Resources: requirements(quantities("900m", ""), nil)}, {Resources: requirements(quantities("10m", ""), nil)},
			}},
			resources: &runtimeapi.LinuxContainerResources{CpuShares: 931},
		},
		"limits of every container": {
			spec: v1.PodSpec{Containers: []v1.Container{
				{Resources: requirements(quantities("1", "1Gi"), quantities("1", "1Gi"))},
				{Resources: requirements(quantities("500m", "1Gi"), quantities("500m", "1Gi"))},
			}},
			resources: &runtimeapi.LinuxContainerResources{CpuShares: 1536, CpuPeriod: 100_000, CpuQuota: 150_000, MemoryLimitInBytes: 2 << 30},
		},
		"limits of one container": {
			spec: v1.PodSpec{Containers: []v1.Container{
				{Resources: requirements(quantities("1", ""), quantities("1", "1Gi"))}, {Resources: requirements(nil, quantities("", "1Gi"))},
			}},
			resources: &runtimeapi.LinuxContainerResources{CpuShares: 1024, MemoryLimitInBytes: 2 << 30},
		},
		"init container and sidecar": {
			spec: v1.PodSpec{
				InitContainers: []v1.Container{
					{Resources: requirements(quantities("100m", ""), nil), RestartPolicy: &always},
					{Resources: requirements(quantities("2", ""), nil)},
				},
				Containers: []v1.Container{{Resources: requirements(quantities("1", ""), nil)}},
			},
			resources: &runtimeapi.LinuxContainerResources{CpuShares: 2150}, // 100m + 2
		},
		"resources of the Pod as a whole": {
			spec: v1.PodSpec{
				Containers: []v1.Container{{}, {Resources: requirements(quantities("100m", ""), nil)}},
				Resources:  &v1.ResourceRequirements{Requests: quantities("1", "1Gi"), Limits: quantities("2", "2Gi")},
			},
			resources: &runtimeapi.LinuxContainerResources{CpuShares: 1024, CpuPeriod: 100_000, CpuQuota: 200_000, MemoryLimitInBytes: 2 << 30},
		},
		"overhead": {
			spec: v1.PodSpec{
				Containers: []v1.Container{{Resources: requirements(quantities("1", "1Gi"), quantities("1", "1Gi"))}},
				Overhead:   quantities("250m", "64Mi"),
			},
			resources: &runtimeapi.LinuxContainerResources{CpuShares: 1024, CpuPeriod: 100_000, CpuQuota: 100_000, MemoryLimitInBytes: 1 << 30},
			overhead:  &runtimeapi.LinuxContainerResources{CpuShares: 256, CpuPeriod: 100_000, CpuQuota: 25_000, MemoryLimitInBytes: 64 << 20},
		},
	} {
		t.Run(name, func(t *testing.T) {
			config, err := Sandbox(SandboxInput{Pod: &v1.Pod{Spec: tc.spec}})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.resources, config.Linux.Resources, values()); diff != "" {
				t.Errorf("resources:\n%s", diff)
			}
			if diff := cmp.Diff(orNone(tc.overhead), config.Linux.Overhead, values()); diff != "" {
				t.Errorf("overhead:\n%s", diff)
			}
		})
	}
}

func values() cmp.Option { return cmpopts.IgnoreUnexported(runtimeapi.LinuxContainerResources{}) }

func orNone(r *runtimeapi.LinuxContainerResources) *runtimeapi.LinuxContainerResources {
	if r == nil {
		return &runtimeapi.LinuxContainerResources{}
	}
	return r
}

// A container without limits runs with those of its Pod as a whole, and its score
// for the OOM killer counts its part of what the Pod has requested (KEP-2837).
func TestContainerOfAPodWithResources(t *testing.T) {
	pod := &v1.Pod{Spec: v1.PodSpec{
		Resources: &v1.ResourceRequirements{Requests: quantities("1", "4Gi"), Limits: quantities("2", "8Gi")},
		Containers: []v1.Container{
			{Name: "none"},
			{Name: "own", Resources: requirements(quantities("500m", "2Gi"), quantities("1500m", "3Gi"))},
		},
	}}
	memory := resource.MustParse("16Gi")
	for i, want := range []*runtimeapi.LinuxContainerResources{
		{CpuShares: 2048, CpuPeriod: 100_000, CpuQuota: 200_000, MemoryLimitInBytes: 8 << 30, MemorySwapLimitInBytes: 8 << 30, OomScoreAdj: 1000 - 1000*1/16},
		{CpuShares: 512, CpuPeriod: 100_000, CpuQuota: 150_000, MemoryLimitInBytes: 3 << 30, MemorySwapLimitInBytes: 3 << 30, OomScoreAdj: 1000 - 1000*3/16},
	} {
		got := Limits(pod, &pod.Spec.Containers[i], memory, nil)
		got.Unified = nil
		if diff := cmp.Diff(want, got, values()); diff != "" {
			t.Errorf("container %s:\n%s", pod.Spec.Containers[i].Name, diff)
		}
	}
	if len(pod.Spec.Containers[0].Resources.Limits) > 0 {
		t.Error("the Pod has changed")
	}
	node := quantities("32", "64Gi")
	for container, want := range map[string]string{"none": "8589934592", "own": "3221225472"} {
		got, err := ResourceField(pod, container, &v1.ResourceFieldSelector{Resource: "limits.memory"}, node)
		if err != nil || got != want {
			t.Errorf("limits.memory of %s in the downward API = %s, %v; want %s", container, got, err, want)
		}
	}
	pod.Spec.Resources.Requests = quantities("2", "8Gi")
	if got := Limits(pod, &pod.Spec.Containers[0], memory, nil).OomScoreAdj; got != oomCritical {
		t.Errorf("a Pod whose requests are its limits is guaranteed, but the score is %d", got)
	}
}
