package bgp

import (
	"context"
	"sync"
)

// desire is the State that a speaker shall reach. Whoever sets it can wait until the speaker has begun to act on it.
type desire struct {
	wake changes // tells the speaker

	mu         sync.Mutex
	state      State
	wanted     uint64        // counts what was set
	taken      uint64        // the last of those that was acted on
	takenAgain chan struct{} // closed when taken changes
}

func newDesire() *desire {
	return &desire{wake: newChanges(), takenAgain: make(chan struct{})}
}

// set makes a State the desired one and waits until take was told of it.
func (d *desire) set(ctx context.Context, s State) error {
	d.mu.Lock()
	d.state = s
	d.wanted++
	mine := d.wanted
	d.mu.Unlock()
	d.wake.notify()
	for {
		d.mu.Lock()
		taken, again := d.taken >= mine, d.takenAgain
		d.mu.Unlock()
		if taken {
			return nil
		}
		select {
		case <-again:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// get returns the desired State, and its number for take: 0 if there is none yet.
func (d *desire) get() (State, uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state, d.wanted
}

// take says that a State has been acted on.
func (d *desire) take(number uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if number > d.taken {
		d.taken = number
		close(d.takenAgain)
		d.takenAgain = make(chan struct{})
	}
}
