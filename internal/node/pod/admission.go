package pod

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"

	"minato/internal/node/admit"
	"minato/internal/node/allocation"
	"minato/internal/node/spec"
	"minato/internal/node/status"
)

// portPause is how soon a Pod that waits for a host port looks again, in case
// nothing wakes it before.
const portPause = time.Second

// candidate is what admission keeps of a Pod. The manager's admitting guards it.
type candidate struct {
	order    uint64 // of arrival on the node
	admitted bool
	refusal  *admit.Refusal
	// holder is the Pod that is gone from the API but still holds a host port
	// that this one asks for.
	holder *v1.Pod
	port   admit.HostPort
	// devices is set once the Pod has been given those that it asks for.
	devices bool
	resize  resize
}

// decide lets the node take the Pod or refuse it. Pods that arrived before it
// and are still undecided are decided first, in the order of their creation, so
// that it does not matter whose worker is the fastest.
//
// The Node is read after the Pod arrived, so it is at least as new as the Pod's
// binding: a label that the scheduler has seen is seen here, and so is a taint.
func (m *Manager) decide(ctx context.Context, w *worker) (candidate, error) {
	node, err := m.cfg.Node(ctx)
	if err != nil {
		return candidate{}, fmt.Errorf("read the node to decide whether it takes the pod: %w", err)
	}
	m.admitting.Lock()
	defer m.admitting.Unlock()
	known := m.all()
	var undecided []*worker
	for _, x := range known {
		if x.candidate.order <= w.candidate.order && !x.candidate.admitted && x.candidate.refusal == nil && x.life.now() == Arriving && m.hasDevices(x) {
			undecided = append(undecided, x)
		}
	}
	slices.SortFunc(undecided, func(a, b *worker) int {
		if c := a.latest().CreationTimestamp.Time.Compare(b.latest().CreationTimestamp.Time); c != 0 {
			return c
		}
		return cmp.Compare(a.candidate.order, b.candidate.order)
	})
	for _, x := range undecided {
		if pod := x.latest(); pod.DeletionTimestamp == nil && !terminal(pod.Status.Phase) {
			m.decideOne(node, x, pod, known)
		}
	}
	return w.candidate, nil
}

// decideOne decides about one Pod; m.admitting is held.
func (m *Manager) decideOne(node *v1.Node, w *worker, pod *v1.Pod, known []*worker) {
	in := admit.Input{Pod: pod, Node: node, Options: m.cfg.Admission}
	if w.candidate.devices {
		in.Allocated = m.cfg.Devices.Allocated()
	}
	w.candidate.holder = nil
	in.Others, w.candidate.holder, w.candidate.port = m.others(w, pod, known)
	if w.candidate.refusal = admit.Check(in); w.candidate.refusal != nil || w.candidate.holder != nil {
		return
	}
	if w.life.take(stepAdmit) == Active {
		w.candidate.admitted = true
		m.record(pod, allocation.Record{Granted: spec.AllocationOf(pod)})
	}
}

// others lists the Pods that the node counts beside one, as they were granted,
// and one that the API does not have any more but that still holds a host port
// that this one asks for.
func (m *Manager) others(w *worker, pod *v1.Pod, known []*worker) (others []*v1.Pod, holder *v1.Pod, port admit.HostPort) {
	for _, x := range known {
		other := x.latest()
		if x == w || !x.candidate.admitted || terminal(other.Status.Phase) {
			continue
		}
		switch stage := x.life.now(); {
		case stage == Leaving:
			// The API, and so the scheduler, counts it no longer; but its
			// containers still listen.
			if p, taken := admit.Conflict(pod, other); taken {
				holder, port = other, p
			}
		case !stage.Stopped():
			others = append(others, m.granted(other))
		}
	}
	return others, holder, port
}

// all lists the workers.
func (m *Manager) all() []*worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	list := make([]*worker, 0, len(m.workers))
	for _, w := range m.workers {
		list = append(list, w)
	}
	return list
}

// wakeArriving lets Pods that wait for a host port look again.
func (m *Manager) wakeArriving() {
	for _, w := range m.all() {
		if w.life.now() == Arriving {
			w.poke()
		}
	}
}

// arrive has the node decide about the Pod, unless it has. next is when to try
// again if the Pod has to wait.
func (w *worker) arrive(ctx context.Context, pod *v1.Pod) (next time.Time, err error) {
	if w.life.now() != Arriving {
		return next, nil
	}
	if next, err = w.allocateDevices(ctx, pod); err != nil || !next.IsZero() || w.life.now() != Arriving {
		return next, err
	}
	c, err := w.m.decide(ctx, w)
	switch {
	case err != nil:
		return next, err
	case c.refusal != nil:
		w.reject(pod, *c.refusal)
	case c.holder != nil:
		message := fmt.Sprintf("Waiting for host port %d/%s, which pod %s/%s (%s) holds until its containers have ended", c.port.Port, c.port.Protocol, c.holder.Namespace, c.holder.Name, c.holder.UID)
		if w.told != message {
			w.event(pod, v1.EventTypeNormal, "NodePorts", message)
			w.told = message
		}
		return w.m.cfg.Clock.Now().Add(portPause), nil
	}
	return next, nil
}

// reject reports that the node does not take the Pod, of which nothing runs.
func (w *worker) reject(pod *v1.Pod, why admit.Refusal) {
	w.m.cfg.Devices.Release(w.uid)
	w.event(pod, v1.EventTypeWarning, why.Reason, why.Message)
	st := status.Rejected(pod, why.Reason, why.Message, w.m.cfg.Clock.Now())
	w.remember(st)
	w.m.cfg.Reporter.Set(pod, st)
	w.life.take(stepRefuse)
}
