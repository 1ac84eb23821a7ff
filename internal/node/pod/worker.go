package pod

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/allocation"
	"minato/internal/node/guard"
	"minato/internal/node/spec"
	"minato/internal/node/status"
	"minato/internal/node/volume"
)

// resync is how long a worker waits at most before it makes a step, in case the
// event that should have woken it was lost.
const resync = 5 * time.Minute

// worker serves one Pod, one step after the other.
type worker struct {
	m    *Manager
	uid  types.UID
	wake chan struct{}
	// done is closed when the worker's goroutine has returned.
	done chan struct{}
	// stale says that something behind the Pod's volumes has changed.
	stale atomic.Bool
	// decided says that there is a decision about the Pod's resources to heed.
	decided atomic.Bool
	// unneeded asks for what has ended of the Pod to be removed, and purged says that
	// nothing is left of it.
	unneeded, purged atomic.Bool
	life             lifecycle
	// candidate is guarded by the manager's admitting.
	candidate candidate

	mu        sync.Mutex
	pod       *v1.Pod
	eviction  *Eviction          // the node is to end the Pod
	halted    bool               // no further step is to be made
	interrupt context.CancelFunc // ends the step under way
	known     v1.PodStatus       // computed last
	hasKnown  bool
	killing   map[string]bool // containers that are being stopped, by ID

	// The rest belongs to the worker's goroutine.
	verdict *status.Verdict
	waiting map[string]status.Waiting
	retryAt map[string]time.Time // when a container that waits may be tried again
	// futureEnds is when containers were found to have ended that did so in the future, by ID.
	futureEnds map[string]time.Time
	crashKeys  map[string]bool // of the containers' entries in the manager's restarts
	// servicesSince is the resource version at which the Pod arrived, until its
	// Services have been read that are at least as new.
	servicesSince string
	resizing      resizing
	// replaced are the runs, by ID, that were stopped only because all containers are started anew.
	replaced   map[string]bool
	stepped    string // the resource version of the Pod in the last step, empty before the first
	mounted    bool
	mountedFor int  // ephemeral containers there were then
	tornDown   bool // the volumes are gone
	renewAt    time.Time
	failures   int
	// lastError is what failed last, told what the Pod waits for, and keeping why its
	// volumes can't be given up: each is to be told once.
	lastError, told, keeping string
}

// newWorker returns the worker of a Pod. One that an earlier run of the agent
// has taken is not asked for again.
func newWorker(m *Manager, pod *v1.Pod, order uint64) *worker {
	w := &worker{
		m: m, uid: pod.UID, pod: pod,
		wake: make(chan struct{}, 1), done: make(chan struct{}),
		candidate: candidate{order: order}, servicesSince: pod.ResourceVersion,
		waiting:   map[string]status.Waiting{},
		retryAt:   map[string]time.Time{},
		crashKeys: map[string]bool{}, futureEnds: map[string]time.Time{},
		killing:  map[string]bool{},
		replaced: map[string]bool{},
		resizing: recall(pod),
	}
	if m.view.Knows(pod.UID) || len(pod.Status.ContainerStatuses) > 0 {
		w.candidate.admitted = true
		w.life.take(stepAdmit)
		if _, known := m.cfg.Allocations.Get(pod.UID); !known && !terminal(pod.Status.Phase) {
			m.record(pod, allocation.Record{Granted: spec.AllocationFromStatus(pod)})
		}
	}
	return w
}

// update hands the worker a newer Pod. One that is being deleted, or now has
// less time to end, does not wait for the step under way.
func (w *worker) update(pod *v1.Pod) {
	w.mu.Lock()
	old := w.pod
	w.pod = pod
	if pod.DeletionTimestamp != nil && (old.DeletionTimestamp == nil || grace(pod) < grace(old)) && w.interrupt != nil {
		w.interrupt()
	}
	w.mu.Unlock()
	// Only what a volume can show counts: the status changes all the time.
	if old.Generation != pod.Generation || !maps.Equal(old.Labels, pod.Labels) || !maps.Equal(old.Annotations, pod.Annotations) {
		w.stale.Store(true)
	}
	w.poke()
}

func (w *worker) remove(pod *v1.Pod) {
	w.mu.Lock()
	w.pod = pod
	w.life.take(stepRelease)
	if pod.DeletionTimestamp == nil && w.interrupt != nil {
		w.interrupt()
	}
	w.mu.Unlock()
	w.poke()
	w.m.retryResizes() // nobody counts it any more
}

func (w *worker) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *worker) latest() *v1.Pod {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.pod
}

func (w *worker) lastStatus() (v1.PodStatus, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known, w.hasKnown
}

