package status

import (
	v1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// Reasons of container states that are not the runtime's.
const (
	containerCreating = "ContainerCreating"
	podInitializing   = "PodInitializing"
	statusUnknown     = "ContainerStatusUnknown"
)

// containers computes their statuses.
type containers struct {
	Input
	round int // observe.Pod.Round
}

// again tells whether a container has yet to be started anew, with all others, since a
// run of it.
func (c containers) again(run *observe.Container) bool {
	return run != nil && run.Round() < c.round && !c.Terminal
}

// restarting tells whether that is so of any.
func (c containers) restarting() bool {
	for _, list := range [][]v1.Container{c.Pod.Spec.InitContainers, c.Pod.Spec.Containers} {
		for i := range list {
			if c.again(c.View.Latest(list[i].Name)) {
				return true
			}
		}
	}
	return false
}

func (c containers) init() []v1.ContainerStatus {
	var out []v1.ContainerStatus
	for i := range c.Pod.Spec.InitContainers {
		ctr := &c.Pod.Spec.InitContainers[i]
		s := c.one(ctr, old(c.Old.InitContainerStatuses, ctr.Name))
		if c.lost(ctr, &s) {
			s.State = v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
				Reason:  "Completed",
				Message: "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally",
			}}
		}
		if !podutil.IsRestartableInitContainer(ctr) {
			s.Ready = s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
		}
		out = append(out, s)
	}
	return out
}

// lost tells whether an init container must have run, for a regular one exists,
// though the runtime no longer knows of it.
func (c containers) lost(ctr *v1.Container, s *v1.ContainerStatus) bool {
	if podutil.IsRestartableInitContainer(ctr) || s.State.Waiting == nil || c.View.Latest(ctr.Name) != nil {
		return false
	}
	for i := range c.Pod.Spec.Containers {
		if c.View.Latest(c.Pod.Spec.Containers[i].Name) != nil {
			return true
		}
	}
	return false
}

func (c containers) regular() []v1.ContainerStatus {
	var out []v1.ContainerStatus
	for i := range c.Pod.Spec.Containers {
		ctr := &c.Pod.Spec.Containers[i]
		s := c.one(ctr, old(c.Old.ContainerStatuses, ctr.Name))
		if c.Devices != nil {
			s.AllocatedResourcesStatus = c.Devices(ctr)
		}
		out = append(out, s)
	}
	return out
}

func (c containers) ephemeral() []v1.ContainerStatus {
	var out []v1.ContainerStatus
	for i := range c.Pod.Spec.EphemeralContainers {
		ctr := v1.Container(c.Pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		s := c.one(&ctr, old(c.Old.EphemeralContainerStatuses, ctr.Name))
		s.Ready, s.Started = false, nil
		out = append(out, s)
	}
	return out
}

func old(list []v1.ContainerStatus, name string) *v1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// one computes the status of one container.
func (c containers) one(ctr *v1.Container, old *v1.ContainerStatus) v1.ContainerStatus {
	s := v1.ContainerStatus{Name: ctr.Name, Image: ctr.Image, VolumeMounts: volumeMounts(ctr)}
	started := new(bool)
	s.Started = started
	latest := c.View.Latest(ctr.Name)
	if latest == nil {
		c.unseen(&s, old)
	} else {
		c.seen(&s, latest, c.View.Previous(ctr.Name), old)
	}
	if latest.Running() {
		p := c.Probes(latest.ID)
		*started, s.Ready = p.Started, p.Ready
	}
	if c.again(latest) && s.State.Terminated != nil {
		s.LastTerminationState = s.State
		s.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: c.initialReason()}}
	}
	c.applyWaiting(ctr, &s, latest)
	if latest != nil {
		c.resources(ctr, &s, latest)
	}
	return s
}

// initialReason is why a container waits of which nothing else is known.
func (c containers) initialReason() string {
	if len(c.Pod.Spec.InitContainers) > 0 {
		return podInitializing
	}
	return containerCreating
}

