package probe

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/reference"

	"k8s.io/client-go/kubernetes/scheme"
)

// kind is which question a probe answers.
type kind string

const (
	readiness kind = "Readiness"
	liveness  kind = "Liveness"
	startup   kind = "Startup"
)

// eagerPause is the first pause between the extra attempts that are made until
// a container first answers. It doubles each time.
const eagerPause = 100 * time.Millisecond

// loop repeats one probe.
type loop struct {
	m    *Manager
	run  *run
	kind kind
	spec *v1.Probe

	streak     int
	lastPassed bool
}

func (l *loop) work(ctx context.Context) {
	if l.kind != startup {
		select {
		case <-ctx.Done():
			return
		case <-l.run.started:
		}
	}
	initial := time.Duration(l.spec.InitialDelaySeconds) * time.Second
	delay := l.run.target.StartedAt.Add(initial).Sub(l.m.cfg.Clock.Now())
	if !l.pause(ctx, min(delay, initial)) { // more is left where the clock was set back
		return
	}
	period := time.Duration(max(l.spec.PeriodSeconds, 1)) * time.Second
	for {
		if !l.once(ctx, true) {
			return
		}
		if !l.eager(ctx, period) {
			return
		}
	}
}

// eager waits for the next regular attempt. While the container has not yet
// answered well for the first time it tries in between, with growing pauses:
// Kubernetes lets a node do so to make Pods ready sooner, and only a success
// counts.
func (l *loop) eager(ctx context.Context, period time.Duration) bool {
	pause, left := eagerPause, period
	for l.kind != liveness && !l.settled() && pause < left {
		if !l.pause(ctx, pause) {
			return false
		}
		left -= pause
		pause *= 2
		if !l.once(ctx, false) {
			return false
		}
	}
	return l.pause(ctx, left)
}

// settled tells whether the probe has succeeded for this run of the container.
func (l *loop) settled() bool {
	h := l.m.Health(l.run.target.ContainerID)
	return l.lastPassed || (l.kind == readiness && h.Ready)
}

func (l *loop) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	t := l.m.cfg.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C():
		return true
	}
}

// once makes one attempt and returns whether to go on. A failure of an attempt
// that is not regular is as if it had not been made.
func (l *loop) once(ctx context.Context, regular bool) bool {
	begin := l.m.cfg.Clock.Now()
	result, output := l.m.attempt(ctx, &l.run.target, l.spec)
	if ctx.Err() != nil {
		return false
	}
	passed := result == success || result == warning
	if !passed && !regular {
		return true
	}
	if result == unknown {
		l.event("Unhealthy", string(l.kind)+" probe errored and resulted in unknown state: "+output)
		return true
	}
	l.m.count(l.kind, &l.run.target, passed, l.m.cfg.Clock.Since(begin))
	switch {
	case !passed:
		l.event("Unhealthy", string(l.kind)+" probe failed: "+output)
	case result == warning:
		l.event("ProbeWarning", string(l.kind)+" probe warning: "+output)
	}
	if passed == l.lastPassed && l.streak > 0 {
		l.streak++
	} else {
		l.lastPassed, l.streak = passed, 1
	}
	threshold := max(l.spec.FailureThreshold, 1)
	if passed {
		threshold = max(l.spec.SuccessThreshold, 1)
	}
	if l.streak < int(threshold) {
		return true
	}
	return l.conclude(passed)
}

// conclude notes that a threshold has been reached.
func (l *loop) conclude(passed bool) bool {
	l.m.update(l.run, func(h *Health) {
		switch l.kind {
		case readiness:
			h.Ready = passed
		case startup:
			h.Started = passed
			h.Dead, h.StartupFailed = !passed, !passed
		case liveness:
			h.Dead = !passed
		}
	})
	// A container that failed for good gets a new run with new probes; one
	// that has started need not be asked again.
	return l.kind == readiness || (l.kind == liveness && passed)
}

func (l *loop) event(reason, message string) {
	t := &l.run.target
	ref, err := reference.GetReference(scheme.Scheme, t.Pod)
	if err != nil {
		l.m.cfg.Logger.Warn("an event about a probe was dropped, because the pod cannot be referred to", "pod", t.Pod.Name, "container", t.Container.Name, "reason", reason, "error", err)
		return
	}
	ref.FieldPath = "spec.containers{" + t.Container.Name + "}"
	for i := range t.Pod.Spec.InitContainers {
		if t.Pod.Spec.InitContainers[i].Name == t.Container.Name {
			ref.FieldPath = "spec.initContainers{" + t.Container.Name + "}"
		}
	}
	l.m.cfg.Events.Event(ref, v1.EventTypeWarning, reason, message)
}