func (w *worker) run(ctx context.Context) {
	timer := w.m.cfg.Clock.NewTimer(resync)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.wake:
		case <-timer.C():
		}
		if w.isHalted() {
			return
		}
		next, done := w.step(ctx)
		if done {
			w.m.forget(w)
			return
		}
		if !timer.Stop() {
			select {
			case <-timer.C():
			default:
			}
		}
		timer.Reset(w.until(next))
	}
}

// until is how long to sleep at most before the moment next, zero for none.
func (w *worker) until(next time.Time) time.Duration {
	d := resync + rand.N(resync/5)
	if !next.IsZero() {
		d = min(d, next.Sub(w.m.cfg.Clock.Now()))
	}
	return max(d, time.Millisecond)
}

func (w *worker) isHalted() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.halted
}

// evicted is how the node is to end the Pod, nil if it is not.
func (w *worker) evicted() *Eviction {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.eviction
}

// begin returns what a step works with, and lets it be interrupted by cancel.
func (w *worker) begin(cancel context.CancelFunc) (pod *v1.Pod, eviction *Eviction) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.interrupt = cancel
	if w.halted {
		cancel()
	}
	return w.pod, w.eviction
}

// step does what there is to do now, and returns when to do more at the latest.
func (w *worker) step(ctx context.Context) (next time.Time, done bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pod, eviction := w.begin(cancel)
	defer w.measure(pod, w.m.cfg.Clock.Now())
	err := guard.Do("bring the pod to its desired state", func() (err error) {
		next, err = w.proceed(ctx, pod, eviction)
		return err
	})
	if err != nil {
		return w.failed(ctx, pod, err), false
	}
	w.failures, w.lastError = 0, ""
	return next, w.life.now() == Removed
}

// measure says how long a step took that began at a time.
func (w *worker) measure(pod *v1.Pod, began time.Time) {
	operation := "sync"
	switch w.stepped {
	case "":
		operation = "create"
	case pod.ResourceVersion:
	default:
		operation = "update"
	}
	w.stepped = cmp.Or(pod.ResourceVersion, "0")
	if m := w.m.cfg.Measures; m != nil {
		m.Synced(operation, w.m.cfg.Clock.Since(began))
	}
}

// proceed moves the Pod through its stages as far as that goes now.
func (w *worker) proceed(ctx context.Context, pod *v1.Pod, eviction *Eviction) (next time.Time, err error) {
	if pod.DeletionTimestamp != nil || terminal(pod.Status.Phase) {
		w.life.take(stepFinish)
	}
	if eviction != nil && w.verdict == nil && w.life.now().Starts() {
		w.verdict = &status.Verdict{Reason: eviction.Reason, Message: eviction.Message, Disrupts: eviction.Disrupts}
		w.m.cfg.Events.AnnotatedEventf(pod, eviction.Annotations, v1.EventTypeWarning, eviction.Reason, "%s", eviction.Message)
		w.life.take(stepFinish)
	}
	if next, err = w.arrive(ctx, pod); err != nil {
		return next, err
	}
	if w.life.now() == Active {
		if next, err = w.advance(ctx, pod); err != nil {
			return next, err
		}
	}
	if w.life.now().Starts() {
		return next, nil
	}
	return time.Time{}, w.end(ctx, w.m.granted(pod))
}

// failed notes an error and returns when to try again. A step that was
// interrupted has not failed: the next one follows at once.
func (w *worker) failed(ctx context.Context, pod *v1.Pod, err error) time.Time {
	if errors.Is(err, context.Canceled) && ctx.Err() != nil {
		w.poke()
		return time.Time{}
	}
	longest := firstPause
	var missing *volume.Error
	if errors.As(err, &missing) {
		longest = maxVolumePause // the watch of a missing object wakes the worker earlier
	}
	w.failures++
	level, attrs := slog.LevelWarn, []any{"pod", pod.Name, "namespace", pod.Namespace, "error", err}
	if stack := guard.Stack(err); stack != nil {
		level, longest, attrs = slog.LevelError, maxPause, append(attrs, "stack", string(stack))
	}
	pause := min(longest, 250*time.Millisecond<<min(w.failures, 12))
	if err.Error() == w.lastError {
		level = slog.LevelDebug
	} else if guard.Stack(err) != nil {
		w.event(pod, v1.EventTypeWarning, "FailedSync", fmt.Sprintf("%v; it tries again with growing pauses and leaves other pods alone", err))
	}
	w.lastError = err.Error()
	w.m.cfg.Logger.Log(ctx, level, "the node agent cannot bring a pod to its desired state; will try again", append(attrs, "pause", pause)...)
	return w.m.cfg.Clock.Now().Add(pause)
}

// maxVolumePause is the longest pause between two attempts to set volumes up.
const maxVolumePause = 2 * time.Minute

func terminal(p v1.PodPhase) bool { return p == v1.PodSucceeded || p == v1.PodFailed }
