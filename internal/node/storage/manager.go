package storage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/clock"

	"minato/internal/host"
	"minato/internal/node/guard"
	"minato/internal/node/spec"
)

// Period is how often Pods are measured, kubelet's evictionMonitoringPeriod.
const Period = 10 * time.Second

// patience bounds how long one Pod is measured. What has been counted by then
// is less than what the Pod takes, and is decided on.
const patience = 30 * time.Second

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

// Volumes measures the volumes of a Pod.
type Volumes interface {
	// Usage is what each of the Pod's volumes takes on disk, by name. It may give
	// part of an answer along with an error.
	Usage(ctx context.Context, pod *v1.Pod) (map[string]host.Usage, error)
	// Files are the files and directories that the node has made for the Pod's
	// containers to write to.
	Files(uid types.UID) []string
}

// Config is what a Manager needs.
type Config struct {
	// Pods lists the Pods of the node.
	Pods    func() []*v1.Pod
	Evictor Evictor
	Runtime Runtime
	Volumes Volumes
	// LogDir holds the Pods' log directories.
	LogDir string
	Clock  clock.WithTicker
	Logger *slog.Logger
}

// Manager measures Pods and has those evicted that take too much.
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

// Run measures the Pods that have a limit, one after the other, until ctx ends.
func (m *Manager) Run(ctx context.Context) error {
	tick := m.cfg.Clock.NewTicker(Period)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C():
			m.check(ctx)
		}
	}
}

func (m *Manager) check(ctx context.Context) {
	present := map[types.UID]bool{}
	for _, pod := range m.cfg.Pods() {
		if ctx.Err() != nil {
			return
		}
		present[pod.UID] = true
		over := pod.DeletionTimestamp != nil || pod.Status.Phase == v1.PodFailed || pod.Status.Phase == v1.PodSucceeded
		if over || m.evicted[pod.UID] || !Limited(pod) {
			continue
		}
		err := guard.Do("measure what the pod takes of the disk", func() error { return m.checkPod(ctx, pod) })
		if err != nil && ctx.Err() == nil {
			m.complain(pod, err)
		}
	}
	for uid := range m.evicted {
		if !present[uid] {
			delete(m.evicted, uid)
		}
	}
}

// checkPod has the Pod evicted if what could be measured is too much.
func (m *Manager) checkPod(ctx context.Context, pod *v1.Pod) error {
	usage, err := m.Measure(ctx, pod)
	if message, exceeded := Exceeded(pod, usage); exceeded {
		m.evicted[pod.UID] = m.cfg.Evictor.Evict(pod.UID, Reason, message)
	}
	return err
}

func (m *Manager) complain(pod *v1.Pod, err error) {
	attrs := []any{"pod", pod.Name, "namespace", pod.Namespace, "error", err}
	if stack := guard.Stack(err); stack != nil {
		m.cfg.Logger.Error("the node agent panicked while it measured what a pod takes of the node's disk; will try again", append(attrs, "stack", string(stack))...)
		return
	}
	m.cfg.Logger.Warn("what a pod takes of the node's disk cannot be measured in full", attrs...)
}

// Measure adds up what it can of what the Pod takes; the error says what is
// missing.
func (m *Manager) Measure(ctx context.Context, pod *v1.Pod) (Usage, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	u := Usage{Containers: map[string]Container{}}
	var errs []error
	var err error
	if u.Volumes, err = m.cfg.Volumes.Usage(ctx, pod); err != nil {
		errs = append(errs, err)
	}
	for _, path := range m.cfg.Volumes.Files(pod.UID) {
		n, err := host.DiskUsage(ctx, path)
		u.Files.Bytes, u.Files.Inodes = u.Files.Bytes+n.Bytes, u.Files.Inodes+n.Inodes
		errs = append(errs, err)
	}
	stats, err := m.cfg.Runtime.ListContainerStats(ctx, &runtimeapi.ContainerStatsFilter{
		LabelSelector: map[string]string{spec.LabelPodUID: string(pod.UID)},
	})
	if err != nil {
		errs = append(errs, fmt.Errorf("measure the writable layers: %w", err))
	}
	for _, s := range stats {
		name, layer := s.GetAttributes().GetLabels()[spec.LabelContainerName], s.GetWritableLayer()
		c := u.Containers[name]
		c.Layer.Bytes += int64(layer.GetUsedBytes().GetValue())
		c.Layer.Inodes += int64(layer.GetInodesUsed().GetValue())
		u.Containers[name] = c
	}
	for _, name := range containers(pod) {
		n, err := host.DiskUsage(ctx, filepath.Join(m.cfg.LogDir, spec.LogDir(pod), name))
		c := u.Containers[name]
		c.Logs = n
		u.Containers[name] = c
		errs = append(errs, err)
	}
	return u, errors.Join(errs...)
}

// containers are the names of all containers of a Pod, of whatever kind.
func containers(pod *v1.Pod) (names []string) {
	for i := range pod.Spec.InitContainers {
		names = append(names, pod.Spec.InitContainers[i].Name)
	}
	for i := range pod.Spec.Containers {
		names = append(names, pod.Spec.Containers[i].Name)
	}
	for i := range pod.Spec.EphemeralContainers {
		names = append(names, pod.Spec.EphemeralContainers[i].Name)
	}
	return names
}
