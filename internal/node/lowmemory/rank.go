package lowmemory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"minato/internal/node/spec"
)

// Usage is a Pod and its working sets of memory, in bytes, by container.
type Usage struct {
	Pod        *v1.Pod
	Containers map[string]int64
}

func (u *Usage) total() (n int64) {
	for _, bytes := range u.Containers {
		n += bytes
	}
	return n
}

// request is what the Pod asked for, in bytes.
func (u *Usage) request() int64 {
	requests := resourcehelper.PodRequests(u.Pod, resourcehelper.PodResourcesOptions{})
	return requests.Memory().Value()
}

// Choose returns the Pod to evict, or nil if there is none that may be. The order
// is the kubelet's (rankMemoryPressure): Pods that use more than they asked for
// come first, then those of lower priority, then those that use most beyond what
// they asked for. Pods that the cluster can't do without are left out.
func Choose(pods []Usage) *Usage {
	var able []*Usage
	for i := range pods {
		if !spec.Critical(pods[i].Pod) && pods[i].total() > 0 {
			able = append(able, &pods[i])
		}
	}
	if len(able) == 0 {
		return nil
	}
	return slices.MinFunc(able, func(a, b *Usage) int {
		overA, overB := a.total()-a.request(), b.total()-b.request()
		return cmp.Or(
			-compareBool(overA > 0, overB > 0),
			cmp.Compare(priority(a.Pod), priority(b.Pod)),
			cmp.Compare(overB, overA),
			cmp.Compare(a.Pod.Namespace+"/"+a.Pod.Name, b.Pod.Namespace+"/"+b.Pod.Name),
		)
	})
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

func priority(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}

// Message says why a Pod is evicted, in the kubelet's words (evictionMessage).
func Message(u *Usage, threshold, available int64) string {
	quantity := func(n int64) string { return resource.NewQuantity(n, resource.BinarySI).String() }
	var b strings.Builder
	fmt.Fprintf(&b, "The node was low on resource: memory. Threshold quantity: %s, available: %s. ", quantity(threshold), kib(available))
	for _, containers := range [][]v1.Container{u.Pod.Spec.InitContainers, u.Pod.Spec.Containers} {
		for i := range containers {
			c := &containers[i]
			request := c.Resources.Requests.Memory().Value()
			if used := u.Containers[c.Name]; used > request {
				fmt.Fprintf(&b, "Container %s was using %s, request is %s, has larger consumption of memory. ", c.Name, kib(used), quantity(request))
			}
		}
	}
	return b.String()
}

// kib is a measured number of bytes, in KiB as the kubelet prints it.
func kib(n int64) string { return fmt.Sprintf("%dKi", n>>10) }
