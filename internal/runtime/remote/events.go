package remote

import (
	"context"
	"sync"

	"minato/internal/runtime/oci"
)

// Event says that something happened to a container or a sandbox.
type Event = oci.Event

// eventBuffer is how far a reader may fall behind before it loses events. A
// reader should list everything now and then anyway.
const eventBuffer = 1024

// broadcaster hands events to every reader without ever waiting for one.
type broadcaster struct {
	mu   sync.Mutex
	subs map[chan Event]struct{}
}

// Events returns a channel of what happens from now on. It is closed when ctx
// ends.
func (r *Runtime) Events(ctx context.Context) <-chan Event {
	ch := make(chan Event, eventBuffer)
	b := &r.events
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.subs == nil {
		b.subs = map[chan Event]struct{}{}
	}
	b.subs[ch] = struct{}{}
	context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.subs, ch)
		close(ch)
	})
	return ch
}

func (b *broadcaster) send(e Event) (lost bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for ch := range b.subs {
		select {
		case ch <- e:
		default:
			lost = true
		}
	}
	return lost
}
