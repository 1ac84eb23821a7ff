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
