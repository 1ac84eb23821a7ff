package status

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// resizePending is the condition of a Pod whose containers were to be given
// other resources than they were created with, nil if there is none such: this
// node does not change the resources of a container that runs.
func resizePending(in Input) *v1.PodCondition {
	if in.Terminal {
		return nil
	}
	var names []string
	check := func(c *v1.Container) {
		if run := here(in.View, c.Name); run != nil && spec.Resized(c, run.Annotations) {
			names = append(names, c.Name)
		}
	}
	for i := range in.Pod.Spec.InitContainers {
		if c := &in.Pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == v1.ContainerRestartPolicyAlways {
			check(c)
		}
	}
	for i := range in.Pod.Spec.Containers {
		check(&in.Pod.Spec.Containers[i])
	}
	if len(names) == 0 {
		return nil
	}
	return &v1.PodCondition{
		Type: v1.PodResizePending, Status: v1.ConditionTrue, Reason: v1.PodReasonInfeasible,
		Message: fmt.Sprintf("This node does not change the resources of a running pod; containers that keep what they were created with: %s. Make the pod anew to have its resources changed", strings.Join(names, ", ")),
	}
}

// here is the newest run of a container if it is in the Pod's present sandbox.
func here(view *observe.Pod, name string) *observe.Container {
	s, run := view.Sandbox(), view.Latest(name)
	if s == nil || run == nil || run.SandboxID != s.ID {
		return nil
	}
	return run
}
