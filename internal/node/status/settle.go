package status

import (
	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// settle gives the containers of a Pod that is over, and of whose end nothing is
// known, the state of a container that was lost, as the kubelet's TerminatePod
// does. A container whose turn never came keeps its state: it waits for good.
func (c containers) settle(s *v1.PodStatus) {
	// The turn is asked for first: a lost init container would answer for others.
	if c.wasInitialized(s) {
		lose(s.ContainerStatuses)
	}
	lose(s.InitContainerStatuses[:reached(s.InitContainerStatuses)])
}

// wasInitialized tells whether the turn of the Pod's regular containers has come.
func (c containers) wasInitialized(s *v1.PodStatus) bool {
	n := len(c.Pod.Spec.InitContainers)
	if n == 0 {
		return true
	}
	if _, before := podutil.GetPodConditionFromList(c.Old.Conditions, v1.PodInitialized); before != nil && before.Status == v1.ConditionTrue {
		return true
	}
	for i := range s.ContainerStatuses {
		if shown(&s.ContainerStatuses[i]) {
			return true
		}
	}
	last := &s.InitContainerStatuses[n-1]
	if podutil.IsRestartableInitContainer(&c.Pod.Spec.InitContainers[n-1]) {
		return last.Started != nil && *last.Started
	}
	return exitedWell(last.State.Terminated) || exitedWell(last.LastTerminationState.Terminated)
}

// reached is how many init containers have had their turn: all up to the last
// that shows a start, and the first in any case.
func reached(list []v1.ContainerStatus) int {
	for n := len(list); n > 1; n-- {
		if shown(&list[n-1]) {
			return n
		}
	}
	return min(len(list), 1)
}

// shown tells whether a status shows that its container has been started.
func shown(s *v1.ContainerStatus) bool {
	return s.State.Waiting == nil || s.LastTerminationState.Terminated != nil
}

func exitedWell(t *v1.ContainerStateTerminated) bool { return t != nil && t.ExitCode == 0 }

// lose marks the containers whose end is not known as lost.
func lose(list []v1.ContainerStatus) {
	for i := range list {
		if list[i].State.Terminated != nil {
			continue
		}
		list[i].State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
			Reason:   statusUnknown,
			Message:  "The container could not be located when the pod was terminated",
			ExitCode: 137,
		}}
		list[i].Ready, list[i].Started = false, new(bool)
	}
}
