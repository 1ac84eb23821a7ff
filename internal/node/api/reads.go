package api

import (
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// readFor is how long after a client has read a container's logs an attach counts
// as that client's, so that it gets the output after those logs.
const readFor = 5 * time.Second

// reads remembers the offset up to which clients have just read the log of each
// container.
type reads struct {
	clock clock.PassiveClock

	mu   sync.Mutex
	ends map[string]readEnd
}

type readEnd struct {
	offset int64
	at     time.Time
}

func newReads(c clock.PassiveClock) *reads { return &reads{clock: c, ends: map[string]readEnd{}} }

// note remembers a reader that came up to offset.
func (r *reads) note(containerID string, offset int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock.Now()
	for id, e := range r.ends {
		if now.Sub(e.at) > readFor {
			delete(r.ends, id)
		}
	}
	r.ends[containerID] = readEnd{offset, now}
}

// last returns where the last reader came to, and forgets it.
func (r *reads) last(containerID string) (offset int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e, ok := r.ends[containerID]
	delete(r.ends, containerID)
	return e.offset, ok && r.clock.Since(e.at) <= readFor
}
