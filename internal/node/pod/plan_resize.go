package pod

import (
	"fmt"

	v1 "k8s.io/api/core/v1"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// planResize has a running container get the resources that it was granted:
// while it runs, or by a restart if its resizePolicy asks for one. It tells
// whether the container is stopped.
func (p *planner) planResize(c *v1.Container, run *observe.Container) (stop bool) {
	if p.ContainerHas == nil {
		return false
	}
	has, wants := p.ContainerHas(c, run), spec.Given(p.pod, c)
	differs, restart := false, false
	for _, name := range spec.Resizable() {
		if !spec.Same(has, wants, name) {
			differs, restart = true, restart || restartsFor(c, name)
		}
	}
	switch {
	case restart:
		p.plan.Kill = append(p.plan.Kill, Kill{Container: run, Spec: c, Message: fmt.Sprintf("Container %s resize requires restart", c.Name), Resize: true})
	case differs:
		p.plan.Update = append(p.plan.Update, Update{Run: run, Spec: c, Wants: wants, Has: has})
	}
	return restart
}

// restartsFor tells whether a container has to be restarted for a change of the
// resource; without a policy it has not.
func restartsFor(c *v1.Container, name v1.ResourceName) bool {
	for _, policy := range c.ResizePolicy {
		if policy.ResourceName == name {
			return policy.RestartPolicy == v1.RestartContainer
		}
	}
	return false
}

// planLimits compares the limits of the Pod's cgroup with what was granted, and
// sums up whether a resize is under way.
func (p *planner) planLimits() {
	if p.SandboxHas != nil {
		p.plan.Limits = p.SandboxHas(p.pod, p.view) != spec.PodLimitsOf(p.pod)
	}
	for _, c := range p.plan.Start {
		if latest := p.view.Latest(c.Name); latest != nil && p.Stopped[latest.ID] {
			p.plan.Restarting = true
		}
	}
	p.plan.Resizing = p.plan.Limits || p.plan.Restarting || len(p.plan.Update) > 0
	for _, k := range p.plan.Kill {
		p.plan.Resizing = p.plan.Resizing || k.Resize
	}
}
