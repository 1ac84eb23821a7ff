package settings

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"time"
)

// criticalPriority is the least priority of Pods that a cluster can't do without,
// scheduling.SystemCriticalPriority.
const criticalPriority = 2_000_000_000

// shutdown reads how long Pods have to end in when the node is shut down
// (KEP-2000 and KEP-2712), by their priorities: shutdownGracePeriod without the
// part for critical Pods is what all others have.
func (v *Values) shutdown(k *Kubelet) error {
	var total, critical time.Duration
	if k.ShutdownGracePeriod != nil {
		total = k.ShutdownGracePeriod.Duration
	}
	if k.ShutdownGracePeriodCriticalPods != nil {
		critical = k.ShutdownGracePeriodCriticalPods.Duration
	}
	list := slices.Clone(k.ShutdownGracePeriodByPodPriority)
	switch {
	case total < 0 || total > 0 && total < time.Second:
		return fmt.Errorf("shutdownGracePeriod %s: give 0 or at least 1s", total)
	case critical < 0 || critical > 0 && critical < time.Second:
		return fmt.Errorf("shutdownGracePeriodCriticalPods %s: give 0 or at least 1s", critical)
	case critical > total:
		return fmt.Errorf("shutdownGracePeriodCriticalPods %s: it is a part of shutdownGracePeriod, which is %s; give no more", critical, total)
	case total > 0 && len(list) > 0:
		return errors.New("shutdownGracePeriodByPodPriority: it can't be given together with shutdownGracePeriod; leave one out")
	}
	if total > 0 {
		list = []ShutdownPriority{
			{Priority: 0, ShutdownGracePeriodSeconds: int64((total - critical) / time.Second)},
			{Priority: criticalPriority, ShutdownGracePeriodSeconds: int64(critical / time.Second)},
		}
	}
	slices.SortFunc(list, func(a, b ShutdownPriority) int { return cmp.Compare(a.Priority, b.Priority) })
	for i, p := range list {
		if p.ShutdownGracePeriodSeconds < 0 {
			return fmt.Errorf("shutdownGracePeriodByPodPriority: the priority %d has %d seconds; give 0 or more", p.Priority, p.ShutdownGracePeriodSeconds)
		}
		if i > 0 && list[i-1].Priority == p.Priority {
			return fmt.Errorf("shutdownGracePeriodByPodPriority: the priority %d is given twice", p.Priority)
		}
	}
	v.Shutdown = list
	return nil
}

// ShutdownTime is how long a shutdown may take in all.
func (v Values) ShutdownTime() time.Duration {
	var sum int64
	for _, p := range v.Shutdown {
		sum += p.ShutdownGracePeriodSeconds
	}
	return time.Duration(sum) * time.Second
}

// ShutdownGroup is the index in Shutdown of a Pod's priority: that of the last
// entry that is not above it, or the first one, as in kubelet.
func (v Values) ShutdownGroup(priority int32) int {
	i, exact := slices.BinarySearchFunc(v.Shutdown, priority, func(p ShutdownPriority, want int32) int { return cmp.Compare(p.Priority, want) })
	if !exact {
		i--
	}
	return max(i, 0)
}
