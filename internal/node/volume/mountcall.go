package volume

import (
	"context"
	"time"

	"minato/internal/node/guard"
)

// mountCall is a mount that is under way. Nothing ends a kernel, or a program, that waits
// for a broken device or a server that does not answer: so a call is left to itself after
// a while, and whoever comes back waits for the same one.
type mountCall struct {
	of   string        // what is mounted, for who reads it
	done chan struct{} // closed when err is set
	err  error
}

// await waits for a mount, for as long as patience allows; then late says what lasts.
func (c *mountCall) await(ctx context.Context, patience time.Duration, late func() error) error {
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c.done:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return late()
	}
}

// beginCall has mount run by itself, which mounts something at place; work says that where
// it panics. m.mu is held now, and when ended is called with what came of it.
func (m *Manager) beginCall(place, of, work string, mount func() error, ended func(err error)) *mountCall {
	call := &mountCall{of: of, done: make(chan struct{})}
	m.calls[place] = call
	go func() {
		err := guard.Do(work, mount)
		m.mu.Lock()
		defer m.mu.Unlock()
		call.err = err
		ended(err)
		delete(m.calls, place)
		close(call.done)
	}()
	return call
}
