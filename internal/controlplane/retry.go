package controlplane

import (
	"context"
	"fmt"
	"time"
)

const (
	firstPause = 100 * time.Millisecond
	lastPause  = 10 * time.Second
	// steadyAfter is how long a part must have run for its next failure to count
	// as a first one.
	steadyAfter = time.Minute
)

// keepRunning runs a part of the control plane until ctx ends, and again
// whenever it fails or ends by itself. It is for parts that can run again,
// whatever an earlier run left behind.
func (c *ControlPlane) keepRunning(ctx context.Context, part string, run func(context.Context) error) {
	pause := firstPause
	for {
		begin := time.Now()
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = fmt.Errorf("%s ended by itself", part)
		}
		if time.Since(begin) >= steadyAfter {
			pause = firstPause
		}
		c.cfg.Logger.Error("A part of the control plane has failed and is started again", "part", part, "in", pause, "error", err)
		c.cfg.PartFailed(part, err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, lastPause)
	}
}
