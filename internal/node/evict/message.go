package evict

import (
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Reason is what the status of an evicted Pod and the event about it say.
const Reason = "Evicted"

// Annotations of the event about an eviction, the kubelet's.
const (
	annotationPod             = "offending_pod"
	annotationPodUsage        = "offending_pod_usage"
	annotationContainers      = "offending_containers"
	annotationContainersUsage = "offending_containers_usage"
	annotationResource        = "starved_resource"
)

// Message says why the Pod is evicted, in the kubelet's words (evictionMessage),
// for its status and for an event with these annotations.
func Message(crossed Crossed, u *Usage) (message string, annotations map[string]string) {
	r := crossed.Threshold.Signal.Resource()
	var b strings.Builder
	fmt.Fprintf(&b, "The node was low on resource: %s. Threshold quantity: %s, available: %s. ", r, quantity(r, crossed.Least), quantity(r, crossed.Available))
	annotations = map[string]string{}
	if r == v1.ResourceMemory && resourcehelper.IsPodLevelResourcesSet(u.Pod) {
		if request, ok := u.Pod.Spec.Resources.Requests[r]; ok {
			fmt.Fprintf(&b, "Pod %s was using %s, request is %s, has larger consumption of %s. ", u.Pod.Name, quantity(r, u.Memory), request.String(), r)
			annotations[annotationPod], annotations[annotationPodUsage] = u.Pod.Name, quantity(r, u.Memory)
		}
	}
	var names, amounts []string
	for _, list := range [][]v1.Container{u.Pod.Spec.Containers, u.Pod.Spec.InitContainers} {
		for i := range list {
			c := &list[i]
			used, ok := u.Containers[c.Name].of(r)
			request := c.Resources.Requests[r]
			if !ok || request.CmpInt64(used) >= 0 {
				continue
			}
			fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of %s. ", c.Name, quantity(r, used), request.String(), r)
			names, amounts = append(names, c.Name), append(amounts, quantity(r, used))
		}
	}
	annotations[annotationContainers], annotations[annotationContainersUsage] = strings.Join(names, ","), strings.Join(amounts, ",")
	annotations[annotationResource] = string(r)
	return b.String(), annotations
}

// of is what the container uses of a resource that containers can ask for.
func (c Container) of(r v1.ResourceName) (int64, bool) {
	switch r {
	case v1.ResourceMemory:
		return c.Memory, true
	case v1.ResourceEphemeralStorage:
		return c.Layer.Bytes + c.Logs.Bytes, true
	}
	return 0, false
}
