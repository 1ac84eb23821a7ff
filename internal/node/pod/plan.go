package pod

import (
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"minato/internal/node/observe"
	"minato/internal/node/probe"
	"minato/internal/node/spec"
)

// Plan is what has to be done next for a Pod that should run. An empty one
// says that all is as it should be.
type Plan struct {
	// NewSandbox asks for a sandbox, in place of Replace if that is set. The
	// containers are planned once it is there.
	NewSandbox bool
	Attempt    uint32
	Replace    *observe.Sandbox
	Kill       []Kill
	Start      []*v1.Container
	// Again says that the containers to stop are to be started anew with all others:
	// they are stopped at once, side by side.
	Again bool
	// Update are containers that get other resources as they run. Limits says that
	// the Pod's cgroup has others than it should, Restarting that containers which
	// were stopped for that have yet to be started, and Resizing that there is any
	// difference between what the Pod was granted and what it has.
	Update                       []Update
	Limits, Restarting, Resizing bool
	// Done says that nothing will ever have to be started again.
	Done bool
}

// Kill is a container to stop.
type Kill struct {
	Container *observe.Container
	Spec      *v1.Container
	Message   string
	// Probe is the failed probe, which may have a grace period of its own.
	Probe *v1.Probe
	// Resize says that the container is to be started again at once, with other
	// resources.
	Resize bool
	// Replace says that the container is to be started again at once, from another image.
	Replace bool
}

// Facts are what a plan depends on beside the Pod and the runtime's view of it.
type Facts struct {
	Health func(containerID string) probe.Health
	// ContainerHas tells which resources a run has, SandboxHas what the cgroup of a
	// Pod with a sandbox has. Nil stands for those that the Pod's spec asks for.
	ContainerHas func(c *v1.Container, run *observe.Container) v1.ResourceRequirements
	SandboxHas   func(pod *v1.Pod, view *observe.Pod) spec.PodLimits
	// Stopped are the runs, by ID, that were stopped for other resources.
	Stopped map[string]bool
}

// MakePlan decides what to do next for a Pod as it was granted.
func MakePlan(pod *v1.Pod, view *observe.Pod, facts Facts) Plan {
	p := planner{pod: pod, view: view, Facts: facts, round: view.Round(&pod.Spec)}
	if !p.sandboxGood() {
		p.planSandbox()
		return p.plan
	}
	p.sandbox = view.Sandbox().ID
	if p.planRound(); p.plan.Again {
		return p.plan
	}
	if p.planInit() {
		p.planRegular()
	}
	if !p.plan.Done {
		p.planEphemeral()
		p.planLimits()
	}
	return p.plan
}

type planner struct {
	Facts
	pod     *v1.Pod
	view    *observe.Pod
	sandbox string
	round   int
	plan    Plan
}

// earlier tells whether a run is one of before all containers were to be started anew.
func (p *planner) earlier(run *observe.Container) bool { return run != nil && run.Round() < p.round }

// planRound stops what still runs of before all containers were to be started anew.
func (p *planner) planRound() {
	for _, run := range p.view.Running() {
		c := spec.FindContainer(p.pod, run.Name)
		if !p.earlier(run) || isEphemeral(p.pod, run.Name) {
			continue
		}
		p.plan.Again = true
		p.plan.Kill = append(p.plan.Kill, Kill{Container: run, Spec: c, Message: fmt.Sprintf("Container %s is started anew with all others", run.Name)})
	}
}

func isEphemeral(pod *v1.Pod, name string) bool {
	return slices.ContainsFunc(pod.Spec.EphemeralContainers, func(c v1.EphemeralContainer) bool { return c.Name == name })
}

func (p *planner) sandboxGood() bool {
	s := p.view.Sandbox()
	return s != nil && s.Ready && s.HostNetwork == p.pod.Spec.HostNetwork && (s.HostNetwork || len(s.IPs) > 0)
}

func (p *planner) planSandbox() {
	if !p.unfinished() {
		p.plan.Done = true
		return
	}
	p.plan.NewSandbox = true
	if s := p.view.Sandbox(); s != nil {
		p.plan.Replace, p.plan.Attempt = s, s.Attempt+1
	}
	for _, c := range p.view.Running() {
		p.plan.Kill = append(p.plan.Kill, Kill{Container: c, Spec: spec.FindContainer(p.pod, c.Name)})
	}
}

