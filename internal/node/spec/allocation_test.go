package spec

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
)

func TestAllocationApplies(t *testing.T) {
	old := &v1.Pod{Spec: v1.PodSpec{
		InitContainers: []v1.Container{{Name: "init", Resources: requirements(quantities("1", ""), nil)}},
		Containers:     []v1.Container{{Name: "a", Resources: requirements(quantities("1", "1Gi"), nil)}, {Name: "b"}},
	}}
	a := AllocationOf(old)
	if p, differs := a.Apply(old); differs || p != old {
		t.Error("a Pod that has what it asks for was changed")
	}
	next := old.DeepCopy()
	next.Spec.InitContainers[0].Resources.Requests[v1.ResourceCPU] = resource.MustParse("2")
	next.Spec.Containers[0].Resources.Requests[v1.ResourceCPU] = resource.MustParse("1000m")
	next.Spec.Containers[0].Image = "new"
	granted, differs := a.Apply(next)
	if !differs || granted.Spec.InitContainers[0].Resources.Requests.Cpu().String() != "1" || granted.Spec.Containers[0].Image != "new" {
		t.Errorf("granted %+v", granted.Spec)
	}
	if next.Spec.InitContainers[0].Resources.Requests.Cpu().String() != "2" {
		t.Error("the Pod itself was changed")
	}
	granted.Spec.InitContainers[0].Resources.Requests[v1.ResourceCPU] = resource.MustParse("3")
	if !equality.Semantic.DeepEqual(a, AllocationOf(old)) {
		t.Error("the allocation was changed")
	}
}

// The Pod as a whole has a record of its own, which one of an earlier version lacks.
func TestAllocationOfTheWhole(t *testing.T) {
	whole := requirements(quantities("1", "1Gi"), quantities("2", "2Gi"))
	old := &v1.Pod{Spec: v1.PodSpec{Resources: &whole, Containers: []v1.Container{{Name: "a", Resources: requirements(nil, quantities("1", ""))}}}}
	a := AllocationOf(old)
	next := old.DeepCopy()
	next.Spec.Resources.Limits[v1.ResourceCPU] = resource.MustParse("3")
	granted, differs := a.Apply(next)
	if !differs || granted.Spec.Resources.Limits.Cpu().String() != "2" || next.Spec.Resources.Limits.Cpu().String() != "3" {
		t.Errorf("granted %v", granted.Spec.Resources)
	}
	if p, differs := a.Apply(old); differs || p != old {
		t.Error("a Pod that has what it asks for was changed")
	}
	if granted, differs := a.Apply(&v1.Pod{}); !differs || granted.Spec.Resources == nil {
		t.Error("what was granted is taken back unasked")
	}
	if p, differs := (Allocation{"a": old.Spec.Containers[0].Resources}).Apply(old); differs || p != old {
		t.Error("an earlier version's record takes resources of the whole away")
	}
	without := old.DeepCopy()
	without.Spec.Resources = nil
	if granted, differs := AllocationOf(without).Apply(old); !differs || granted.Spec.Resources != nil {
		t.Error("resources of the whole that are new count as granted")
	}
	without.Spec.Resources = &v1.ResourceRequirements{}
	if p, differs := AllocationOf(without).Apply(without); differs || p != without {
		t.Error("empty resources of the whole are others than none")
	}
	if _, differs := Allocation(nil).Apply(old); differs {
		t.Error("nothing is known, and something was granted")
	}
	next.Status.AllocatedResources = quantities("500m", "1Gi")
	next.Status.AllocatedResources[v1.ResourceEphemeralStorage] = resource.MustParse("1Gi")
	next.Status.Resources = &v1.ResourceRequirements{Limits: quantities("2", "2Gi")}
	want := requirements(quantities("500m", "1Gi"), quantities("2", "2Gi"))
	if got := AllocationFromStatus(next)[""]; !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("from the status %v, want %v", got, want)
	}
	// What a run was given is known after the whole has other limits.
	c := &old.Spec.Containers[0]
	annotations := containerAnnotations(old, c, 0, 0)
	if got, want := Created(next, c, annotations), requirements(nil, quantities("1", "2Gi")); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("created with %v, want %v", got, want)
	}
	other := c.DeepCopy()
	other.Resources.Limits[v1.ResourceCPU] = resource.MustParse("9")
	if got := Created(next, other, annotations); got.Limits.Cpu().String() != "1" || other.Resources.Limits.Cpu().String() != "9" {
		t.Errorf("created with %v, and the container has %v", got, other.Resources)
	}
	without.Spec.Resources = nil
	if got, want := Created(old, c, containerAnnotations(without, c, 0, 0)), requirements(nil, quantities("1", "")); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("created before the whole had limits: with %v, want %v", got, want)
	}
	if got, want := Given(old, c), requirements(nil, quantities("1", "2Gi")); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("it is given %v, want %v", got, want)
	}
}

