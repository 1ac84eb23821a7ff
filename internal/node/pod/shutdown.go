package pod

import (
	"context"
	"errors"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"minato/internal/node/guard"
)

// EndAll stops the containers of all Pods, as when the node is shut down: all
// Pods side by side, preStop hooks first, each with its own grace period but
// with limit, in whole seconds, at most. Nothing is reported and nothing is
// removed, so that a later agent starts again what should run. The manager
// serves no Pod afterwards.
//
// It may be called while Run runs or after; ctx bounds it all.
func (m *Manager) EndAll(ctx context.Context, limit time.Duration) error {
	m.mu.Lock()
	m.closed = true
	m.mu.Unlock()
	workers := m.all()
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
