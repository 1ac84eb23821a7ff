package pod

import (
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"minato/internal/node/admit"
	"minato/internal/node/allocation"
	"minato/internal/node/spec"
)

// deferPause is how long a resize that was put off waits at most before the node
// looks again, in case nothing tells of room. Kubelet's is the same.
const deferPause = 3 * time.Minute

// resize is what the node has decided about the resources that a Pod asks for in
// place of those that it has. The manager's admitting guards it.
type resize struct {
	wants bool // the Pod's spec asks for something else than was granted
	// generation is that of the Pod that was decided about last.
	generation int64
	// pending is why it was not granted, and since when it waits.
	pending *admit.Refusal
	since   time.Time
	// granted is the generation that was granted, until the Pod's worker has
	// taken note.
	granted int64
}

// granted is the Pod with the resources that the node counts as its own.
func (m *Manager) granted(pod *v1.Pod) *v1.Pod {
	r, known := m.cfg.Allocations.Get(pod.UID)
	if !known {
		return pod
	}
	pod, _ = r.Granted.Apply(pod)
	return pod
}

// record keeps what a Pod was granted. A failure is no reason to keep the Pod
// from running: after a restart, the Pod's status tells the same.
func (m *Manager) record(pod *v1.Pod, r allocation.Record) {
	if err := m.cfg.Allocations.Set(pod.UID, r); err != nil {
		m.cfg.Logger.Warn("what a pod was granted cannot be recorded", "pod", pod.Name, "namespace", pod.Namespace, "error", err)
	}
}

// amend changes the record of a Pod.
func (m *Manager) amend(uid types.UID, change func(allocation.Record) allocation.Record) error {
	m.admitting.Lock()
	defer m.admitting.Unlock()
	r, known := m.cfg.Allocations.Get(uid)
	if !known {
		return nil
	}
	return m.cfg.Allocations.Set(uid, change(r))
}

// allocate returns the Pod as the node has granted it, after a decision about
// what its spec asks for by now. next is when to look again at a resize that was
// put off.
func (w *worker) allocate(ctx context.Context, pod *v1.Pod) (granted *v1.Pod, next time.Time, err error) {
	r, known := w.m.cfg.Allocations.Get(w.uid)
	if !known {
		r.Granted = spec.AllocationOf(pod)
		w.m.record(pod, r)
	}
	_, differs := r.Granted.Apply(pod)
	if waits := differs || w.resizing.pending != nil; waits {
		if err := w.m.decideResizes(ctx, w); err != nil {
			return pod, next, err
		}
		w.decided.Store(true)
	}
	if w.decided.Swap(false) {
		next = w.heedDecision(pod)
	}
	return w.m.granted(pod), next, nil
}

// decideResizes decides about the Pod's resize, and with it about all that wait,
// in their order: which worker is the fastest does not matter.
func (m *Manager) decideResizes(ctx context.Context, w *worker) error {
	if !m.undecided(w) {
		return nil
	}
	node, err := m.cfg.Node(ctx)
	if err != nil {
		return fmt.Errorf("read the node to decide whether it grants the pod other resources: %w", err)
	}
	m.admitting.Lock()
	defer m.admitting.Unlock()
	w.candidate.resize.wants = true
	m.resizesDone = m.resizesDue.Load()
	known := m.all()
	type waiting struct {
		*worker
		admit.Resize
	}
	var list []waiting
	for _, x := range known {
		c := &x.candidate.resize
		if !c.wants || x.life.now() != Active {
			continue
		}
		pod := x.latest()
		granted := m.granted(pod)
		if granted == pod { // the wish was taken back
			*c = resize{generation: pod.Generation}
			w.tell(x)
			continue
		}
		list = append(list, waiting{x, admit.Resize{Pod: pod, Granted: granted, Since: c.since}})
	}
	slices.SortFunc(list, func(a, b waiting) int { return admit.CompareResizes(a.Resize, b.Resize) })
	for _, x := range list {
		if m.decideResize(node, x.worker, x.Resize, known) {
			w.tell(x.worker)
		}
	}
	return nil
}

