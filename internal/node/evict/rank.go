package evict

import (
	"cmp"
	"fmt"
	"slices"

	v1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// Disk is what something takes of a disk.
type Disk struct{ Bytes, Inodes int64 }

func (d Disk) plus(e Disk) Disk { return Disk{d.Bytes + e.Bytes, d.Inodes + e.Inodes} }

// Container is what one container uses: its working set in bytes, its writable
// layer and its logs.
type Container struct {
	Memory      int64
	Layer, Logs Disk
}

// Usage is what a Pod uses.
type Usage struct {
	Pod *v1.Pod
	// Memory is the Pod's working set in bytes, and Processes counts threads, too.
	Memory, Processes int64
	Containers        map[string]Container
	// Local are the Pod's volumes and files on the node's disk.
	Local Disk
}

// Candidate is a Pod in the order of eviction, and why it has its place.
type Candidate struct {
	*Usage
	Reason string
}

// Rank returns the Pods in the order in which they leave a node that lacks what
// the signal is about, the first one first. It is the kubelet's: for memory and
// disk, Pods that use more than they asked for, then those of lower priority,
// then those that use most beyond what they asked for; for processes, those of
// lower priority, then those that have most. Where images have a disk of their
// own (apart), the layers of containers are on that one.
func Rank(s Signal, apart bool, pods []Usage) []Candidate {
	type entry struct {
		*Usage
		used, request int64
	}
	entries := make([]entry, 0, len(pods))
	for i := range pods {
		u := &pods[i]
		entries = append(entries, entry{u, u.of(s, apart), u.request(s.Resource())})
	}
	over := func(e entry) int {
		if e.used > e.request && s != PIDAvailable {
			return 1
		}
		return 0
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(
			over(b)-over(a),
			cmp.Compare(priority(a.Pod), priority(b.Pod)),
			cmp.Compare(b.used-b.request, a.used-a.request),
			cmp.Compare(a.Pod.Namespace+"/"+a.Pod.Name, b.Pod.Namespace+"/"+b.Pod.Name),
		)
	})
	out := make([]Candidate, len(entries))
	for i, e := range entries {
		r := s.Resource()
		reason := fmt.Sprintf("uses %s of %s, asked for %s, priority %d", quantity(r, e.used), r, quantity(r, e.request), priority(e.Pod))
		if over(e) > 0 {
			reason = "more than it asked for: " + reason
		}
		out[i] = Candidate{e.Usage, reason}
	}
	return out
}

// of is what the Pod uses of what the signal is about.
func (u *Usage) of(s Signal, apart bool) int64 {
	switch s {
	case MemoryAvailable:
		return u.Memory
	case PIDAvailable:
		return u.Processes
	}
	var sum Disk
	image := s == ImageFsAvailable || s == ImageFsInodesFree
	for _, c := range u.Containers {
		if !apart || image {
			sum = sum.plus(c.Layer)
		}
		if !apart || !image {
			sum = sum.plus(c.Logs)
		}
	}
	if !apart || !image {
		sum = sum.plus(u.Local)
	}
	if s.Resource() == resourceInodes {
		return sum.Inodes
	}
	return sum.Bytes
}

func (u *Usage) request(r v1.ResourceName) int64 {
	if r != v1.ResourceMemory && r != v1.ResourceEphemeralStorage {
		return 0
	}
	q := resourcehelper.PodRequests(u.Pod, resourcehelper.PodResourcesOptions{})[r]
	return q.Value()
}

func priority(pod *v1.Pod) int32 {
	if pod.Spec.Priority == nil {
		return 0
	}
	return *pod.Spec.Priority
}