// A node without a record takes what the status says.
func TestAllocationFromStatus(t *testing.T) {
	p := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{
		{Name: "a", Resources: requirements(quantities("2", ""), quantities("4", ""))}, {Name: "b", Resources: requirements(quantities("1", ""), nil)},
	}}}
	had := requirements(quantities("500m", ""), quantities("1", ""))
	p.Status.ContainerStatuses = []v1.ContainerStatus{{Name: "a", AllocatedResources: quantities("1", ""), Resources: &had}, {Name: "b"}, {Name: "gone", Resources: &had}}
	want := Allocation{"": {}, "a": requirements(quantities("1", ""), quantities("1", "")), "b": requirements(quantities("1", ""), nil)}
	if got := AllocationFromStatus(p); !equality.Semantic.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestOneResourceOfAnother(t *testing.T) {
	a, b := requirements(quantities("1", "1Gi"), quantities("2", "")), requirements(quantities("3", "2Gi"), quantities("", "4Gi"))
	for _, c := range []struct {
		name v1.ResourceName
		want v1.ResourceRequirements
	}{
		{v1.ResourceCPU, requirements(quantities("3", "1Gi"), quantities("", ""))},
		{v1.ResourceMemory, requirements(quantities("1", "2Gi"), quantities("2", "4Gi"))},
	} {
		if got := With(a, b, c.name); !equality.Semantic.DeepEqual(got, c.want) {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if a.Requests.Cpu().String() != "1" || len(a.Limits) != 1 {
		t.Errorf("it was changed: %v", a)
	}
	if Same(a, b, v1.ResourceCPU) || !Same(a, requirements(quantities("1000m", "2Gi"), quantities("2", "5Gi")), v1.ResourceCPU) {
		t.Error("wrong comparison")
	}
}

func TestWiderLimits(t *testing.T) {
	a, b := PodLimits{CPUShares: 100, CPUQuota: 5_000, Memory: 1 << 20}, PodLimits{CPUShares: 50, CPUQuota: 6_000}
	if got, want := a.Wider(b), (PodLimits{CPUShares: 100, CPUQuota: 6_000}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if a.LowersMemory(b) || !b.LowersMemory(a) || !(PodLimits{Memory: 2 << 20}).LowersMemory(a) {
		t.Error("wrong comparison of memory")
	}
}

func TestLimitsOfASandbox(t *testing.T) {
	p := &v1.Pod{Spec: v1.PodSpec{Containers: []v1.Container{{Name: "a", Resources: requirements(quantities("1", "1Gi"), quantities("1", "1Gi"))}}}}
	p.Annotations = map[string]string{annotationPodLimits: `{"cpuShares":7}`} // of somebody who would mislead us
	if got, ok := PodLimitsCreated(sandboxAnnotations(p)); !ok || got != PodLimitsOf(p) {
		t.Errorf("got %+v, %v", got, ok)
	}
	if _, ok := PodLimitsCreated(nil); ok {
		t.Error("a sandbox without annotations tells its limits")
	}
}
