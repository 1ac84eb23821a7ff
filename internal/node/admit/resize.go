package admit

import (
	"cmp"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	podresource "k8s.io/component-helpers/resource"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper/qos"
)

// CheckResize returns why the node does not give a Pod the resources that its
// spec asks for by now, nil if it does. The reason is that of the condition
// PodResizePending: Deferred, for it may fit later.
//
// As kubelet, it asks what it asks of a new Pod. More than the whole node has is
// deferred too: a node may grow.
func CheckResize(in Input) *Refusal {
	if r := Check(in); r != nil {
		return &Refusal{Reason: v1.PodReasonDeferred, Message: r.Message}
	}
	return nil
}

// Resize is a Pod that waits for resources.
type Resize struct {
	Pod, Granted *v1.Pod
	// Since is when the Pod began to wait, zero if it has just asked.
	Since time.Time
}

// CompareResizes tells which of two is decided about first, in kubelet's order:
// one that asks for no more than it has, a higher priority, the better QoS
// class, the one that waits longer. Of equal ones the name decides.
func CompareResizes(a, b Resize) int {
	return cmp.Or(
		compareBools(b.grows(), a.grows()),
		cmp.Compare(priority(b.Pod), priority(a.Pod)),
		compareBools(guaranteed(a.Pod), guaranteed(b.Pod)),
		compareBools(!a.Since.IsZero(), !b.Since.IsZero()),
		a.Since.Compare(b.Since),
		strings.Compare(a.Pod.Namespace, b.Pod.Namespace),
		strings.Compare(a.Pod.Name, b.Pod.Name),
		strings.Compare(string(a.Pod.UID), string(b.Pod.UID)),
	)
}

// compareBools puts the true one first.
func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func (r Resize) grows() bool {
	old := podresource.PodRequests(r.Granted, podresource.PodResourcesOptions{})
	wanted := podresource.PodRequests(r.Pod, podresource.PodResourcesOptions{})
	return wanted.Cpu().Cmp(*old.Cpu()) > 0 || wanted.Memory().Cmp(*old.Memory()) > 0
}

func priority(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

func guaranteed(pod *v1.Pod) bool { return qos.GetPodQOS(pod) == v1.PodQOSGuaranteed }
