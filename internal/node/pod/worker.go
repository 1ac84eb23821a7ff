package pod

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/status"
	"minato/internal/node/volume"
)

// resync is when a worker looks at its Pod though nothing seems to have
// happened, in case an event was lost.
const resync = 5 * time.Minute

// worker serves one Pod, one step after the other.
type worker struct {
	m    *Manager
	uid  types.UID
	wake chan struct{}
	// stale says that something behind the Pod's volumes has changed.
	stale atomic.Bool
	over  atomic.Bool

	mu        sync.Mutex
	pod       *v1.Pod
	gone      bool               // the API no longer has the Pod
	interrupt context.CancelFunc // ends the step under way
	known     v1.PodStatus       // computed last
	hasKnown  bool

	// The rest belongs to the worker's goroutine.
	admitted bool
	ending   bool // no container is to be started again
	ended    bool // nothing runs any more
	verdict  *status.Verdict
	waiting  map[string]status.Waiting
	retryAt  map[string]time.Time // when a container that waits may be tried again
	mounted  bool
	renewAt  time.Time
	failures int
	// lastError is what failed last, to be told once.
	lastError string
	killing   map[string]bool // guarded by mu: containers are killed side by side
}

func newWorker(m *Manager, pod *v1.Pod) *worker {
	return &worker{
		m: m, uid: pod.UID, pod: pod,
		wake:    make(chan struct{}, 1),
		waiting: map[string]status.Waiting{},
		retryAt: map[string]time.Time{},
	}
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
	if old != pod {
		w.stale.Store(true) // labels and annotations may be in a volume
	}
	w.poke()
}

func (w *worker) remove(pod *v1.Pod) {
	w.mu.Lock()
	w.pod, w.gone = pod, true
	if pod.DeletionTimestamp == nil && w.interrupt != nil {
		w.interrupt()
	}
	w.mu.Unlock()
	w.poke()
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

// active tells whether the Pod may still use the node.
func (w *worker) active() bool { return !w.over.Load() }

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

// step does what there is to do now, and returns when to do more at the latest.
func (w *worker) step(ctx context.Context) (next time.Time, done bool) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w.mu.Lock()
	pod, gone := w.pod, w.gone
	w.interrupt = cancel
	w.mu.Unlock()

	view, err := w.read(ctx, pod)
	if err != nil {
		return w.failed(ctx, pod, err), false
	}
	if s := view.Sandbox(); s != nil {
		w.m.ownSandbox(s.ID, w.uid)
	}
	if pod.DeletionTimestamp != nil || gone || terminal(pod.Status.Phase) {
		w.ending = true
	}
	if !w.ending {
		next, err = w.advance(ctx, pod, view)
		if err == nil && w.ending {
			next, err = w.end(ctx, pod, gone)
		}
	} else {
		next, err = w.end(ctx, pod, gone)
	}
	if err != nil {
		return w.failed(ctx, pod, err), false
	}
	w.failures, w.lastError = 0, ""
	return next, gone && w.ended
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
		longest = maxVolumePause // if it appears, the watch tells before that
	}
	w.failures++
	level := slog.LevelWarn
	if err.Error() == w.lastError {
		level = slog.LevelDebug
	}
	w.lastError = err.Error()
	w.m.cfg.Logger.Log(ctx, level, "pod cannot be brought to its desired state; will try again", "pod", pod.Name, "namespace", pod.Namespace, "error", err)
	return w.m.cfg.Clock.Now().Add(min(longest, 250*time.Millisecond<<min(w.failures, 12)))
}

// maxVolumePause is the longest pause between two attempts to set volumes up.
const maxVolumePause = 2 * time.Minute

func terminal(p v1.PodPhase) bool { return p == v1.PodSucceeded || p == v1.PodFailed }
