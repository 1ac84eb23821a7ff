package controlplane

import (
	"context"
	"errors"
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

// ErrRestarted is given to Config.PartFailed for a part that did not fail: it was told
// to end by Restart.
var ErrRestarted = errors.New("the part was told to start again")

// Restart ends a part (PartEtcd, PartControllers), which is started again at once.
func (c *ControlPlane) Restart(part string) error {
	c.runsMu.Lock()
	defer c.runsMu.Unlock()
	end := c.runs[part]
	if end == nil {
		return fmt.Errorf("%s does not run here", part)
	}
	end(ErrRestarted)
	return nil
}

// begin returns the context of a part's next run.
func (c *ControlPlane) begin(ctx context.Context, part string) (context.Context, context.CancelCauseFunc) {
	run, end := context.WithCancelCause(ctx)
	c.runsMu.Lock()
	defer c.runsMu.Unlock()
	if c.runs == nil {
		c.runs = map[string]context.CancelCauseFunc{}
	}
	c.runs[part] = end
	return run, end
}

// keepRunning runs a part of the control plane until ctx ends, and again
// whenever it fails or ends by itself. It is for parts that can run again,
// whatever an earlier run left behind.
func (c *ControlPlane) keepRunning(ctx context.Context, part string, run func(context.Context) error) {
	pause := firstPause
	for {
		begin := time.Now()
		runCtx, end := c.begin(ctx, part)
		err := run(runCtx)
		asked := errors.Is(context.Cause(runCtx), ErrRestarted)
		end(nil)
		if ctx.Err() != nil {
			return
		}
		if asked {
			c.cfg.Logger.Info("A part of the control plane was told to end and is started again", "part", part)
			c.cfg.PartFailed(part, ErrRestarted)
			pause = firstPause
			continue
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
