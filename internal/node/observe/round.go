package observe

import (
	"slices"
	"strconv"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"minato/internal/node/spec"
)

// Round counts how often all containers of the Pod were to be started anew because one
// has ended so that a rule of it has the action RestartAllContainers (KEP-5532). A run
// belongs to the round that it was made in, and those of earlier rounds count as if they
// had not been. It is known from the runs alone: that of the container that asked for a
// round is there until the container has one of that round.
func (p *Pod) Round(s *v1.PodSpec) int {
	if p == nil || !podutil.AllContainersCouldRestart(s) {
		return 0
	}
	round := 0
	for i := range p.Containers {
		c := &p.Containers[i]
		at := c.Round()
		if c.RestartsAll(s) {
			at++
		}
		round = max(round, at)
	}
	return round
}

// Round is the one that the run was made in.
func (c *Container) Round() int {
	if c == nil {
		return 0
	}
	n, err := strconv.Atoi(c.Annotations[spec.AnnotationRound])
	if err != nil || n < 0 {
		return 0 // the first one is not written down
	}
	return n
}

// RestartsAll tells whether the run has ended so that all containers are to be started
// anew.
func (c *Container) RestartsAll(s *v1.PodSpec) bool {
	if !c.Exited() {
		return false
	}
	for _, list := range [][]v1.Container{s.InitContainers, s.Containers} {
		i := slices.IndexFunc(list, func(o v1.Container) bool { return o.Name == c.Name })
		if i < 0 || list[i].RestartPolicy == nil {
			continue
		}
		rule, found := podutil.FindMatchingContainerRestartRule(list[i], c.ExitCode)
		return found && rule.Action == v1.ContainerRestartRuleActionRestartAllContainers
	}
	return false
}
