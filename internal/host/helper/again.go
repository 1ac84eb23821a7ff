package helper

import (
	"context"
	"time"
)

// Pauses before a session begins again, and how long one has to last for the first pause to be next again.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	steady     = time.Minute
)

// Again calls session until ctx ends: at once after one that ended without an error, and otherwise after a pause, which grows
// while sessions are short. lost is called after each session; pause is 0 if err is nil.
func Again(ctx context.Context, session func(context.Context) error, lost func(err error, pause time.Duration)) {
	pause := firstPause
	for {
		begin := time.Now()
		err := session(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			pause = firstPause
			lost(nil, 0)
			continue
		}
		if time.Since(begin) > steady {
			pause = firstPause
		}
		lost(err, pause)
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		pause = min(2*pause, lastPause)
	}
}
