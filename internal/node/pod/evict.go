package pod

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// evictionGrace is what the containers of a Pod have to end in that uses more than
// it may, in seconds, as kubelet has it: until then it may use still more.
const evictionGrace = 1

// Eviction is how the node ends a Pod before its time, and why.
type Eviction struct {
	Reason, Message string
	// Annotations are those of the event.
	Annotations map[string]string
	// Grace is what the Pod has to end in, in seconds, unless it has less.
	Grace int64
	// Disrupts says that the Pod ends for the sake of others: its status gets the
	// condition DisruptionTarget.
	Disrupts bool
}

// Evict ends a Pod that uses more of the node than it may, as kubelet does
// (localStorageEviction): its containers have evictionGrace to end in, and its
// phase is Failed with the reason and message. The condition DisruptionTarget is
// not set, because the Pod itself is the cause. It returns false where the node
// does not run the Pod or has evicted it before. It does not wait.
func (m *Manager) Evict(uid types.UID, reason, message string) bool {
	return m.EvictFor(uid, Eviction{Reason: reason, Message: message, Grace: evictionGrace})
}

// EvictFor ends a Pod as Evict does. Of a Pod that is ending anyway it changes
// nothing but the time that it has.
func (m *Manager) EvictFor(uid types.UID, e Eviction) bool {
	w := m.find(uid)
	if w == nil {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.life.now().Stopped() || w.eviction != nil {
		return false
	}
	w.eviction = &e
	if w.interrupt != nil {
		w.interrupt()
	}
	w.poke()
	return true
}

// Gone tells whether nothing runs of a Pod that was evicted, and what it took of
// the disk was given back.
func (m *Manager) Gone(uid types.UID) bool {
	w := m.find(uid)
	return w == nil || w.life.now().Stopped() && w.purged.Load()
}

// Purge removes the containers, with their logs, of all Pods that have ended, as
// kubelet does where a disk is full (DeleteAllUnusedContainers). It returns when
// that is done.
func (m *Manager) Purge(ctx context.Context) error {
	var ended []*worker
	for _, w := range m.all() {
		if w.life.now() == Ended && !w.purged.Load() {
			w.unneeded.Store(true)
			w.poke()
			ended = append(ended, w)
		}
	}
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for _, w := range ended {
		for !w.purged.Load() && w.life.now() == Ended {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return errors.New("the containers of some pods that have ended are not removed yet")
			}
		}
	}
	return nil
}

func (m *Manager) find(uid types.UID) *worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.workers[uid]
}

// purge removes the containers of a Pod that has ended and was evicted, as kubelet
// does, or that ended and of which the node needs the room.
func (w *worker) purge(ctx context.Context, pod *v1.Pod) error {
	if w.purged.Load() || w.life.now() != Ended {
		return nil
	}
	evicted := w.evicted() != nil || pod.Status.Phase == v1.PodFailed && pod.Status.Reason == "Evicted"
	if !evicted && !w.unneeded.Load() {
		return nil
	}
	if err := w.removeContainers(ctx); err != nil {
		return err
	}
	w.purged.Store(true)
	return nil
}

// removeContainers removes what the runtime has of a Pod of which nothing runs, and
// its logs.
func (w *worker) removeContainers(ctx context.Context) error {
	view, err := w.m.view.Read(ctx, w.uid)
	if err != nil {
		return err
	}
	ctx = context.WithoutCancel(ctx)
	w.unlinkLogs(view, view.Containers...)
	for i := range view.Sandboxes {
		if err := w.m.cfg.Runtime.RemovePodSandbox(ctx, view.Sandboxes[i].ID); err != nil {
			return fmt.Errorf("remove sandbox: %w", err)
		}
	}
	if view, err = w.m.view.Read(ctx, w.uid); err != nil {
		return err
	}
	for i := range view.Containers { // those whose sandbox had been removed before
		if err := w.m.cfg.Runtime.RemoveContainer(ctx, view.Containers[i].ID); err != nil {
			return fmt.Errorf("remove container: %w", err)
		}
	}
	// Found by UID: the name of a Pod that only the disk knows is not known.
	dirs, err := filepath.Glob(filepath.Join(w.m.cfg.LogDir, "*_"+string(w.uid)))
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove logs: %w", err)
		}
	}
	return nil
}
