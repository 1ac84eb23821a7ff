package status

import (
	"cmp"
	"time"
	"unicode/utf8"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podutil "k8s.io/kubernetes/pkg/api/v1/pod"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"

	"minato/internal/node/observe"
	"minato/internal/node/spec"
)

// Waiting is why a container has not started.
type Waiting struct{ Reason, Message string }

// Probes is what is known of a running container's health.
type Probes struct{ Started, Ready bool }

// Verdict ends a Pod for a reason that its containers do not show.
type Verdict struct {
	Reason, Message string
	// Disrupts says that it ends for the sake of others on its node.
	Disrupts bool
}

// Input is everything that a status depends on.
type Input struct {
	// Pod is the API's with the resources that the node has granted it, Old the
	// status that was computed last.
	Pod *v1.Pod
	Old v1.PodStatus
	// View is what the runtime has. Nil stands for nothing.
	View *observe.Pod
	// RuntimeName goes before container IDs.
	RuntimeName string
	// Probes answers for a running container, by ID.
	Probes func(containerID string) Probes
	// Resize are the conditions of the Pod's resizes. Has tells what a run of a
	// container was given last; nil stands for what was granted.
	Resize []v1.PodCondition
	Has    func(c *v1.Container, run *observe.Container) v1.ResourceRequirements
	// PodHas tells what the cgroup of a Pod that has a sandbox was given last; nil
	// stands for what it was made with.
	PodHas func() spec.PodLimits
	// Devices tells how the devices of a regular container are; nil is of no devices.
	Devices func(c *v1.Container) []v1.ResourceStatus
	// Waiting holds why containers have not started, by name.
	Waiting map[string]Waiting
	// Failed is set where the node itself ends the Pod.
	Failed *Verdict
	// Terminal says that no container will be started again; Over that in
	// addition none runs any more, so that the Pod's phase has to be final.
	Terminal, Over bool
	HostIPs        []string
	Now            time.Time
}

// Rejected is the status of a Pod that the node does not take. Of its containers
// it says nothing: there never were any.
func Rejected(pod *v1.Pod, reason, message string, now time.Time) v1.PodStatus {
	s := v1.PodStatus{
		Phase: v1.PodFailed, Reason: reason, Message: "Pod was rejected: " + message,
		QOSClass: qos.GetPodQOS(pod), StartTime: pod.Status.StartTime, ObservedGeneration: pod.Generation,
		NominatedNodeName: pod.Status.NominatedNodeName, ResourceClaimStatuses: pod.Status.ResourceClaimStatuses,
		ExtendedResourceClaimStatus: pod.Status.ExtendedResourceClaimStatus,
	}
	if s.StartTime == nil {
		start := apiTime(now)
		s.StartTime = &start
	}
	for _, c := range pod.Status.Conditions {
		if !Owned(c.Type) || c.Type == v1.PodScheduled {
			s.Conditions = append(s.Conditions, c)
		}
	}
	return s
}

// Compute returns the status that the Pod should have.
func Compute(in Input) v1.PodStatus {
	pod := in.Pod
	s := v1.PodStatus{
		QOSClass:           qos.GetPodQOS(pod),
		StartTime:          in.Old.StartTime,
		NominatedNodeName:  in.Old.NominatedNodeName,
		ObservedGeneration: pod.Generation,

		ResourceClaimStatuses: in.Old.ResourceClaimStatuses, ExtendedResourceClaimStatus: in.Old.ExtendedResourceClaimStatus,
	}
	if s.StartTime == nil {
		now := apiTime(in.Now)
		s.StartTime = &now
	}
	c := containers{Input: in, round: in.View.Round(&pod.Spec)}
	s.InitContainerStatuses = c.init()
	s.ContainerStatuses = c.regular()
	s.EphemeralContainerStatuses = c.ephemeral()
	if in.Over {
		c.settle(&s)
	}
	s.AllocatedResources, s.Resources = podResources(in)
	limitMessages(&s)
	setAddresses(&s, in)
	setPhase(&s, c)
	s.Conditions = conditions(c, &s)
	return s
}

// apiTime is a time as the API keeps it, in seconds: what is written reads the
// same afterwards.
func apiTime(t time.Time) metav1.Time { return metav1.NewTime(t).Rfc3339Copy() }

func setPhase(s *v1.PodStatus, in containers) {
	s.Phase = Phase(in.Pod, s, in.Terminal)
	if in.restarting() {
		s.Phase = cmp.Or(in.Old.Phase, v1.PodPending) // nothing of before counts
	}
	if old := in.Old.Phase; podutil.IsPodPhaseTerminal(old) {
		s.Phase = old // a final phase stays
	}
	// A phase is final only once nothing runs any more: the scheduler gives the
	// Pod's place to others as soon as it sees one.
	if in.Failed != nil && in.Over && !podutil.IsPodPhaseTerminal(in.Old.Phase) {
		s.Phase, s.Reason, s.Message = v1.PodFailed, in.Failed.Reason, in.Failed.Message
		return
	}
	if in.Over && !podutil.IsPodPhaseTerminal(s.Phase) {
		s.Phase = v1.PodFailed
	}
	if s.Phase == in.Old.Phase {
		s.Reason, s.Message = in.Old.Reason, in.Old.Message
	}
}

// setAddresses keeps the addresses of a Pod whose sandbox is gone: they are
// still what its last traffic came from.
func setAddresses(s *v1.PodStatus, in Input) {
	for _, ip := range in.HostIPs {
		s.HostIPs = append(s.HostIPs, v1.HostIP{IP: ip})
	}
	if len(in.HostIPs) > 0 {
		s.HostIP = in.HostIPs[0]
	}
	ips := in.View.IPs()
	if in.Pod.Spec.HostNetwork {
		ips = in.HostIPs
	}
	for _, ip := range ips {
		s.PodIPs = append(s.PodIPs, v1.PodIP{IP: ip})
	}
	if len(ips) == 0 {
		s.PodIPs = in.Old.PodIPs
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}

// maxMessages is how long the termination messages of a Pod may be together, in
// bytes: kubelet's MaxPodTerminationMessageLogLength. All containers have the
// same part of it.
const maxMessages = 12 * 1024

func limitMessages(s *v1.PodStatus) {
	lists := [][]v1.ContainerStatus{s.InitContainerStatuses, s.ContainerStatuses, s.EphemeralContainerStatuses}
	n := 0
	for _, l := range lists {
		n += len(l)
	}
	if n == 0 {
		return
	}
	cut := func(t *v1.ContainerStateTerminated) {
		if t != nil {
			t.Message = cutText(t.Message, maxMessages/n)
		}
	}
	for _, l := range lists {
		for i := range l {
			cut(l[i].State.Terminated)
			cut(l[i].LastTerminationState.Terminated)
		}
	}
}

// cutText is the beginning of a text, at most so many bytes. No character is cut
// in two: the API server would replace what is left of it, and then the status
// that it has would never be the one that was sent.
func cutText(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
