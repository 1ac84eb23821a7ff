package node

import (
	"fmt"
	"syscall"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/kubernetes/pkg/apis/core/v1/helper"

	"minato/internal/host"
	"minato/internal/node/evict"
	"minato/internal/node/spec"
)

// measureDisk adds ephemeral-storage to the node's capacity, unless it was
// given: the size of the file system that the node's directory is on, as
// kubelet has it, or what the node may have of it. The nodes of a machine share it,
// as they share memory.
func (c *Config) measureDisk() error {
	if _, given := c.Capacity[v1.ResourceEphemeralStorage]; given {
		return nil
	}
	var fs syscall.Statfs_t
	if err := syscall.Statfs(c.Dir, &fs); err != nil {
		return fmt.Errorf("measure the disk that %s is on: %w", c.Dir, err)
	}
	capacity := v1.ResourceList{}
	for name, q := range c.Capacity { // which may be another node's too
		capacity[name] = q
	}
	size := int64(fs.Blocks) * fs.Bsize
	if c.StorageLimit > 0 {
		size = min(size, c.StorageLimit)
	}
	capacity[v1.ResourceEphemeralStorage] = *resource.NewQuantity(size, resource.BinarySI)
	c.Capacity = capacity
	return nil
}

// allocatable is what of the capacity Pods may ask for: without what has to be
// left for none to be evicted.
func (c *Config) allocatable() v1.ResourceList {
	list := c.Capacity.DeepCopy()
	if disk, ok := list[v1.ResourceEphemeralStorage]; ok {
		left := disk.Value() - evict.Hard(c.Settings.Thresholds, evict.NodeFsAvailable, disk.Value())
		list[v1.ResourceEphemeralStorage] = *resource.NewQuantity(max(0, left), resource.BinarySI)
	}
	if memory, ok := list[v1.ResourceMemory]; ok && c.MemoryLimit > 0 {
		left := memory.Value() - evict.Hard(c.Settings.Thresholds, evict.MemoryAvailable, memory.Value())
		list[v1.ResourceMemory] = *resource.NewQuantity(max(0, left), resource.BinarySI)
	}
	return list
}

// hugePageSizes are those that the machine has, in bytes.
func (c *Config) hugePageSizes() (sizes []int64) {
	for _, p := range c.hugePages() {
		sizes = append(sizes, p.Size)
	}
	return sizes
}

// hugePages are the machine's pools as they are now: who looks after the machine may
// change them at any time.
func (c *Config) hugePages() []host.HugePages {
	if c.HugePages == nil {
		return nil // a Config that is not complete
	}
	pools, err := c.HugePages()
	if err != nil {
		c.Logger.Warn("the machine's huge pages can't be counted, so the node has none", "error", err)
	}
	return pools
}

// addHugePages adds huge pages to what the node has. Those of the machine, which its nodes
// share as they share memory, are taken off the memory that Pods may ask for: nobody else
// gets that, whether the pages are used or not. A node whose memory is limited has
// what it has, pages or not. Of a size that the node has a limit of, it has that much, as
// long as the machine has it.
func (c *Config) addHugePages(capacity, allocatable v1.ResourceList) {
	for _, p := range c.hugePages() {
		bytes := p.Size * p.Total
		if memory, ok := allocatable[v1.ResourceMemory]; ok && c.MemoryLimit == 0 {
			allocatable[v1.ResourceMemory] = *resource.NewQuantity(max(0, memory.Value()-bytes), resource.BinarySI)
		}
		if limit, limited := c.HugePageLimits[p.Size]; limited {
			bytes = min(bytes, limit)
		}
		name, q := spec.HugePageResource(p.Size), *resource.NewQuantity(bytes, resource.BinarySI)
		capacity[name], allocatable[name] = q, q
	}
}

// podDefaults are what the downward API tells of limits that nobody has set: what of the
// node Pods may ask for, as its Node says.
func (c *Config) podDefaults() v1.ResourceList {
	list := c.allocatable()
	c.addHugePages(v1.ResourceList{}, list)
	return list
}

// setResources sets what the node has. Extended resources are those of whoever
// has written them into the Node's capacity; all of them can be used.
func (c *Config) setResources(s *v1.NodeStatus, old v1.NodeStatus) {
	s.Capacity = c.Capacity.DeepCopy()
	if s.Capacity == nil {
		s.Capacity = v1.ResourceList{}
	}
	s.Capacity[v1.ResourcePods] = *resource.NewQuantity(c.Settings.MaxPods, resource.DecimalSI)
	for name, q := range old.Capacity {
		if _, own := s.Capacity[name]; !own && helper.IsExtendedResourceName(name) {
			s.Capacity[name] = q
		}
	}
	s.Allocatable = s.Capacity.DeepCopy()
	for name, q := range c.allocatable() {
		s.Allocatable[name] = q
	}
	c.addHugePages(s.Capacity, s.Allocatable)
}
