package nodesocket

import (
	"context"
	"time"
)

// Tries are those of one thing that may fail and is tried again. They belong to one
// goroutine.
type Tries struct {
	// First is the pause after the first failure. Each next one is twice as long, up to
	// Most.
	First, Most time.Duration
	// Tell is called with an error, unless the try before has failed for the same
	// reason: whoever reads the log is told each reason once.
	Tell func(error)

	told  string
	pause time.Duration
}

// Worked says that it works now: the next failure is told, whatever it is, and comes
// before the first pause again.
func (t *Tries) Worked() { t.told, t.pause = "", 0 }

// Failed tells why it does not work.
func (t *Tries) Failed(err error) {
	if reason := err.Error(); reason != t.told {
		t.told = reason
		t.Tell(err)
	}
}

// Until tries until that succeeds, which it returns as true, or until ctx ends. What
// fails as ctx ends is not told.
func (t *Tries) Until(ctx context.Context, try func(context.Context) error) bool {
	for {
		err := try(ctx)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		t.Failed(err)
		t.pause = min(max(2*t.pause, t.First), t.Most)
		select {
		case <-ctx.Done():
			return false
		case <-time.After(t.pause):
		}
	}
}