// undecided tells whether there is reason to decide about a Pod's resize: its
// spec is new, or something has happened since that may have made room.
func (m *Manager) undecided(w *worker) bool {
	m.admitting.Lock()
	defer m.admitting.Unlock()
	now, c := m.cfg.Clock.Now(), &w.candidate.resize
	if !w.resizing.lookAgain.IsZero() && !now.Before(w.resizing.lookAgain) {
		w.resizing.lookAgain = time.Time{}
		m.resizesDue.Add(1)
	}
	return c.generation != w.latest().Generation || m.resizesDone != m.resizesDue.Load()
}

// decideResize grants one Pod what it asks for, or puts that off, and tells
// whether that is news to its worker. m.admitting is held.
func (m *Manager) decideResize(node *v1.Node, x *worker, r admit.Resize, known []*worker) (news bool) {
	in := admit.Input{Pod: r.Pod, Node: node, Options: m.cfg.Admission}
	in.Others, _, _ = m.others(x, r.Pod, known)
	c := &x.candidate.resize
	why := admit.CheckResize(in)
	if why == nil {
		record, _ := m.cfg.Allocations.Get(x.uid)
		record.Granted = spec.AllocationOf(r.Pod)
		err := m.cfg.Allocations.Set(x.uid, record)
		if err == nil {
			*c = resize{generation: r.Pod.Generation, granted: r.Pod.Generation}
			return true
		}
		why = &admit.Refusal{Reason: v1.PodReasonDeferred, Message: err.Error()}
	}
	news = c.pending == nil || *c.pending != *why || c.generation != r.Pod.Generation
	if c.pending == nil {
		c.since = m.cfg.Clock.Now()
	}
	c.pending, c.generation = why, r.Pod.Generation
	return news
}

// tell has a worker heed a decision: another than this one is woken for it.
func (w *worker) tell(x *worker) {
	x.decided.Store(true)
	if x != w {
		x.poke()
	}
}

// retryResizes has the node look again at the resizes that wait: another Pod
// has ended, or has become smaller.
func (m *Manager) retryResizes() {
	m.resizesDue.Add(1)
	m.admitting.Lock()
	defer m.admitting.Unlock()
	for _, x := range m.all() {
		if x.candidate.resize.wants {
			x.poke()
		}
	}
}

// heedDecision takes note of what was decided about the Pod's resize, and tells
// of it.
func (w *worker) heedDecision(pod *v1.Pod) (next time.Time) {
	w.m.admitting.Lock()
	c := w.candidate.resize
	w.candidate.resize.granted = 0
	w.m.admitting.Unlock()
	s := &w.resizing
	if c.granted != 0 {
		s.progress = resizeCondition(v1.PodResizeInProgress, "", "", c.granted)
		s.failures, s.retryAt = 0, time.Time{}
		w.event(pod, v1.EventTypeNormal, "ResizeStarted", resizeMessage("Pod resize started", w.m.granted(pod), c.granted, ""))
		w.stale.Store(true) // a volume may show the Pod's resources
		w.m.retryResizes()  // it may have become smaller
	}
	if c.pending == nil {
		s.pending, s.lookAgain = nil, time.Time{}
		return next
	}
	old := s.pending
	s.pending = resizeCondition(v1.PodResizePending, c.pending.Reason, c.pending.Message, c.generation)
	if old == nil || old.Reason != s.pending.Reason || old.ObservedGeneration != c.generation {
		w.event(pod, v1.EventTypeWarning, "Resize"+c.pending.Reason, resizeMessage("Pod resize "+c.pending.Reason, pod, c.generation, c.pending.Message))
	}
	if s.lookAgain.IsZero() {
		s.lookAgain = w.m.cfg.Clock.Now().Add(deferPause)
	}
	return s.lookAgain
}
