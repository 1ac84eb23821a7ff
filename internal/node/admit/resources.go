package admit

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	podresource "k8s.io/component-helpers/resource"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper"
)

// resources checks that what all Pods ask for together fits into what the node
// can allocate.
func resources(in Input) *Refusal {
	free := in.Node.Status.Allocatable
	if limit, ok := free[v1.ResourcePods]; ok && int64(len(in.Others))+1 > limit.Value() {
		return outOf(v1.ResourcePods, 1, int64(len(in.Others)), limit.Value())
	}
	wanted := podresource.PodRequests(withoutClaimed(in.Pod), podresource.PodResourcesOptions{})
	if len(wanted) == 0 {
		return nil
	}
	used := usedBy(in.Others)
	for _, name := range inOrder(wanted) {
		want := wanted[name]
		have, offered := free[name]
		if given, ok := in.Allocated[name]; ok && given.Cmp(have) > 0 {
			have, offered = given, true
		}
		if amount(name, want) <= 0 || (!offered && helper.IsExtendedResourceName(name)) {
			continue // an extended resource that the node does not have is the cluster's
		}
		taken := used[name]
		if amount(name, want) > amount(name, have)-amount(name, taken) {
			return outOf(name, amount(name, want), amount(name, taken), amount(name, have))
		}
	}
	return nil
}

// withoutClaimed is the Pod without the extended resources that the scheduler has found
// by way of a ResourceClaim (KEP-5004): whatever the node tells of a resource of that
// name, they are none of it.
func withoutClaimed(pod *v1.Pod) *v1.Pod {
	s := pod.Status.ExtendedResourceClaimStatus
	if s == nil || len(s.RequestMappings) == 0 {
		return pod
	}
	pod = pod.DeepCopy()
	for _, list := range [][]v1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			for _, m := range s.RequestMappings {
				if m.ContainerName == list[i].Name {
					delete(list[i].Resources.Requests, v1.ResourceName(m.ResourceName))
				}
			}
		}
	}
	return pod
}

func usedBy(pods []*v1.Pod) v1.ResourceList {
	sum := v1.ResourceList{}
	for _, p := range pods {
		for name, q := range podresource.PodRequests(withoutClaimed(p), podresource.PodResourcesOptions{}) {
			total := sum[name]
			total.Add(q)
			sum[name] = total
		}
	}
	return sum
}

// inOrder lists CPU, memory and ephemeral storage first: of several that do not
// fit, the first is told.
func inOrder(list v1.ResourceList) []v1.ResourceName {
	first := []v1.ResourceName{v1.ResourceCPU, v1.ResourceMemory, v1.ResourceEphemeralStorage}
	var names []v1.ResourceName
	for name := range list {
		names = append(names, name)
	}
	rank := func(n v1.ResourceName) int {
		if i := slices.Index(first, n); i >= 0 {
			return i
		}
		return len(first)
	}
	slices.SortFunc(names, func(a, b v1.ResourceName) int {
		if d := rank(a) - rank(b); d != 0 {
			return d
		}
		return strings.Compare(string(a), string(b))
	})
	return names
}

// amount is a quantity in the unit that is compared: CPU in thousandths.
func amount(name v1.ResourceName, q resource.Quantity) int64 {
	if name == v1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func outOf(name v1.ResourceName, requested, used, capacity int64) *Refusal {
	return refuse("OutOf"+string(name), "Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d", name, requested, used, capacity)
}
