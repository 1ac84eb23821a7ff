package report

import (
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// minor tells whether nobody acts on what differs between two statuses of a Pod: that
// it waits for its containers to be made and has got addresses for them, or that its
// newest generation was seen. A Pod that starts or ends has another status soon,
// which says the same and more.
func minor(old, want *v1.PodStatus) bool {
	x, y := old.DeepCopy(), want.DeepCopy()
	if y.Phase == v1.PodPending && (x.Phase == v1.PodPending || x.Phase == "") {
		dropFirst(x, y)
	}
	for _, s := range []*v1.PodStatus{x, y} {
		s.ObservedGeneration = 0
		for i := range s.Conditions {
			s.Conditions[i].ObservedGeneration = 0
		}
	}
	return equality.Semantic.DeepEqual(x, y)
}

// dropFirst takes out of the statuses of a Pod that is pending what the node says
// before the first container has come as far as to run, or to fail.
func dropFirst(x, y *v1.PodStatus) {
	for _, s := range []*v1.PodStatus{x, y} {
		s.Phase, s.StartTime = v1.PodPending, nil
		s.HostIP, s.HostIPs, s.PodIP, s.PodIPs = "", nil, "", nil
		var others []v1.PodCondition
		for _, c := range s.Conditions {
			switch c.Type {
			case v1.PodScheduled, v1.PodReadyToStartContainers, v1.PodInitialized, v1.ContainersReady, v1.PodReady:
			default:
				others = append(others, c)
			}
		}
		s.Conditions = others
	}
	for _, lists := range [][2]*[]v1.ContainerStatus{
		{&x.InitContainerStatuses, &y.InitContainerStatuses}, {&x.ContainerStatuses, &y.ContainerStatuses},
	} {
		if len(*lists[0]) == 0 && allToCome(*lists[1]) {
			*lists[1] = nil
		}
	}
}

// allToCome tells whether all containers wait for nothing but to be made, as kubelet
// calls it.
func allToCome(list []v1.ContainerStatus) bool {
	for i := range list {
		w := list[i].State.Waiting
		if w == nil || w.Reason != "ContainerCreating" && w.Reason != "PodInitializing" {
			return false
		}
	}
	return true
}
