package status

import (
	"encoding/json"
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

func amounts(cpu, memory string) v1.ResourceList {
	list := v1.ResourceList{}
	if cpu != "" {
		list[v1.ResourceCPU] = resource.MustParse(cpu)
	}
	if memory != "" {
		list[v1.ResourceMemory] = resource.MustParse(memory)
	}
	return list
}

// What the status says that a container has is what its cgroup has, and in the
// words of the spec where that cannot be told apart.
func TestContainerResources(t *testing.T) {
	type amount = v1.ResourceRequirements
	for _, c := range []struct {
		name          string
		granted, last amount
		actual        *runtimeapi.LinuxContainerResources
		ended         bool
		want          amount
	}{
		{name: "as granted", granted: amount{Requests: amounts("20m", "30Mi"), Limits: amounts("20m", "35Mi")}, last: amount{Requests: amounts("20m", "30Mi"), Limits: amounts("20m", "35Mi")},
			actual: &runtimeapi.LinuxContainerResources{CpuShares: 20, CpuQuota: 2_000, CpuPeriod: 100_000, MemoryLimitInBytes: 35 << 20},
			want:   amount{Requests: amounts("20m", "30Mi"), Limits: amounts("20m", "35Mi")}},
		{name: "on its way", granted: amount{Requests: amounts("25m", "40Mi"), Limits: amounts("25m", "40Mi")}, last: amount{Requests: amounts("20m", "35Mi"), Limits: amounts("20m", "35Mi")},
			actual: &runtimeapi.LinuxContainerResources{CpuShares: 20, CpuQuota: 2_000, CpuPeriod: 100_000, MemoryLimitInBytes: 35 << 20},
			want:   amount{Requests: amounts("20m", "35Mi"), Limits: amounts("20m", "35Mi")}},
		{name: "limits that are added", granted: amount{Requests: amounts("1", ""), Limits: amounts("2", "1Gi")}, last: amount{Requests: amounts("1", "")},
			actual: &runtimeapi.LinuxContainerResources{CpuShares: 1024},
			want:   amount{Requests: amounts("1", "")}},
		{name: "too little to tell", granted: amount{Requests: amounts("1m", ""), Limits: amounts("5m", "")}, last: amount{Requests: amounts("1m", ""), Limits: amounts("5m", "")},
			actual: &runtimeapi.LinuxContainerResources{CpuShares: 2, CpuQuota: 1_000, CpuPeriod: 100_000},
			want:   amount{Requests: amounts("1m", ""), Limits: amounts("5m", "")}},
		{name: "best effort", actual: &runtimeapi.LinuxContainerResources{CpuShares: 2}},
		{name: "no weights", granted: amount{Requests: amounts("1", "")}, last: amount{Requests: amounts("1", "")}, actual: &runtimeapi.LinuxContainerResources{}, want: amount{Requests: amounts("1", "")}},
		{name: "part of a page", granted: amount{Limits: amounts("", "1000001")}, last: amount{Limits: amounts("", "1000001")}, actual: &runtimeapi.LinuxContainerResources{CpuShares: 2, MemoryLimitInBytes: 999424},
			want: amount{Limits: amounts("", "1000001")}},
		{name: "somebody else's", granted: amount{Requests: amounts("1", "1Gi"), Limits: amounts("1", "1Gi")}, last: amount{Requests: amounts("1", "1Gi"), Limits: amounts("1", "1Gi")},
			actual: &runtimeapi.LinuxContainerResources{CpuShares: 512, CpuQuota: -1, CpuPeriod: 100_000, MemoryLimitInBytes: 1 << 20},
			want:   amount{Requests: amounts("500m", "1Gi"), Limits: amounts("", "1Mi")}},
		{name: "ended", granted: amount{Requests: amounts("2", "")}, last: amount{Requests: amounts("1", "")}, actual: &runtimeapi.LinuxContainerResources{CpuShares: 1024}, ended: true, want: amount{Requests: amounts("2", "")}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(v1.RestartPolicyAlways, "main")
			p.Spec.Containers[0].Resources = c.granted
			state := running
			if c.ended {
				state = exited
			}
			r := run("main", state, 0, 0)
			r.Resources = c.actual
			s := Compute(Input{
				Pod: p, View: view(r), Now: now,
				Probes: func(string) Probes { return Probes{} },
				Has:    func(*v1.Container, *observe.Container) v1.ResourceRequirements { return c.last },
			}).ContainerStatuses[0]
			if !equality.Semantic.DeepEqual(*s.Resources, c.want) {
				t.Errorf("it has %v, want %v", *s.Resources, c.want)
			}
			if !equality.Semantic.DeepEqual(s.AllocatedResources, c.granted.Requests) {
				t.Errorf("it was granted %v, want %v", s.AllocatedResources, c.granted.Requests)
			}
			if !equality.Semantic.DeepEqual(p.Spec.Containers[0].Resources, c.granted) {
				t.Error("the Pod was changed")
			}
		})
	}
}

