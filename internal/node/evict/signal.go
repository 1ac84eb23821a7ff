package evict

import (
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
)

// Signal is something that a node can run out of, by the kubelet's name.
type Signal string

// The signals that are observed.
const (
	MemoryAvailable   Signal = "memory.available"
	NodeFsAvailable   Signal = "nodefs.available"
	NodeFsInodesFree  Signal = "nodefs.inodesFree"
	ImageFsAvailable  Signal = "imagefs.available"
	ImageFsInodesFree Signal = "imagefs.inodesFree"
	PIDAvailable      Signal = "pid.available"
)

// signals are all of them, in the order in which they are acted on: memory
// first, as the kubelet has it.
var signals = []Signal{MemoryAvailable, NodeFsAvailable, NodeFsInodesFree, ImageFsAvailable, ImageFsInodesFree, PIDAvailable}

// Resources that no Pod can ask for, by the kubelet's names.
const (
	resourceInodes v1.ResourceName = "inodes"
	resourcePIDs   v1.ResourceName = "pids"
)

// Resource is what evictions for the signal win back.
func (s Signal) Resource() v1.ResourceName {
	switch s {
	case MemoryAvailable:
		return v1.ResourceMemory
	case NodeFsAvailable, ImageFsAvailable:
		return v1.ResourceEphemeralStorage
	case NodeFsInodesFree, ImageFsInodesFree:
		return resourceInodes
	}
	return resourcePIDs
}

// Disk tells whether the signal is about a disk, on which a node may find
// something to remove before a Pod has to go.
func (s Signal) Disk() bool {
	return s.Resource() == v1.ResourceEphemeralStorage || s.Resource() == resourceInodes
}

// condition is the condition of a Node that the signal makes true.
func (s Signal) condition() v1.NodeConditionType {
	switch {
	case s == MemoryAvailable:
		return v1.NodeMemoryPressure
	case s == PIDAvailable:
		return v1.NodePIDPressure
	}
	return v1.NodeDiskPressure
}

func known(s Signal) bool { return slices.Contains(signals, s) }

// Names lists the signals for messages.
func Names() string {
	var names []string
	for _, s := range signals {
		names = append(names, string(s))
	}
	return strings.Join(names, ", ")
}