// unseen is a container that the runtime does not have.
func (c containers) unseen(s *v1.ContainerStatus, old *v1.ContainerStatus) {
	s.State.Waiting = &v1.ContainerStateWaiting{Reason: c.initialReason()}
	if old == nil {
		return
	}
	if old.State.Terminated != nil {
		// It ended and was removed since; what is known of it stays.
		s.State, s.ContainerID, s.ImageID = old.State, old.ContainerID, old.ImageID
	}
	s.RestartCount = old.RestartCount
	s.LastTerminationState = old.LastTerminationState
	if old.State.Running != nil && s.LastTerminationState.Terminated == nil {
		s.LastTerminationState.Terminated = &v1.ContainerStateTerminated{
			Reason:   statusUnknown,
			Message:  "The container could not be located when the pod was deleted.  The container used to be Running",
			ExitCode: 137,
		}
		if c.Pod.DeletionTimestamp == nil {
			s.RestartCount++
		}
	}
}

func (c containers) seen(s *v1.ContainerStatus, latest, previous *observe.Container, old *v1.ContainerStatus) {
	s.ContainerID = c.id(latest)
	s.ImageID = latest.ImageRef
	s.RestartCount = int32(latest.Attempt)
	if latest.Image != "" {
		s.Image = latest.Image
	}
	s.State = c.state(latest)
	if latest.Running() && latest.User != nil && latest.User.Linux != nil {
		u := latest.User.Linux
		s.User = &v1.ContainerUser{Linux: &v1.LinuxContainerUser{UID: u.Uid, GID: u.Gid, SupplementalGroups: u.SupplementalGroups}}
	}
	switch {
	case previous != nil:
		s.LastTerminationState = c.state(previous)
		s.LastTerminationState.Waiting = nil
	case old != nil && old.ContainerID != s.ContainerID && old.State.Terminated != nil:
		s.LastTerminationState = old.State
	case old != nil:
		s.LastTerminationState = old.LastTerminationState
	}
}

func (c containers) id(ctr *observe.Container) string { return c.RuntimeName + "://" + ctr.ID }

func (c containers) state(ctr *observe.Container) v1.ContainerState {
	switch ctr.State {
	case runtimeapi.ContainerState_CONTAINER_RUNNING:
		return v1.ContainerState{Running: &v1.ContainerStateRunning{StartedAt: apiTime(ctr.StartedAt)}}
	case runtimeapi.ContainerState_CONTAINER_EXITED:
		return v1.ContainerState{Terminated: &v1.ContainerStateTerminated{
			ExitCode: ctr.ExitCode, Reason: exitReason(ctr), Message: ctr.Message,
			StartedAt: apiTime(ctr.StartedAt), FinishedAt: apiTime(ctr.FinishedAt), ContainerID: c.id(ctr),
		}}
	}
	return v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: containerCreating}}
}

func exitReason(ctr *observe.Container) string {
	switch {
	case ctr.Reason != "":
		return ctr.Reason
	case ctr.ExitCode == 0:
		return "Completed"
	}
	return "Error"
}

// applyWaiting shows why a container that should run does not.
func (c containers) applyWaiting(ctr *v1.Container, s *v1.ContainerStatus, latest *observe.Container) {
	w, ok := c.Waiting[ctr.Name]
	if !ok || c.Terminal || latest.Running() {
		return
	}
	if latest.Exited() && !c.again(latest) && !podutil.ContainerShouldRestart(*ctr, c.Pod.Spec, latest.ExitCode) {
		return
	}
	if s.State.Terminated != nil {
		s.LastTerminationState = s.State
	}
	s.State = v1.ContainerState{Waiting: &v1.ContainerStateWaiting{Reason: w.Reason, Message: w.Message}}
}

func volumeMounts(ctr *v1.Container) []v1.VolumeMountStatus {
	var out []v1.VolumeMountStatus
	for i := range ctr.VolumeMounts {
		m := &ctr.VolumeMounts[i]
		s := v1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := v1.RecursiveReadOnlyDisabled
			if spec.RecursiveReadOnly(m) {
				mode = v1.RecursiveReadOnlyEnabled
			}
			s.RecursiveReadOnly = &mode
		}
		out = append(out, s)
	}
	return out
}
