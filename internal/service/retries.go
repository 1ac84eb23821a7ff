package service

import (
	"time"

	"k8s.io/apimachinery/pkg/types"
)

const (
	firstRetry = 10 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// nodesKey stands for the addresses of nodes among the Services to try again; no Service has an empty name.
var nodesKey = types.NamespacedName{}

// retries remembers what failed and when to try it again.
type retries struct {
	wait map[types.NamespacedName]retry
}

type retry struct {
	delay time.Duration
	at    time.Time
	// since is when it failed first.
	since time.Time
	// running says that due returned it and the outcome is not known yet.
	running bool
}

func newRetries() retries { return retries{wait: map[types.NamespacedName]retry{}} }

func (r *retries) empty() bool { return len(r.wait) == 0 }

func (r *retries) failed(key types.NamespacedName, now time.Time) {
	delay, since := firstRetry, now
	if was, ok := r.wait[key]; ok {
		delay, since = was.delay, was.since
		if was.running {
			delay = min(2*delay, lastRetry)
		}
	}
	r.wait[key] = retry{delay: delay, at: now.Add(delay), since: since}
}

func (r *retries) waits(key types.NamespacedName) bool {
	_, is := r.wait[key]
	return is
}

// since is when the oldest failure began, nil if there is none.
func (r *retries) since() *time.Time {
	var oldest *time.Time
	for _, w := range r.wait {
		if oldest == nil || w.since.Before(*oldest) {
			oldest = &w.since
		}
	}
	return oldest
}

func (r *retries) succeeded(key types.NamespacedName) { delete(r.wait, key) }

// due returns what is to be tried again now.
func (r *retries) due(now time.Time) []types.NamespacedName {
	var out []types.NamespacedName
	for key, w := range r.wait {
		if !w.running && !w.at.After(now) {
			w.running = true
			r.wait[key] = w
			out = append(out, key)
		}
	}
	return out
}

// timer fires at the next retry, and never if there is none.
func (r *retries) timer(now time.Time) *time.Timer {
	next := time.Hour
	for _, w := range r.wait {
		if !w.running {
			next = min(next, max(w.at.Sub(now), 0))
		}
	}
	return time.NewTimer(next)
}
