package node

import (
	"context"
	"errors"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/evict"
	"minato/internal/node/mirror"
	"minato/internal/node/pod"
	"minato/internal/node/pressure"
	"minato/internal/node/spec"
	measure "minato/internal/node/usage"
)

// newPressure makes what keeps the node from running out of something.
func (a *Agent) newPressure() *pressure.Manager {
	s := a.cfg.Settings
	return pressure.New(pressure.Config{
		Thresholds: s.Thresholds, Transition: s.Transition, MaxGrace: s.MaxGrace,
		Observe: a.observe, Measure: a.measure, Apart: a.imagesApart, Reclaim: a.reclaim,
		Able:    func(p *v1.Pod) bool { return !spec.Critical(p) },
		Evictor: evictor{a.pods}, Shared: a.shares, Turn: a.cfg.EvictionTurn,
		Tell:    func(reason, message string) { a.events.Event(a.node.reference(), v1.EventTypeWarning, reason, message) },
		Changed: a.node.report, Logger: a.cfg.Logger,
	})
}

// shares tells whether the machine's other nodes use up the same.
func (a *Agent) shares(s evict.Signal) bool {
	switch s {
	case evict.MemoryAvailable:
		return a.cfg.MemoryLimit == 0
	case evict.PIDAvailable:
		return a.cfg.ProcessLimit == 0
	}
	return true
}

// purgePatience bounds the wait for what ended Pods leave, of which one may wait for
// a CSI driver: until then the node looks at nothing else.
const purgePatience = 30 * time.Second

// reclaim removes what no Pod needs from the disk that a signal is about. Images don't
// count towards what a node may have of the machine's.
func (a *Agent) reclaim(ctx context.Context, s evict.Signal) error {
	purging, cancel := context.WithTimeout(ctx, purgePatience)
	defer cancel()
	err := a.pods.Purge(purging)
	images := a.cfg.StorageLimit == 0 || s == evict.ImageFsAvailable || s == evict.ImageFsInodesFree
	if images && a.cfg.RemoveUnusedImages != nil {
		err = errors.Join(err, a.cfg.RemoveUnusedImages(ctx))
	}
	return err
}

// measure tells what Pods use of what a signal is about.
func (a *Agent) measure(ctx context.Context, s evict.Signal) ([]evict.Usage, error) {
	if s.Disk() {
		return a.measureDisks(ctx)
	}
	source := measure.New(measure.Config{Runtime: a.cfg.Runtime, Cgroups: a.cgroups, Node: a.cfg.Cgroup})
	snapshot, err := source.Read(ctx)
	if err != nil {
		return nil, err
	}
	known := map[types.UID]*v1.Pod{}
	for _, p := range a.watch.Pods() {
		known[p.UID] = p
	}
	var out []evict.Usage
	for i := range snapshot.Pods {
		is := &snapshot.Pods[i]
		p := known[types.UID(is.UID)]
		if p == nil {
			continue
		}
		u := evict.Usage{Pod: p, Containers: map[string]evict.Container{}}
		for _, c := range is.Containers {
			u.Containers[c.Name] = evict.Container{Memory: workingSet(c.Usage)}
			u.Memory += workingSet(c.Usage)
		}
		// The Pod's own counts what containers left behind that have ended, in volumes
		// in memory for one.
		u.Memory = max(u.Memory, workingSet(is.Usage))
		if n, err := is.Cgroup.Threads(); err == nil {
			u.Processes = n
		}
		out = append(out, u)
	}
	return out, nil
}

func workingSet(u measure.Usage) int64 {
	if u.Memory == nil {
		return 0
	}
	return int64(u.Memory.WorkingSet)
}

// measureDisks tells what the Pods take of the node's disk that have not ended.
func (a *Agent) measureDisks(ctx context.Context) ([]evict.Usage, error) {
	var out []evict.Usage
	var errs []error
	for _, p := range a.watch.Pods() {
		if mirror.Is(p) || p.Status.Phase == v1.PodFailed || p.Status.Phase == v1.PodSucceeded {
			continue
		}
		is, err := a.storage.Measure(ctx, p)
		errs = append(errs, err)
		u := evict.Usage{Pod: p, Containers: map[string]evict.Container{}, Local: evict.Disk(is.Local())}
		for name, c := range is.Containers {
			u.Containers[name] = evict.Container{Layer: evict.Disk(c.Layer), Logs: evict.Disk(c.Logs)}
		}
		out = append(out, u)
	}
	return out, errors.Join(errs...)
}

// evictor ends Pods for the sake of others.
type evictor struct{ pods *pod.Manager }

// Evict implements pressure.Evictor.
func (e evictor) Evict(uid types.UID, v pressure.Eviction) bool {
	return e.pods.EvictFor(uid, pod.Eviction{Reason: v.Reason, Message: v.Message, Annotations: v.Annotations, Grace: v.Grace, Disrupts: true})
}

// Gone implements pressure.Evictor.
func (e evictor) Gone(uid types.UID) bool { return e.pods.Gone(uid) }