// The conditions of a resize are about the generation that asks for it.
func TestResizeConditions(t *testing.T) {
	p := pod(v1.RestartPolicyAlways, "main")
	in := Input{
		Pod: p, View: view(run("main", running, 0, 0)), Now: now, Probes: func(string) Probes { return Probes{} },
		Resize: []v1.PodCondition{{Type: v1.PodResizeInProgress, Status: v1.ConditionTrue, ObservedGeneration: 2}},
	}
	find := func(s v1.PodStatus) *v1.PodCondition {
		for i := range s.Conditions {
			if s.Conditions[i].Type == v1.PodResizeInProgress {
				return &s.Conditions[i]
			}
		}
		return nil
	}
	if c := find(Compute(in)); c == nil || c.ObservedGeneration != 2 || c.LastTransitionTime.IsZero() {
		t.Errorf("condition = %+v", c)
	}
	in.Terminal = true
	if c := find(Compute(in)); c != nil {
		t.Errorf("a Pod that ends has the condition %+v", c)
	}
}

// What a Pod as a whole asks for is told of the Pod, not of its containers.
func TestResourcesOfThePod(t *testing.T) {
	list := func(cpu, memory string) v1.ResourceList {
		return v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
	}
	pod := &v1.Pod{Spec: v1.PodSpec{
		Resources:  &v1.ResourceRequirements{Requests: list("1", "1Gi"), Limits: list("2", "2Gi")},
		Containers: []v1.Container{{Name: "c"}},
	}}
	made := spec.PodLimits{CPUShares: 1024, CPUQuota: 150_000, Memory: 1 << 30} // not what is asked for
	config, err := spec.Sandbox(spec.SandboxInput{Pod: pod})
	if err != nil {
		t.Fatal(err)
	}
	view := &observe.Pod{
		Sandboxes: []observe.Sandbox{{Annotations: config.Annotations}},
		Containers: []observe.Container{{Name: "c", State: runtimeapi.ContainerState_CONTAINER_RUNNING, Resources: &runtimeapi.LinuxContainerResources{
			CpuShares: 2048, CpuQuota: 200_000, CpuPeriod: 100_000, MemoryLimitInBytes: 2 << 30,
		}}},
	}
	compute := func() v1.PodStatus {
		return Compute(Input{Pod: pod, View: view, Probes: func(string) Probes { return Probes{} }})
	}
	s := compute()
	if !equality.Semantic.DeepEqual(s.Resources, pod.Spec.Resources) || !equality.Semantic.DeepEqual(s.AllocatedResources, pod.Spec.Resources.Requests) {
		t.Errorf("allocated %v, resources %+v", s.AllocatedResources, s.Resources)
	}
	if r := s.ContainerStatuses[0].Resources; len(r.Limits) > 0 || len(r.Requests) > 0 {
		t.Errorf("the container has %+v", r)
	}
	text, err := json.Marshal(made)
	if err != nil {
		t.Fatal(err)
	}
	for key := range config.Annotations {
		view.Sandboxes[0].Annotations = map[string]string{key: string(text)}
	}
	s = compute()
	if got := s.Resources.Limits; got.Cpu().MilliValue() != 1500 || got.Memory().Value() != 1<<30 {
		t.Errorf("limits of a cgroup that has others = %v", got)
	}
	pod.Spec.Resources = nil
	if s := compute(); s.Resources != nil || s.AllocatedResources != nil {
		t.Errorf("of a Pod that asks for nothing as a whole: allocated %v, resources %+v", s.AllocatedResources, s.Resources)
	}
}
