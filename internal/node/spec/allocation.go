package spec

import (
	"encoding/json"
	"maps"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Allocation is what a node has given a Pod: the requests and limits of each of
// its containers, by name, and by whole those of the Pod as a whole, empty if it
// has none. Where the Pod's spec asks for something else by now (KEP-1287), the
// node has yet to grant that. One that an earlier version has recorded has no
// whole: what the spec says of that was granted with the Pod.
type Allocation map[string]v1.ResourceRequirements

// whole is no container's name.
const whole = ""

// AllocationOf is what the Pod's spec asks for.
func AllocationOf(pod *v1.Pod) Allocation {
	a := Allocation{whole: ofWhole(pod)}
	for i := range pod.Spec.InitContainers {
		a[pod.Spec.InitContainers[i].Name] = *pod.Spec.InitContainers[i].Resources.DeepCopy()
	}
	for i := range pod.Spec.Containers {
		a[pod.Spec.Containers[i].Name] = *pod.Spec.Containers[i].Resources.DeepCopy()
	}
	return a
}

// ofWhole are the resources of the Pod as a whole, empty if its spec has none.
func ofWhole(pod *v1.Pod) v1.ResourceRequirements {
	if pod.Spec.Resources == nil {
		return v1.ResourceRequirements{}
	}
	return *pod.Spec.Resources.DeepCopy()
}

// AllocationFromStatus is what the Pod's status says that it was given, for a
// node that has lost its own record. A container without such a status has
// what its spec asks for.
func AllocationFromStatus(pod *v1.Pod) Allocation {
	a := AllocationOf(pod)
	if pod.Status.Resources != nil {
		r := a[whole]
		r.Requests, r.Limits = told(r.Requests, pod.Status.AllocatedResources), told(r.Limits, pod.Status.Resources.Limits)
		a[whole] = r
	}
	for _, list := range [][]v1.ContainerStatus{pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses} {
		for i := range list {
			s := &list[i]
			r, known := a[s.Name]
			if !known || s.Resources == nil {
				continue
			}
			r.Requests, r.Limits = s.AllocatedResources.DeepCopy(), s.Resources.Limits.DeepCopy()
			a[s.Name] = r
		}
	}
	return a
}

// told are those of the resources of a list that another list tells of: a status has
// also those of the containers.
func told(list, status v1.ResourceList) v1.ResourceList {
	out := v1.ResourceList{}
	for name, q := range list {
		if s, known := status[name]; known {
			q = s
		}
		out[name] = q.DeepCopy()
	}
	return out
}

// Apply returns the Pod as the node has granted it, and whether that differs
// from what its spec asks for. The Pod itself stays as it is.
func (a Allocation) Apply(pod *v1.Pod) (granted *v1.Pod, differs bool) {
	granted = pod
	if r, known := a[whole]; known && !equality.Semantic.DeepEqual(ofWhole(pod), r) {
		granted, differs = pod.DeepCopy(), true
		granted.Spec.Resources = nil
		if !equality.Semantic.DeepEqual(r, v1.ResourceRequirements{}) {
			granted.Spec.Resources = r.DeepCopy()
		}
	}
	for _, list := range []func(*v1.Pod) []v1.Container{
		func(p *v1.Pod) []v1.Container { return p.Spec.InitContainers },
		func(p *v1.Pod) []v1.Container { return p.Spec.Containers },
	} {
		for i := range list(pod) {
			r, known := a[list(pod)[i].Name]
			if !known || equality.Semantic.DeepEqual(list(pod)[i].Resources, r) {
				continue
			}
			if !differs {
				granted, differs = pod.DeepCopy(), true
			}
			list(granted)[i].Resources = *r.DeepCopy()
		}
	}
	return granted, differs
}

// Given are a container's requests, and its limits or those of the Pod as a whole.
func Given(pod *v1.Pod, c *v1.Container) v1.ResourceRequirements {
	r := *c.Resources.DeepCopy()
	r.Limits = EffectiveLimits(pod, c).DeepCopy()
	return r
}

// Created are the requests and limits, as Given has them, that a run of a container was
// created with. A run without the annotations that tell, of an earlier version, has those
// of the spec.
func Created(pod *v1.Pod, c *v1.Container, annotations map[string]string) v1.ResourceRequirements {
	own := *c
	own.Resources = v1.ResourceRequirements{} // nothing is read into the container's own lists
	if err := json.Unmarshal([]byte(annotations[annotationResources]), &own.Resources); err != nil {
		own.Resources = *c.Resources.DeepCopy()
	}
	r := Given(pod, &own)
	var limits v1.ResourceList
	if err := json.Unmarshal([]byte(annotations[annotationLimits]), &limits); err == nil {
		r.Limits = limits
	}
	return r
}

// Resizable are the resources that may be changed while a container runs.
func Resizable() []v1.ResourceName { return []v1.ResourceName{v1.ResourceMemory, v1.ResourceCPU} }

// Same tells whether both ask for the same of one resource.
func Same(a, b v1.ResourceRequirements, name v1.ResourceName) bool {
	requestA, limitA := a.Requests[name], a.Limits[name]
	return requestA.Cmp(b.Requests[name]) == 0 && limitA.Cmp(b.Limits[name]) == 0
}

// With is r with one resource as it is in from.
func With(r, from v1.ResourceRequirements, name v1.ResourceName) v1.ResourceRequirements {
	r.Requests, r.Limits = with(r.Requests, from.Requests, name), with(r.Limits, from.Limits, name)
	return r
}

func with(list, from v1.ResourceList, name v1.ResourceName) v1.ResourceList {
	q, set := from[name]
	if _, had := list[name]; !set && !had {
		return list
	}
	list = maps.Clone(list)
	if list == nil {
		list = v1.ResourceList{}
	}
	if set {
		list[name] = q
	} else {
		delete(list, name)
	}
	return list
}
