package remote

import (
	"fmt"
	"sync"
	"time"
)

// How long the runtime may not answer before the node is not Ready, as the kubelet
// has it (maxWaitForContainerRuntime, and relistThreshold of its PLEG).
const (
	downAfter = 30 * time.Second
	staleness = 3 * time.Minute
)

// health is whether the runtime answers.
type health struct {
	mu    sync.Mutex
	began time.Time
	last  time.Time // of an answer
	err   error     // the last one; nil while it answers
}

func (h *health) begin(now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.began, h.last = now, now
}

// note takes in whether the runtime has answered, and tells whether that is
// different from the time before.
func (h *health) note(now time.Time, err error) (changed bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	changed = (h.err == nil) != (err == nil)
	if h.err = err; err == nil {
		h.last = now
	}
	return changed
}

// trouble is why Pods can't be run, in the kubelet's words; empty if they can.
func (h *health) trouble(now time.Time) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	silent := now.Sub(h.last)
	switch {
	case h.began.IsZero() || silent < downAfter:
		return ""
	case silent >= staleness:
		return fmt.Sprintf("[container runtime is down, PLEG is not healthy: pleg was last seen active %v ago; threshold is %v]", silent.Round(time.Second), staleness)
	}
	return "container runtime is down"
}

// Trouble is why the node can't run Pods; empty if it can.
func (r *Runtime) Trouble() string {
	text := r.health.trouble(time.Now())
	if text == "" {
		return ""
	}
	return fmt.Sprintf("%s (%s)", text, r.cfg.Endpoint)
}
