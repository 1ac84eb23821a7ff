package pod

import (
	"time"

	v1 "k8s.io/api/core/v1"

	"minato/internal/node/status"
)

// deadline is when the Pod's activeDeadlineSeconds are over, zero for never.
func (w *worker) deadline(pod *v1.Pod) time.Time {
	if pod.Spec.ActiveDeadlineSeconds == nil {
		return time.Time{}
	}
	st, _ := w.lastStatus()
	start := pod.Status.StartTime
	if start == nil {
		start = st.StartTime
	}
	if start == nil {
		return w.m.cfg.Clock.Now().Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
	}
	return start.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

func (w *worker) expired(pod *v1.Pod) bool {
	at := w.deadline(pod)
	if at.IsZero() || w.m.cfg.Clock.Now().Before(at) {
		return false
	}
	const message = "Pod was active on the node longer than the specified deadline"
	w.verdict = &status.Verdict{Reason: "DeadlineExceeded", Message: message}
	w.event(pod, v1.EventTypeNormal, "DeadlineExceeded", message)
	return true
}
