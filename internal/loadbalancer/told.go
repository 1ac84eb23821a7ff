package loadbalancer

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"minato/internal/loadbalancer/pool"
)

// told is what events have said of a Service, so that each thing is said once.
type told struct {
	// assigned is the text of the event that follows once the status is written; empty if none does.
	assigned   string
	failure    string
	additional string
	deprecated []string
	// failing says that the API refuses what is written.
	failing bool
}

func (l *loop) event(e *entry, source, eventType, reason, message string) {
	l.c.cfg.Events.Event(source, reference(e.service), eventType, reason, message)
}

// tellDecision tells of a decision that is not the one before.
func (l *loop) tellDecision(c change) {
	e, d := c.entry, c.decision
	l.tellDeprecated(e, d)
	if d.Cleared != "" {
		l.event(e, SourceController, corev1.EventTypeNormal, pool.ClearAssignment, d.Cleared)
	}
	ensuring := func() {
		l.event(e, SourceService, corev1.EventTypeNormal, "EnsuringLoadBalancer", "Ensuring load balancer")
	}
	switch d.Reason {
	case pool.Allocated:
		ensuring()
		e.told.assigned, e.told.failure = d.Message, ""
	case pool.Kept:
		e.told.failure = ""
	default:
		if d.Reason == pool.Failed {
			e.told.assigned = ""
		}
		text := explain(d)
		if text == e.told.failure {
			break
		}
		if d.Reason == pool.Failed && e.told.failure == "" {
			ensuring()
		}
		e.told.failure = text
		l.event(e, SourceController, corev1.EventTypeWarning, string(d.Reason), text)
		l.c.log.Info("A Service gets no address, or not the one that it asks for", "service", e.key, "reason", text)
	}
	if d.PendingMessage != e.told.additional {
		e.told.additional = d.PendingMessage
		if d.PendingMessage != "" {
			l.event(e, SourceController, corev1.EventTypeNormal, pool.AdditionalAssignFailed, d.PendingMessage)
		}
	}
}

// explain is the text of an event about a Service that doesn't get what it asks for: why, and what would help.
func explain(d pool.Decision) string {
	if d.Help == "" {
		return d.Message
	}
	return strings.TrimSuffix(d.Message, ".") + ". " + d.Help
}

// tellDeprecated tells of annotations by their old names. A Service that keeps its address over a restart was told of.
func (l *loop) tellDeprecated(e *entry, d pool.Decision) {
	first := e.told.deprecated == nil
	for _, name := range e.input.Deprecated {
		if slices.Contains(e.told.deprecated, name) {
			continue
		}
		e.told.deprecated = append(e.told.deprecated, name)
		if first && d.Reason == pool.Kept {
			continue
		}
		l.event(e, SourceController, corev1.EventTypeWarning, pool.DeprecatedAnnotation, "Service uses deprecated annotation "+name)
	}
}

// tellAssigned tells that a Service has its addresses, if that is new.
func (l *loop) tellAssigned(e *entry) {
	e.told.failing = false
	if e.told.assigned == "" {
		return
	}
	l.event(e, SourceController, corev1.EventTypeNormal, string(pool.Allocated), e.told.assigned)
	l.event(e, SourceService, corev1.EventTypeNormal, "EnsuredLoadBalancer", "Ensured load balancer")
	e.told.assigned = ""
	l.c.log.Info("A Service has an address", "service", e.key, "addresses", e.decision.Addresses, "pool", e.decision.Pool)
}

// tellFailure tells that the API server refuses again and again what is written.
func (l *loop) tellFailure(e *entry, err error) {
	if e.told.failing {
		return
	}
	e.told.failing = true
	l.event(e, SourceService, corev1.EventTypeWarning, "SyncLoadBalancerFailed", fmt.Sprintf("Error syncing load balancer: %v", err))
}

// tellOverwritten tells that somebody else writes the same fields.
func (l *loop) tellOverwritten(e *entry) {
	const text = "something else changes the load balancer status, finalizer or annotation of this Service again and again, " +
		"so they are corrected less often; find another load balancer controller, or give the Service its loadBalancerClass"
	l.event(e, SourceController, corev1.EventTypeWarning, "StatusOverwritten", text)
	l.c.log.Warn("Something else writes the load balancer of a Service", "service", e.key)
}
