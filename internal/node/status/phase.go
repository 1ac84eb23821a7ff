package status

import (
	v1 "k8s.io/api/core/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
)

// tally counts the containers of a Pod by what they are about.
type tally struct {
	// pending counts init containers that still have to do their part, broken
	// those that failed for good.
	pending, broken int
	// The rest counts regular containers and sidecars.
	running, waiting, unknown         int
	stopped, succeeded, notRestarting int
}

// Phase computes a Pod's phase from its container statuses.
func Phase(pod *v1.Pod, s *v1.PodStatus, terminal bool) v1.PodPhase {
	var t tally
	initialized := anyStarted(s.ContainerStatuses)
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		st, ok := podutil.GetContainerStatus(s.InitContainerStatuses, c.Name)
		if podutil.IsRestartableInitContainer(c) {
			t.addSidecar(st, ok, initialized)
		} else {
			t.addInit(pod, c, st, ok)
		}
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		st, ok := podutil.GetContainerStatus(s.ContainerStatuses, c.Name)
		t.addRegular(pod, c, st, ok)
	}
	switch {
	case t.broken > 0:
		return v1.PodFailed
	case t.pending > 0 || t.waiting > 0:
		return v1.PodPending
	case t.running > 0 && t.unknown == 0:
		return v1.PodRunning
	case t.stopped == 0 || t.unknown > 0:
		return v1.PodPending
	case !terminal && t.stopped != t.notRestarting:
		return v1.PodRunning // on their way to the next start
	case t.stopped == t.succeeded:
		return v1.PodSucceeded
	}
	return v1.PodFailed
}

func (t *tally) addInit(pod *v1.Pod, c *v1.Container, s v1.ContainerStatus, ok bool) {
	ended := s.State.Terminated
	if ended == nil && s.State.Waiting != nil {
		ended = s.LastTerminationState.Terminated
	}
	switch {
	case !ok || ended == nil:
		t.pending++
	case ended.ExitCode != 0:
		if podutil.ContainerShouldRestart(*c, pod.Spec, ended.ExitCode) {
			t.pending++
		} else {
			t.broken++
		}
	}
}

func (t *tally) addSidecar(s v1.ContainerStatus, ok, initialized bool) {
	switch {
	case !ok:
		t.unknown++
	case s.State.Running != nil:
		t.running++
		if !initialized && (s.Started == nil || !*s.Started) {
			t.pending++
		}
	case s.State.Waiting != nil && s.LastTerminationState.Terminated == nil:
		t.waiting++
	}
}

func (t *tally) addRegular(pod *v1.Pod, c *v1.Container, s v1.ContainerStatus, ok bool) {
	ended := s.State.Terminated
	succeeded := ended != nil && ended.ExitCode == 0
	if ended == nil && s.State.Waiting != nil {
		ended = s.LastTerminationState.Terminated
	}
	switch {
	case !ok:
		t.unknown++
	case s.State.Running != nil:
		t.running++
	case ended == nil:
		t.waiting++
	default:
		t.stopped++
		if succeeded {
			t.succeeded++
		}
		if !podutil.ContainerShouldRestart(*c, pod.Spec, ended.ExitCode) {
			t.notRestarting++
		}
	}
}

// anyStarted tells whether a regular container runs or has run.
func anyStarted(list []v1.ContainerStatus) bool {
	for i := range list {
		s := &list[i]
		if s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil {
			return true
		}
	}
	return false
}
