package evict

import (
	"slices"
	"time"

	v1 "k8s.io/api/core/v1"
)

// Observation is how much there is of something, and how much of it is left.
type Observation struct{ Available, Capacity int64 }

// Observations are those of one time, by signal. What is not there could not be
// measured, and crosses no threshold.
type Observations map[Signal]Observation

// State is what a decision needs to know of earlier ones.
type State struct {
	// since is when thresholds were crossed, as long as they are.
	since map[Threshold]time.Time
	// acted are the thresholds that were acted on until enough was won back.
	acted map[Threshold]bool
	// seen is when there was reason for a condition last.
	seen map[v1.NodeConditionType]time.Time
}

// Crossed is a threshold with less left than it asks for.
type Crossed struct {
	Threshold Threshold
	// Least and Available are in bytes, files or processes.
	Least, Available int64
}

// Finding is what follows from observations.
type Finding struct {
	// Conditions of the Node that are true, sorted.
	Conditions []v1.NodeConditionType
	// Starved are the thresholds that have to be acted on; the first one comes
	// first.
	Starved []Crossed
}

// Look decides what a node lacks. A condition stays true for transition after
// there was reason for it last, and a threshold that was acted on counts until
// what it asks for and its minimum reclaim are left.
func Look(all []Threshold, transition time.Duration, before State, seen Observations, now time.Time) (State, Finding) {
	after := State{since: map[Threshold]time.Time{}, acted: map[Threshold]bool{}, seen: map[v1.NodeConditionType]time.Time{}}
	for c, at := range before.seen {
		after.seen[c] = at
	}
	var found Finding
	for _, t := range all {
		crossed, ok := cross(t, seen, before.acted[t])
		if !ok {
			continue
		}
		after.seen[t.Signal.condition()] = now
		since, before := before.since[t]
		if !before {
			since = now
		}
		after.since[t] = since
		if now.Sub(since) < t.Grace {
			continue
		}
		after.acted[t] = true
		found.Starved = append(found.Starved, crossed)
	}
	for c, at := range after.seen {
		if now.Sub(at) >= transition && !at.Equal(now) {
			delete(after.seen, c)
			continue
		}
		found.Conditions = append(found.Conditions, c)
	}
	slices.Sort(found.Conditions)
	return after, found
}

// Enough tells whether no threshold is crossed, minimum reclaims included: then no
// Pod has to go.
func Enough(all []Threshold, seen Observations) bool {
	for _, t := range all {
		if _, ok := cross(t, seen, true); ok {
			return false
		}
	}
	return true
}

// cross tells whether less is left than the threshold asks for, with its minimum
// reclaim if that is to be won back.
func cross(t Threshold, seen Observations, reclaim bool) (Crossed, bool) {
	o, ok := seen[t.Signal]
	if !ok {
		return Crossed{}, false
	}
	least := t.Least.Of(o.Capacity)
	needed := least
	if reclaim {
		needed += t.Reclaim.Of(o.Capacity)
	}
	return Crossed{Threshold: t, Least: least, Available: o.Available}, o.Available < needed
}
