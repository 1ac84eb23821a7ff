package report

import (
	"context"
	"log/slog"
	"sync"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"minato/internal/node/guard"
)

// Config is what a Writer needs.
type Config struct {
	Client kubernetes.Interface
	Logger *slog.Logger
}

// Writer sends statuses. Set, Finish and Forget never block.
type Writer struct {
	cfg Config

	mu      sync.Mutex
	ctx     context.Context
	closed  bool // Run ends
	entries map[types.UID]*entry
	wg      sync.WaitGroup
}

// entry is what there is to say about one Pod.
type entry struct {
	pod    *v1.Pod // the newest that is known, from the watch or an answer
	want   v1.PodStatus
	dirty  bool // want has not been sent
	finish bool // delete the Pod when want has been sent
	done   bool // the Pod was deleted, or is no longer there
	busy   bool // a goroutine serves the entry
	// since is when want became dirty, and more holds a token when it is another one.
	since time.Time
	more  chan struct{}
}

// hold is how long a status that nobody acts on waits for the next one, which then is
// written alone: each write is work for the API server and for all who watch Pods.
const hold = 400 * time.Millisecond

// wait is how long the status that is to be sent still waits for a next one.
func (e *entry) wait() time.Duration {
	if e.finish || !e.dirty {
		return 0
	}
	left := hold - time.Since(e.since)
	if left <= 0 {
		return 0
	}
	if want := withOthers(e.pod, e.want); !minor(&e.pod.Status, &want) {
		return 0
	}
	return left
}

// Requests that run at once, and the pauses after one that failed.
const (
	firstPause = 50 * time.Millisecond
	maxPause   = 10 * time.Second
)

// New returns a writer; it sends nothing before Run.
func New(cfg Config) *Writer { return &Writer{cfg: cfg, entries: map[types.UID]*entry{}} }

// Run sends until ctx ends. What was set before is sent first.
func (w *Writer) Run(ctx context.Context) {
	w.mu.Lock()
	w.ctx = ctx
	for uid, e := range w.entries {
		w.start(uid, e)
	}
	w.mu.Unlock()
	<-ctx.Done()
	w.mu.Lock()
	w.closed = true // nothing is begun while what runs is waited for
	w.mu.Unlock()
	w.wg.Wait()
}

// Set has the Pod's status written.
func (w *Writer) Set(pod *v1.Pod, status v1.PodStatus) { w.put(pod, status, false) }

// Finish has the Pod's last status written and the Pod deleted.
func (w *Writer) Finish(pod *v1.Pod, status v1.PodStatus) { w.put(pod, status, true) }

// Forget drops a Pod that no longer exists.
func (w *Writer) Forget(uid types.UID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if e := w.entries[uid]; e != nil {
		e.dirty, e.done = false, true
		delete(w.entries, uid)
	}
}

func (w *Writer) put(pod *v1.Pod, status v1.PodStatus, finish bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	e := w.entries[pod.UID]
	if e == nil {
		e = &entry{pod: pod, more: make(chan struct{}, 1)}
		w.entries[pod.UID] = e
	}
	if newer(pod, e.pod) {
		e.pod = pod
	}
	if !e.dirty {
		e.since = time.Now()
	}
	e.want, e.dirty = status, true
	select {
	case e.more <- struct{}{}:
	default:
	}
	e.finish = e.finish || finish
	w.start(pod.UID, e)
}

// start has the entry served; w.mu is held.
func (w *Writer) start(uid types.UID, e *entry) {
	if e.busy || e.done || w.ctx == nil || w.closed {
		return
	}
	e.busy = true
	w.wg.Add(1)
	go func() {
		defer w.wg.Done()
		w.serve(w.ctx, e)
	}()
}

// serve sends until there is nothing left to say about the Pod.
func (w *Writer) serve(ctx context.Context, e *entry) {
	pause := firstPause
	for {
		w.mu.Lock()
		pod, want, send, remove := e.pod, e.want, e.dirty, e.finish
		if e.done || (!send && !remove) || ctx.Err() != nil {
			e.busy = false
			w.mu.Unlock()
			return
		}
		if left := e.wait(); left > 0 {
			w.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-e.more:
			case <-time.After(left):
			}
			continue
		}
		e.dirty = false
		w.mu.Unlock()

		err := guard.Do("write the pod's status", func() error {
			if err := w.send(ctx, e, pod, want); err != nil || !remove {
				return err
			}
			return w.remove(ctx, e, pod)
		})
		if err == nil {
			pause = firstPause
			continue
		}
		w.complain(ctx, pod, err)
		w.mu.Lock()
		e.dirty = true
		w.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, maxPause)
	}
}

func (w *Writer) complain(ctx context.Context, pod *v1.Pod, err error) {
	if ctx.Err() != nil {
		return
	}
	attrs := []any{"pod", pod.Name, "namespace", pod.Namespace, "error", err}
	if stack := guard.Stack(err); stack != nil {
		w.cfg.Logger.Error("the node agent panicked while it wrote a pod's status; will try again", append(attrs, "stack", string(stack))...)
		return
	}
	w.cfg.Logger.Warn("the API server did not take a pod's status; will try again", attrs...)
}

// send writes what differs between the Pod's status and the one it should have.
func (w *Writer) send(ctx context.Context, e *entry, pod *v1.Pod, want v1.PodStatus) error {
	want = withOthers(pod, want)
	if equality.Semantic.DeepEqual(pod.Status, want) {
		return nil
	}
	patch, err := difference(pod, want)
	if err != nil || patch == nil {
		return err
	}
	got, err := w.cfg.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err) && e.finish:
		e.done = true // gone, or another Pod has its name by now
		return nil
	case err != nil:
		return err
	}
	if newer(got, e.pod) {
		e.pod = got
	}
	return nil
}

func (w *Writer) remove(ctx context.Context, e *entry, pod *v1.Pod) error {
	w.mu.Lock()
	done := e.done
	w.mu.Unlock()
	if done {
		return nil
	}
	zero := int64(0)
	err := w.cfg.Client.CoreV1().Pods(pod.Namespace).Delete(ctx, pod.Name, metav1.DeleteOptions{
		GracePeriodSeconds: &zero,
		Preconditions:      &metav1.Preconditions{UID: &pod.UID},
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	e.done = true
	return nil
}
