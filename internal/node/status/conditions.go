package status

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// Reasons of conditions, upstream's words.
const (
	reasonCompleted      = "PodCompleted"
	reasonFailed         = "PodFailed"
	reasonNotReady       = "ContainersNotReady"
	reasonNotInitialized = "ContainersNotInitialized"
	reasonGates          = "ReadinessGatesNotReady"
	reasonRestarting     = "RestartAllContainersStarted"
)

// Owned tells whether the node sets conditions of that type.
func Owned(t v1.PodConditionType) bool {
	switch t {
	case v1.PodScheduled, v1.PodReady, v1.PodInitialized, v1.ContainersReady, v1.PodReadyToStartContainers,
		v1.PodResizePending, v1.PodResizeInProgress, v1.AllContainersRestarting:
		return true
	}
	return false
}

// conditions are those of others as they are, then the node's own.
func conditions(all containers, s *v1.PodStatus) []v1.PodCondition {
	in := all.Input
	var out []v1.PodCondition
	for _, c := range in.Pod.Status.Conditions {
		if !Owned(c.Type) && !(c.Type == v1.DisruptionTarget && disrupted(in) != nil) {
			out = append(out, c)
		}
	}
	containersReady := containersReady(in, s)
	ready := podReady(in.Pod, containersReady, out)
	scheduled := v1.PodCondition{Type: v1.PodScheduled, Status: v1.ConditionTrue}
	own := []v1.PodCondition{sandboxReady(in), initialized(in.Pod, s), ready, containersReady, scheduled}
	if podutil.AllContainersCouldRestart(&in.Pod.Spec) {
		own = append(own, allRestarting(all))
	}
	if c := disrupted(in); c != nil {
		own = append(own, *c)
	}
	for _, c := range own {
		c.ObservedGeneration = in.Pod.Generation
		out = append(out, dated(c, in))
	}
	if !in.Terminal {
		// These are about the generation that asks for the resources.
		for _, c := range in.Resize {
			out = append(out, dated(c, in))
		}
	}
	return out
}

// allRestarting tells whether a container has yet to be started anew because another one
// has ended (KEP-5532).
func allRestarting(in containers) v1.PodCondition {
	c := v1.PodCondition{Type: v1.AllContainersRestarting, Status: v1.ConditionFalse}
	if in.restarting() {
		c.Status, c.Reason, c.Message = v1.ConditionTrue, reasonRestarting, "a container has exited, and its restartPolicyRules have all containers started anew"
	}
	return c
}

// disrupted says that the Pod ends for the sake of others on its node (KEP-3329),
// nil where it does not.
func disrupted(in Input) *v1.PodCondition {
	if in.Failed == nil || !in.Failed.Disrupts {
		return nil
	}
	return &v1.PodCondition{
		Type: v1.DisruptionTarget, Status: v1.ConditionTrue, Reason: v1.PodReasonTerminationByKubelet, Message: in.Failed.Message,
	}
}

// Own tells whether a condition is the node's: one of a type that it owns, or one
// that says that the node has ended the Pod, where others may say that they have.
func Own(c v1.PodCondition) bool {
	return Owned(c.Type) || c.Type == v1.DisruptionTarget && c.Reason == v1.PodReasonTerminationByKubelet
}

// dated takes over the time of the last transition unless this is one.
func dated(c v1.PodCondition, in Input) v1.PodCondition {
	c.LastTransitionTime = apiTime(in.Now)
	for _, list := range [][]v1.PodCondition{in.Old.Conditions, in.Pod.Status.Conditions} {
		if _, old := podutil.GetPodConditionFromList(list, c.Type); old != nil && old.Status == c.Status && !old.LastTransitionTime.IsZero() {
			c.LastTransitionTime, c.LastProbeTime = old.LastTransitionTime, old.LastProbeTime
			return c
		}
	}
	return c
}

func sandboxReady(in Input) v1.PodCondition {
	c := v1.PodCondition{Type: v1.PodReadyToStartContainers, Status: v1.ConditionFalse}
	if s := in.View.Sandbox(); s != nil && s.Ready && (s.HostNetwork || len(s.IPs) > 0) {
		c.Status = v1.ConditionTrue
	}
	return c
}

func initialized(pod *v1.Pod, s *v1.PodStatus) v1.PodCondition {
	c := v1.PodCondition{Type: v1.PodInitialized, Status: v1.ConditionTrue}
	var incomplete []string
	for i := range pod.Spec.InitContainers {
		ctr := &pod.Spec.InitContainers[i]
		st, _ := podutil.GetContainerStatus(s.InitContainerStatuses, ctr.Name)
		done := st.Ready
		if podutil.IsRestartableInitContainer(ctr) {
			done = st.Started != nil && *st.Started
		}
		if !done {
			incomplete = append(incomplete, ctr.Name)
		}
	}
	switch {
	case s.Phase == v1.PodSucceeded:
		c.Reason = reasonCompleted
	case len(incomplete) > 0 && !anyStarted(s.ContainerStatuses):
		c.Status, c.Reason = v1.ConditionFalse, reasonNotInitialized
		c.Message = fmt.Sprintf("containers with incomplete status: %s", incomplete)
	}
	return c
}

func containersReady(in Input, s *v1.PodStatus) v1.PodCondition {
	pod := in.Pod
	c := v1.PodCondition{Type: v1.ContainersReady, Status: v1.ConditionTrue}
	var unready []string
	for i := range pod.Spec.InitContainers {
		ctr := &pod.Spec.InitContainers[i]
		if st, _ := podutil.GetContainerStatus(s.InitContainerStatuses, ctr.Name); podutil.IsRestartableInitContainer(ctr) && !st.Ready {
			unready = append(unready, ctr.Name)
		}
	}
	for i := range pod.Spec.Containers {
		if st, _ := podutil.GetContainerStatus(s.ContainerStatuses, pod.Spec.Containers[i].Name); !st.Ready {
			unready = append(unready, pod.Spec.Containers[i].Name)
		}
	}
	switch {
	case s.Phase == v1.PodSucceeded:
		c.Status, c.Reason = v1.ConditionFalse, reasonCompleted
	case s.Phase == v1.PodFailed || in.Failed != nil:
		c.Status, c.Reason = v1.ConditionFalse, reasonFailed
	case len(unready) > 0:
		c.Status, c.Reason = v1.ConditionFalse, reasonNotReady
		c.Message = fmt.Sprintf("containers with unready status: %s", unready)
	}
	return c
}

// podReady adds the readiness gates, which others set, to the containers.
func podReady(pod *v1.Pod, containers v1.PodCondition, others []v1.PodCondition) v1.PodCondition {
	c := containers
	c.Type = v1.PodReady
	if c.Status != v1.ConditionTrue {
		return c
	}
	var unmet []string
	for _, gate := range pod.Spec.ReadinessGates {
		_, have := podutil.GetPodConditionFromList(others, gate.ConditionType)
		switch {
		case have == nil:
			unmet = append(unmet, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case have.Status != v1.ConditionTrue:
			unmet = append(unmet, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, have.Status))
		}
	}
	if len(unmet) > 0 {
		c.Status, c.Reason, c.Message = v1.ConditionFalse, reasonGates, strings.Join(unmet, ", ")
	}
	return c
}
