package pod

import (
	"testing"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

func gets(cpu, memory string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		list := v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
		p.Spec.Containers[0].Resources = v1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
	}
}

// Until the node can change the resources of a container that runs, it says what
// the container has, and that it will not have what is asked for.
func TestResizeIsInfeasible(t *testing.T) {
	b := newBench(t)
	p := newPod("web", gets("200m", "64Mi"))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	p = p.DeepCopy()
	gets("500m", "128Mi")(p)
	p.Generation++
	b.manager.Update(p)
	pending := func() *v1.PodCondition {
		_, c := podutil.GetPodConditionFromList(b.reporter.get("web").Conditions, v1.PodResizePending)
		return c
	}
	b.eventually("the condition is there", func() bool { return pending() != nil })
	if c := pending(); c.Status != v1.ConditionTrue || c.Reason != v1.PodReasonInfeasible || c.ObservedGeneration != p.Generation {
		t.Errorf("condition = %+v", c)
	}
	check := func() {
		t.Helper()
		s := b.reporter.get("web").ContainerStatuses[0]
		if cpu := s.Resources.Limits.Cpu().String(); cpu != "200m" {
			t.Errorf("it is said to have %s", cpu)
		}
		if memory := s.AllocatedResources.Memory().String(); memory != "64Mi" {
			t.Errorf("it is said to have been given %s", memory)
		}
		if limit := b.runtime.Config("main").Linux.Resources.MemoryLimitInBytes; limit != 64<<20 {
			t.Errorf("its limit is %d", limit)
		}
	}
	check()
	if !b.events.has("ResizeInfeasible ")() {
		t.Errorf("events = %q", b.events.all())
	}
	// The sandbox's cgroup is for the old ones, so a new run has them too.
	b.runtime.Exit("main", 1)
	b.eventually("it is started again", func() bool { return b.count("StartContainer main") == 2 })
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	check()

	p = p.DeepCopy()
	gets("200m", "64Mi")(p)
	b.manager.Update(p)
	b.eventually("the condition is gone", func() bool { return pending() == nil })
}
