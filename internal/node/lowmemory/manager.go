// Package lowmemory has Pods evicted from a node that is about to run out of the
// memory that it claims, as the kubelet's eviction manager does: below the hard
// threshold, without grace, one Pod at a time, in the kubelet's order.
//
// Where a Pod uses memory up faster than it is measured, the kernel ends processes
// of the node first, which is not decided here. The package changes nothing
// itself: it reads what it is given and asks for evictions.
package lowmemory

import (
	"context"
	"log/slog"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"minato/internal/node/guard"
	"minato/internal/node/spec"
)

const (
	// Threshold is what must be left, the kubelet's memory.available<100Mi.
	Threshold = 100 << 20
	// Period is how often memory is measured, the kubelet's.
	Period = 10 * time.Second
	reason = "Evicted"
)

// Evictor ends Pods.
type Evictor interface {
	// Evict ends a Pod: its phase becomes Failed with this reason and message,
	// and an event of type Warning says the same. It does not wait, and returns
	// false where the node does not run the Pod.
	Evict(uid types.UID, reason, message string) bool
}

// Runtime is the part of the CRI that measures containers.
type Runtime interface {
	ListContainerStats(ctx context.Context, filter *runtimeapi.ContainerStatsFilter) ([]*runtimeapi.ContainerStats, error)
}

// Config is what a Manager needs.
type Config struct {
	// Pods lists the Pods of the node.
	Pods    func() []*v1.Pod
	Evictor Evictor
	Runtime Runtime
	// Available is what the node has left, in bytes.
	Available func() (int64, error)
	Clock     clock.WithTicker
	Logger    *slog.Logger
}

// Manager measures a node's memory.
type Manager struct {
	cfg Config
	// evicted are the Pods that are being ended.
	evicted map[types.UID]bool
}

// New returns a manager that measures nothing yet.
func New(cfg Config) *Manager {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Manager{cfg: cfg, evicted: map[types.UID]bool{}}
}

// Run measures until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	tick := m.cfg.Clock.NewTicker(Period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
		}
		err := guard.Do("measure the node's memory", func() error { return m.check(ctx) })
		if err != nil && ctx.Err() == nil {
			m.cfg.Logger.Warn("the node's memory cannot be measured; no pod is evicted for it", "error", err)
		}
	}
}

// check evicts one Pod if too little is left. The next one waits for the next
// time, since that one may be enough.
func (m *Manager) check(ctx context.Context) error {
	available, err := m.cfg.Available()
	if err != nil || available >= Threshold {
		return err
	}
	stats, err := m.cfg.Runtime.ListContainerStats(ctx, nil)
	if err != nil {
		return err
	}
	used := map[types.UID]map[string]int64{}
	for _, s := range stats {
		labels := s.GetAttributes().GetLabels()
		uid := types.UID(labels[spec.LabelPodUID])
		if used[uid] == nil {
			used[uid] = map[string]int64{}
		}
		used[uid][labels[spec.LabelContainerName]] += int64(s.GetMemory().GetWorkingSetBytes().GetValue())
	}
	var pods []Usage
	present := map[types.UID]bool{}
	for _, pod := range m.cfg.Pods() {
		present[pod.UID] = true
		if m.evicted[pod.UID] && len(used[pod.UID]) > 0 {
			return nil // its memory is on its way back
		}
		if pod.DeletionTimestamp == nil && pod.Status.Phase != v1.PodFailed && pod.Status.Phase != v1.PodSucceeded {
			pods = append(pods, Usage{Pod: pod, Containers: used[pod.UID]})
		}
	}
	for uid := range m.evicted {
		if !present[uid] {
			delete(m.evicted, uid)
		}
	}
	chosen := Choose(pods)
	if chosen == nil {
		m.cfg.Logger.Warn("the node is low on memory, and has no pod to evict", "available", available)
		return nil
	}
	m.evicted[chosen.Pod.UID] = m.cfg.Evictor.Evict(chosen.Pod.UID, reason, Message(chosen, Threshold, available))
	return nil
}
