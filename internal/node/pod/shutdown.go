package pod

import (
	"context"
	"errors"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/node/guard"
)

// EndAll stops the containers of all Pods, as when the node is shut down: one
// group after the other, and in each all Pods side by side, preStop hooks first,
// each with its own grace period but with the group's limit, in whole seconds, at
// most. group tells the index in limits of a Pod's. Nothing is reported and
// nothing is removed, so that a later agent starts again what should run. The
// manager serves no Pod afterwards.
//
// It may be called while Run runs or after; ctx bounds it all.
func (m *Manager) EndAll(ctx context.Context, limits []time.Duration, group func(*v1.Pod) int) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	groups := make([][]*worker, len(limits))
	for _, w := range m.all() {
		i := group(w.latest())
		groups[i] = append(groups[i], w)
	}
	var errs []error
	for i, workers := range groups {
		errs = append(errs, endAll(ctx, workers, limits[i]))
	}
	return errors.Join(errs...)
}

// endAll shuts Pods down side by side.
func endAll(ctx context.Context, workers []*worker, limit time.Duration) error {
	errs := make([]error, len(workers))
	var wg sync.WaitGroup
	for i, w := range workers {
		wg.Add(1)
		go func() {
			defer wg.Done()
			errs[i] = guard.Do("stop the pod's containers", func() error { return w.shutDown(ctx, limit) })
		}()
	}
	wg.Wait()
	return errors.Join(errs...)
}

// shutDown ends the worker, and then stops what runs of the Pod.
func (w *worker) shutDown(ctx context.Context, limit time.Duration) error {
	w.mu.Lock()
	w.halted = true
	if w.interrupt != nil {
		w.interrupt()
	}
	w.mu.Unlock()
	w.poke()
	select {
	case <-w.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	pod := w.latest().DeepCopy()
	w.m.view.Distrust(w.uid) // nobody may have listened to events for a while
	view, err := w.m.view.Read(ctx, w.uid)
	if err != nil {
		return err
	}
	seconds := min(grace(pod), int64(limit/time.Second))
	pod.DeletionGracePeriodSeconds = &seconds
	if pod.DeletionTimestamp == nil {
		now := metav1.NewTime(w.m.cfg.Clock.Now())
		pod.DeletionTimestamp = &now
	}
	return w.killAll(ctx, pod, view)
}