// unfinished tells whether a container has yet to run, or to run again. A
// container that ran in a sandbox that is lost counts as failed.
func (p *planner) unfinished() bool {
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		latest := p.view.Latest(c.Name)
		if p.earlier(latest) {
			return true
		}
		if latest.Exited() && latest.ExitCode != 0 && !podutil.ContainerShouldRestart(*c, p.pod.Spec, latest.ExitCode) {
			return false
		}
	}
	for i := range p.pod.Spec.Containers {
		c := &p.pod.Spec.Containers[i]
		latest := p.view.Latest(c.Name)
		code := int32(137)
		if latest.Exited() {
			code = latest.ExitCode
		}
		if latest == nil || p.earlier(latest) || podutil.ContainerShouldRestart(*c, p.pod.Spec, code) {
			return true
		}
	}
	return false
}

// here is the newest run of a container if it belongs to the present sandbox, and was
// not before all containers were to be started anew.
func (p *planner) here(name string) *observe.Container {
	if c := p.view.Latest(name); c != nil && c.SandboxID == p.sandbox && !p.earlier(c) {
		return c
	}
	return nil
}

// planInit plans init containers and sidecars, one after the other, and tells
// whether the regular containers may run.
func (p *planner) planInit() (initialized bool) {
	for i := range p.pod.Spec.Containers {
		initialized = initialized || p.here(p.pod.Spec.Containers[i].Name) != nil
	}
	for i := range p.pod.Spec.InitContainers {
		c := &p.pod.Spec.InitContainers[i]
		var done bool
		if podutil.IsRestartableInitContainer(c) {
			done = p.planSidecar(c)
		} else {
			done = initialized || p.planInitContainer(c)
		}
		if !done && !initialized {
			return false
		}
	}
	return true
}

func (p *planner) planSidecar(c *v1.Container) (started bool) {
	run := p.here(c.Name)
	if !run.Running() {
		p.plan.Start = append(p.plan.Start, c)
		return false
	}
	return !p.checkRunning(c, run) && p.Health(run.ID).Started
}

func (p *planner) planInitContainer(c *v1.Container) (done bool) {
	run := p.here(c.Name)
	switch {
	case run.Running():
		p.planResize(c, run)
		return false
	case !run.Exited():
		p.plan.Start = append(p.plan.Start, c)
		return false
	case run.ExitCode == 0:
		return true
	case podutil.ContainerShouldRestart(*c, p.pod.Spec, run.ExitCode):
		p.plan.Start = append(p.plan.Start, c)
	default:
		p.plan.Done = true
	}
	return false
}

func (p *planner) planRegular() {
	unfinished := 0
	for i := range p.pod.Spec.Containers {
		c := &p.pod.Spec.Containers[i]
		latest := p.view.Latest(c.Name)
		switch {
		case p.earlier(latest):
			p.plan.Start = append(p.plan.Start, c)
			unfinished++
		case latest.Running() && latest.SandboxID == p.sandbox:
			p.checkRunning(c, latest)
			unfinished++
		case latest.Exited() && !p.Stopped[latest.ID] && !podutil.ContainerShouldRestart(*c, p.pod.Spec, latest.ExitCode):
		default:
			p.plan.Start = append(p.plan.Start, c)
			unfinished++
		}
	}
	if unfinished == 0 {
		p.plan.Start, p.plan.Kill, p.plan.Update = nil, nil, nil // sidecars end with the Pod
		p.plan.Done = true
	}
}

// checkRunning plans to stop a running container that is not as it should be.
func (p *planner) checkRunning(c *v1.Container, run *observe.Container) (stop bool) {
	h := p.Health(run.ID)
	k := Kill{Container: run, Spec: c}
	again := podutil.ContainerShouldRestart(*c, p.pod.Spec, 137)
	switch hash := run.Annotations[spec.AnnotationHash]; {
	case hash != "" && hash != spec.Hash(c):
		k.Message, k.Replace = fmt.Sprintf("Container %s definition changed", c.Name), again
	case h.StartupFailed:
		k.Message, k.Probe = fmt.Sprintf("Container %s failed startup probe", c.Name), c.StartupProbe
	case h.Dead:
		k.Message, k.Probe = fmt.Sprintf("Container %s failed liveness probe", c.Name), c.LivenessProbe
	default:
		return p.planResize(c, run)
	}
	if again {
		k.Message += ", will be restarted"
	}
	p.plan.Kill = append(p.plan.Kill, k)
	return true
}

// planEphemeral starts the containers that people add for debugging, once.
func (p *planner) planEphemeral() {
	for i := range p.pod.Spec.EphemeralContainers {
		c := v1.Container(p.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		if p.view.Latest(c.Name) == nil {
			p.plan.Start = append(p.plan.Start, &c)
		}
	}
}
