package pod

import (
	"slices"
	"strings"
	"testing"
	"time"

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

func restartsOn(name v1.ResourceName) func(*v1.Pod) {
	return func(p *v1.Pod) {
		p.Spec.Containers[0].ResizePolicy = []v1.ContainerResizePolicy{{ResourceName: name, RestartPolicy: v1.RestartContainer}}
	}
}

// resized hands the manager the Pod with other resources.
func (b *bench) resized(p *v1.Pod, change ...func(*v1.Pod)) *v1.Pod {
	p = p.DeepCopy()
	for _, fn := range change {
		fn(p)
	}
	p.Generation++
	p.Status = b.reporter.get(p.Name)
	b.manager.Update(p)
	return p
}

func (b *bench) condition(name string, t v1.PodConditionType) *v1.PodCondition {
	_, c := podutil.GetPodConditionFromList(b.reporter.get(name).Conditions, t)
	return c
}

// done tells whether the Pod has what it asks for.
func (b *bench) settled(p *v1.Pod) func() bool {
	return func() bool {
		s := b.reporter.get(p.Name)
		if s.ObservedGeneration != p.Generation || b.condition(p.Name, v1.PodResizePending) != nil || b.condition(p.Name, v1.PodResizeInProgress) != nil {
			return false
		}
		for i, c := range p.Spec.Containers {
			if r := s.ContainerStatuses[i].Resources; r.Limits.Cpu().Cmp(*c.Resources.Limits.Cpu()) != 0 || r.Limits.Memory().Cmp(*c.Resources.Limits.Memory()) != 0 {
				return false
			}
		}
		return true
	}
}

func (b *bench) changes() []string {
	var out []string
	for _, c := range b.runtime.Calls() {
		if strings.HasPrefix(c, "Update") {
			out = append(out, c)
		}
	}
	return out
}

func TestResizeInPlace(t *testing.T) {
	b := newBench(t)
	p := newPod("web", gets("200m", "64Mi"))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	p = b.resized(p, gets("500m", "32Mi"))
	b.eventually("it has what it asks for", b.settled(p))
	// Memory shrinks: the container first. CPU grows: the Pod first.
	want := []string{
		"UpdateContainerResources main shares=204 quota=20000 memory=33554432",
		"UpdatePodSandboxResources web shares=0 quota=0 memory=33554432",
		"UpdatePodSandboxResources web shares=512 quota=50000 memory=0",
		"UpdateContainerResources main shares=512 quota=50000 memory=33554432",
	}
	if got := b.changes(); !slices.Equal(got, want) {
		t.Errorf("calls = %q, want %q", got, want)
	}
	if s := b.reporter.get("web").ContainerStatuses[0]; s.RestartCount != 0 || s.AllocatedResources.Cpu().String() != "500m" {
		t.Errorf("status = %+v", s)
	}
	for _, e := range []string{`ResizeStarted Pod resize started: {"containers":[{"name":"main","resources":{"limits":{"cpu":"500m","memory":"32Mi"},"requests":{"cpu":"500m","memory":"32Mi"}}}],"generation":2}`, `ResizeCompleted Pod resize completed: {"containers":[`} {
		if !b.events.has(e)() {
			t.Errorf("no event %s in %q", e, b.events.all())
		}
	}
	// A run that follows has them from the start.
	b.runtime.Exit("main", 1)
	b.eventually("it is started again", func() bool { return b.count("StartContainer main") == 2 })
	if r := b.runtime.Config("main").Linux.Resources; r.MemoryLimitInBytes != 32<<20 || r.CpuQuota != 50_000 {
		t.Errorf("it was started with %v", r)
	}
	if got := b.changes(); len(got) != len(want) {
		t.Errorf("more was changed: %q", got)
	}
}

func TestResizeByRestart(t *testing.T) {
	b := newBench(t)
	// It ends well on SIGTERM, which must not count as its end.
	p := newPod("web", gets("200m", "64Mi"), restart(v1.RestartPolicyOnFailure), restartsOn(v1.ResourceMemory))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	for i, memory := range []string{"128Mi", "32Mi", "64Mi"} { // at once, without a pause
		p = b.resized(p, gets("200m", memory))
		b.eventually("it has what it asks for", b.settled(p))
		if n := b.count("StartContainer main"); n != i+2 {
			t.Fatalf("it was started %d times for %d changes", n, i+1)
		}
		if got, want := b.runtime.Limits("web").MemoryLimitInBytes, p.Spec.Containers[0].Resources.Limits.Memory().Value(); got != want {
			t.Errorf("the Pod has %d, want %d", got, want)
		}
	}
	if !b.events.has("Killing Container main resize requires restart")() {
		t.Errorf("events = %q", b.events.all())
	}
	p = b.resized(p, gets("300m", "64Mi"))
	b.eventually("it has what it asks for", b.settled(p))
	if n := b.count("StartContainer main"); n != 4 {
		t.Errorf("it was started %d times", n)
	}
}

// wholeGets are resources of the Pod as a whole, of which the first container has no part of
// its own, and the second one has.
func wholeGets(cpu, memory string) func(*v1.Pod) {
	return func(p *v1.Pod) {
		list := v1.ResourceList{v1.ResourceCPU: resource.MustParse(cpu), v1.ResourceMemory: resource.MustParse(memory)}
		p.Spec.Resources = &v1.ResourceRequirements{Requests: list, Limits: list.DeepCopy()}
		own := p.Spec.Containers[0].DeepCopy()
		own.Name, own.ResizePolicy = "own", nil
		small := v1.ResourceList{v1.ResourceCPU: resource.MustParse("50m"), v1.ResourceMemory: resource.MustParse("16Mi")}
		own.Resources = v1.ResourceRequirements{Requests: small, Limits: small.DeepCopy()}
		p.Spec.Containers = append(p.Spec.Containers[:1], *own)
	}
}

func TestResizeOfTheWhole(t *testing.T) {
	b := newBench(t)
	p := newPod("web", wholeGets("200m", "128Mi"))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	p = b.resized(p, wholeGets("500m", "64Mi"))
	has := func() bool {
		s := b.reporter.get("web")
		return b.settled(p)() && s.Resources != nil && s.Resources.Limits.Cpu().String() == "500m" && s.Resources.Limits.Memory().String() == "64Mi" && s.AllocatedResources.Memory().String() == "64Mi"
	}
	b.eventually("it has what it asks for", has)
	// Memory shrinks: the container first. CPU grows: the Pod first.
	want := []string{
		"UpdateContainerResources main shares=204 quota=20000 memory=67108864",
		"UpdatePodSandboxResources web shares=0 quota=0 memory=67108864",
		"UpdatePodSandboxResources web shares=512 quota=50000 memory=0",
		"UpdateContainerResources main shares=512 quota=50000 memory=67108864",
	}
	if got := b.changes(); !slices.Equal(got, want) {
		t.Errorf("calls = %q, want %q", got, want)
	}
	for _, s := range b.reporter.get("web").ContainerStatuses {
		if limit := s.Resources.Limits.Memory().String(); s.Name == "main" && len(s.Resources.Limits) > 0 || s.Name == "own" && limit != "16Mi" || s.RestartCount > 0 {
			t.Errorf("container %s has %v", s.Name, s.Resources)
		}
	}
	b.restart()
	b.manager.Update(p)
	b.runtime.Exit("main", 1)
	b.eventually("it is started again", func() bool { return b.count("StartContainer main") == 2 })
	if r := b.runtime.Config("main").Linux.Resources; r.MemoryLimitInBytes != 64<<20 || r.CpuQuota != 50_000 {
		t.Errorf("it was started with %v", r)
	}
	b.eventually("it still has what it asks for", has)
	if got := b.changes(); len(got) != len(want) {
		t.Errorf("more was changed: %q", got)
	}
}

// A container that has the limit of the Pod as a whole is restarted for it as for one of
// its own.
func TestResizeOfTheWholeByRestart(t *testing.T) {
	b := newBench(t)
	p := newPod("web", wholeGets("200m", "128Mi"), restartsOn(v1.ResourceMemory))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	p = b.resized(p, wholeGets("200m", "256Mi"), restartsOn(v1.ResourceMemory))
	b.eventually("it has what it asks for", func() bool {
		return b.settled(p)() && b.count("StartContainer main") == 2 && b.runtime.Limits("web").MemoryLimitInBytes == 256<<20
	})
	p = b.resized(p, wholeGets("300m", "256Mi"), restartsOn(v1.ResourceMemory))
	b.eventually("it has what it asks for", func() bool {
		return b.settled(p)() && b.reporter.get("web").Resources.Limits.Cpu().String() == "300m"
	})
	if main, own := b.count("StartContainer main"), b.count("StartContainer own"); main != 2 || own != 1 {
		t.Errorf("main was started %d times, and own %d times", main, own)
	}
}

func TestResizeOfSeveral(t *testing.T) {
	b := newBench(t)
	two := func(a, c string) func(*v1.Pod) {
		return func(p *v1.Pod) {
			gets(a, "64Mi")(p)
			other := p.Spec.Containers[0].DeepCopy()
			other.Name = "other"
			p.Spec.Containers = append(p.Spec.Containers[:1], *other)
			last := v1.ResourceList{v1.ResourceCPU: resource.MustParse(c), v1.ResourceMemory: resource.MustParse("64Mi")}
			p.Spec.Containers[1].Resources = v1.ResourceRequirements{Requests: last, Limits: last.DeepCopy()}
		}
	}
	p := newPod("web", two("200m", "400m"))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	p = b.resized(p, two("300m", "200m"))
	b.eventually("it has what it asks for", b.settled(p))
	want := []string{ // what shrinks first, and the Pod last
		"UpdateContainerResources other shares=204 quota=20000 memory=67108864",
		"UpdateContainerResources main shares=307 quota=30000 memory=67108864",
		"UpdatePodSandboxResources web shares=512 quota=50000 memory=0",
	}
	if got := b.changes(); !slices.Equal(got, want) {
		t.Errorf("calls = %q, want %q", got, want)
	}
}

func TestResizeOfInitContainersAndSidecars(t *testing.T) {
	b := newBench(t)
	p := newPod("web", gets("100m", "64Mi"), withInit("side", sidecar), withInit("init", func(*v1.Container) {}))
	for i := range p.Spec.InitContainers {
		p.Spec.InitContainers[i].Resources = *p.Spec.Containers[0].Resources.DeepCopy()
	}
	b.manager.Update(p)
	b.eventually("the init container runs", b.called("StartContainer init"))
	p = b.resized(p, func(p *v1.Pod) {
		for i := range p.Spec.InitContainers {
			p.Spec.InitContainers[i].Resources.Limits[v1.ResourceCPU] = resource.MustParse("200m")
		}
	})
	b.eventually("both have more", func() bool {
		list := b.reporter.get("web").InitContainerStatuses
		return len(list) == 2 && list[0].Resources.Limits.Cpu().String() == "200m" && list[1].Resources.Limits.Cpu().String() == "200m" &&
			b.condition("web", v1.PodResizeInProgress) == nil
	})
	if b.count("StartContainer side") != 1 || b.count("StartContainer init") != 1 {
		t.Errorf("calls = %q", b.runtime.Calls())
	}
}

func TestResizeIsDeferred(t *testing.T) {
	b := newBench(t)
	big, p := newPod("big", gets("3", "1Gi")), newPod("web", gets("500m", "64Mi"))
	b.manager.Update(big)
	b.manager.Update(p)
	b.eventually("both run", func() bool { return b.phase("big", v1.PodRunning)() && b.phase("web", v1.PodRunning)() })
	p = b.resized(p, gets("2", "64Mi"))
	pending := func() *v1.PodCondition { return b.condition("web", v1.PodResizePending) }
	b.eventually("it is put off", func() bool { return pending() != nil })
	const message = "Node didn't have enough resource: cpu, requested: 2000, used: 3000, capacity: 4000"
	if c := pending(); c.Reason != v1.PodReasonDeferred || c.Message != message || c.ObservedGeneration != p.Generation {
		t.Errorf("condition = %+v", c)
	}
	if s := b.reporter.get("web").ContainerStatuses[0]; s.Resources.Limits.Cpu().String() != "500m" || s.AllocatedResources.Cpu().String() != "500m" {
		t.Errorf("it is said to have %+v", s)
	}
	if !b.events.has(`ResizeDeferred Pod resize Deferred: {"containers":[`)() {
		t.Errorf("events = %q", b.events.all())
	}
	// What it has counts, not what it asks for.
	small := newPod("small", gets("400m", "64Mi"))
	b.manager.Update(small)
	b.eventually("a third one is taken", b.phase("small", v1.PodRunning))
	// A run that follows has what was granted.
	b.runtime.Exit("main", 1)
	// The other one shrinks, and there is room.
	b.resized(big, gets("1", "1Gi"))
	b.eventually("it has what it asks for", b.settled(p))

	p = b.resized(p, gets("8", "64Mi"))
	b.eventually("it is put off", func() bool { return pending() != nil })
	p = b.resized(p, gets("2", "64Mi"))
	b.eventually("the wish is taken back", b.settled(p))
}

func TestDeferredResizeFollowsTheEndOfAnother(t *testing.T) {
	b := newBench(t)
	big, p := newPod("big", gets("3", "1Gi")), newPod("web", gets("500m", "64Mi"))
	b.manager.Update(big)
	b.manager.Update(p)
	b.eventually("both run", func() bool { return b.phase("big", v1.PodRunning)() && b.phase("web", v1.PodRunning)() })
	p = b.resized(p, gets("2", "64Mi"))
	b.eventually("it is put off", func() bool { return b.condition("web", v1.PodResizePending) != nil })
	b.manager.Update(deleted(big, 1))
	b.eventually("it has what it asks for", b.settled(p))
}

func TestDeferredResizeIsLookedAtAgain(t *testing.T) {
	b := newBench(t)
	p := newPod("web", gets("500m", "64Mi"))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	p = b.resized(p, gets("8", "64Mi"))
	b.eventually("it is put off", func() bool { return b.condition("web", v1.PodResizePending) != nil })
	b.node.change(func(n *v1.Node) { n.Status.Allocatable[v1.ResourceCPU] = resource.MustParse("16") })
	b.stepUntil("it has what it asks for", deferPause+time.Second, b.settled(p))
}

func TestMemoryInUseIsNotTaken(t *testing.T) {
	b := newBench(t)
	p := newPod("web", gets("200m", "64Mi"))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	b.runtime.Use("main", 48<<20)
	p = b.resized(p, gets("200m", "32Mi"))
	progress := func() *v1.PodCondition { return b.condition("web", v1.PodResizeInProgress) }
	b.eventually("it fails", func() bool { return progress() != nil && progress().Reason == v1.PodReasonError })
	if c := progress(); !strings.HasPrefix(c.Message, "cannot decrease memory limits: attempting to set pod memory limit (33554432) below current usage (50331648)") || c.ObservedGeneration != p.Generation {
		t.Errorf("condition = %+v", c)
	}
	if len(b.changes()) > 0 {
		t.Errorf("calls = %q", b.changes())
	}
	if !b.events.has("ResizeError Pod resize error: ")() {
		t.Errorf("events = %q", b.events.all())
	}
	b.runtime.Use("main", 16<<20)
	b.stepUntil("it has what it asks for", time.Minute, b.settled(p))
}

// Another agent finds what was granted and what was put into effect.
func TestResizeOutlivesTheAgent(t *testing.T) {
	b := newBench(t)
	p := newPod("web", gets("200m", "64Mi"))
	b.manager.Update(p)
	b.eventually("it runs", b.phase("web", v1.PodRunning))
	p = b.resized(p, gets("500m", "64Mi"))
	b.eventually("it has what it asks for", b.settled(p))
	before := len(b.changes())

	p = p.DeepCopy()
	p.Status = b.reporter.get("web")
	gets("8", "64Mi")(p) // while no agent was there
	p.Generation++
	b.restart()
	b.manager.Update(p)
	b.eventually("it is put off", func() bool { return b.condition("web", v1.PodResizePending) != nil })
	if s := b.reporter.get("web").ContainerStatuses[0]; s.Resources.Limits.Cpu().String() != "500m" || s.AllocatedResources.Cpu().String() != "500m" {
		t.Errorf("it is said to have %+v", s)
	}
	p = b.resized(p, gets("500m", "64Mi"))
	b.eventually("it has what it asks for", b.settled(p))
	if got := b.changes(); len(got) != before {
		t.Errorf("it was changed once more: %q", got)
	}
	b.manager.Update(deleted(p, 1))
	b.eventually("it has ended", b.reporter.done("web"))
	b.manager.Delete(p)
	b.eventually("its record is gone", func() bool { return len(b.manager.cfg.Allocations.UIDs()) == 0 })
}
